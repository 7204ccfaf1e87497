// dna: finds promoters base by base: reading in both directions, in one, and through a window
// Subject: Classifying sequences
#include <fmt/format.h>

#include <array>
#include <cctype>

#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/sequence_network.h"
#include "examples/common/svg.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/symbols.h"
#include "examples/dna/promoters.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 4000, .batch = 32, .hidden = 48, .lr = 1e-2, .log_every = 10};

  void declare(Flags& flags) { add_common(flags, common); }
};

struct Data {
  std::vector<TaggedSentence> train, test;
  Symbols bases;
  std::vector<std::string> tags;

  explicit Data(const Settings& s) {
    const bool own = !s.common.data.empty();
    const auto all = own ? read_conll(s.common.data[0]) : std::vector<TaggedSentence>();
    for (size_t k = 0; k < all.size(); ++k) (k >= all.size() * 9 / 10 ? test : train).push_back(all[k]);
    if (own && train.empty()) fail("{}: {} sequence is too few: want ten", s.common.data[0], all.size());
    for (uint64_t k = 0; !own && k < 20000; ++k) train.push_back(make_dna(s.common.seed, k));
    for (uint64_t k = 0; !own && k < 400; ++k)
      test.push_back(make_dna(s.common.seed, (uint64_t{1} << 40) + k));
    std::vector<std::vector<std::string>> texts;
    for (const TaggedSentence& sequence : train) texts.push_back(sequence.words);
    bases = Symbols(texts);
    tags = tags_of(train);
  }
  int64_t tag_id(const std::string& tag) const {  // one that training never saw counts as O
    const auto found = std::find(tags.begin(), tags.end(), tag);
    return found == tags.end() ? 0 : found - tags.begin();
  }
};

struct Batch {
  Padded bases;
  Tensor tags;
  static constexpr int64_t nowhere = -1;

  Batch(const Data& data, const std::vector<TaggedSentence>& sequences, const std::vector<size_t>& rows) {
    std::vector<std::vector<int64_t>> ids, truth;
    std::vector<size_t> all;
    for (const size_t row : rows) {
      all.push_back(all.size());
      ids.push_back(data.bases.ids(sequences[row].words));
      truth.emplace_back();
      for (const std::string& tag : sequences[row].tags) truth.back().push_back(data.tag_id(tag));
    }
    bases = padded(ids, all);
    tags = padded(truth, all, nowhere).x;
  }
};

// No memory: a base and those around it.
struct Window : SequenceNetwork {
  Window(nn::Member at, int64_t in, int64_t hidden, int64_t out)
      : SequenceNetwork(std::move(at)),
        seen({this, "seen"}, (2 * reach + 1) * in, hidden),
        output({this, "output"}, hidden, out) {}
  Tensor operator()(const Tensor& x, const nn::Valid&) const override {
    const Tensor beyond = zeros({reach, x.size(1), x.size(2)});
    const Tensor all = concat({beyond, x, beyond}, 0);
    Tensors shifted;
    for (int64_t k = 0; k <= 2 * reach; ++k) shifted.push_back(slice(all, 0, k, k + x.size(0)));
    return output(relu(seen(concat(shifted, -1))));
  }
  static constexpr int64_t reach = 10;

  nn::Linear seen, output;
};

struct Taggers : nn::Module {
  Taggers(int64_t bases, int64_t hidden, int64_t tags)
      : in(bases),
        both({this, "both"}, bases, hidden, tags, {.bidirectional = true}),
        forward({this, "forward"}, bases, hidden, tags),
        window({this, "window"}, bases, 4 * hidden, tags) {}

  std::array<const SequenceNetwork*, 3> all() const { return {&both, &forward, &window}; }
  Tensor logits(const SequenceNetwork& network, const Batch& batch) const {
    return network(one_hot(batch.bases.x, in), {.lengths = batch.bases.lengths});
  }

  int64_t in;
  Network<nn::LSTM> both, forward;
  Window window;
};
constexpr std::array names = {"both directions", "left to right", "a window of 21 bases"};

std::vector<std::string> tagged(const Taggers& taggers, const SequenceNetwork& network, const Data& data,
                                const TaggedSentence& sequence) {
  std::vector<std::string> tags;
  const Batch batch(data, {sequence}, {0});
  for (const int64_t id : argmax(taggers.logits(network, batch), -1).to_vector<int64_t>()) {
    tags.push_back(data.tags[static_cast<size_t>(id)]);
  }
  return tags;
}

// "acg[TTGACA]gat.."
std::string marked(const TaggedSentence& sequence, const std::vector<std::string>& tags) {
  std::string text;
  const auto found = entities(tags);
  for (size_t t = 0; t < tags.size(); ++t) {
    for (const Entity& entity : found) text += entity.begin == t ? "[" : "";
    text += tags[t] == "O" ? lower(sequence.words[t]) : sequence.words[t];
    for (const Entity& entity : found) text += entity.end == t + 1 ? "]" : "";
  }
  return text;
}

// The bases of one sequence: the first kind of entity shaded in blue, the second in red, as it is and as each
// network sees it.
void draw(const Taggers& taggers, const Data& data, const TaggedSentence& sequence, const std::string& path) {
  std::vector<std::string> types;
  for (const std::string& tag : data.tags) {
    if (tag.starts_with("B-") && types.size() < 2) types.push_back(tag.substr(2));
  }
  types.resize(2);
  const auto sign = [&](const std::string& tag) {
    if (tag.size() < 3) return 0.0;
    return tag.substr(2) == types[0] ? 1.0 : tag.substr(2) == types[1] ? -1.0 : 0.0;
  };
  ShadedWords picture{.title = "What each base belongs to",
                      .low_label = types[1],
                      .high_label = types[0],
                      .gap = "",
                      .texts = {{.caption = "as it is", .words = sequence.words}}};
  for (const std::string& tag : sequence.tags) picture.texts[0].values.push_back(sign(tag));
  const Batch batch(data, {sequence}, {0});
  for (size_t k = 0; k < 3; ++k) {
    ShadedText text{.caption = names[k], .words = sequence.words};
    const auto p = softmax(taggers.logits(*taggers.all()[k], batch), -1).to_vector<double>();
    for (size_t t = 0; t < sequence.words.size(); ++t) {
      double value = 0;
      for (size_t tag = 0; tag < data.tags.size(); ++tag)
        value += sign(data.tags[tag]) * p[t * data.tags.size() + tag];
      text.values.push_back(value);
    }
    picture.texts.push_back(std::move(text));
  }
  write_svg(path, shaded_words(picture));
  say("picture {}\n", path);
}

int run(const Settings& s) {
  const Data data(s);
  Taggers taggers(data.bases.size(), s.common.hidden, static_cast<int64_t>(data.tags.size()));
  Batches batches(data.train.size(), s.common.batch, s.common.seed);
  TrainingLoop loop("dna", s.common, taggers,
                    {.clip_norm = 1,
                     .decay = true,
                     .title = "Promoters: loss",
                     .y_label = "nats a base",
                     .log_y = true,
                     .same = {{"sequences", std::to_string(data.train.size())}}});
  say("{} sequences for training, {} for the test; {} tags; {} parameters\n", data.train.size(),
      data.test.size(), data.tags.size(), taggers.num_parameters());
  const bool done = loop.run([&](long step) {
    const Batch batch(data, data.train, batches.at(step));
    Tensors each;
    for (const SequenceNetwork* network : taggers.all())
      each.push_back(
          cross_entropy(taggers.logits(*network, batch), batch.tags, {.ignore_index = Batch::nowhere}));
    TrainingLoop::Step now{sum(stack(each, 0)), static_cast<double>(batch.bases.lengths.size()), {}};
    for (size_t k = 0; k < each.size(); ++k) now.parts.emplace_back(names[k], each[k]);
    return now;
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish();

  const NoGrad no_grad;
  std::array<EntityScore, 3> score;
  for (const TaggedSentence& sequence : data.test) {
    for (size_t k = 0; k < 3; ++k)
      score[k].add(tagged(taggers, *taggers.all()[k], data, sequence), sequence.tags);
  }
  const auto shown = std::find_if(data.test.begin(), data.test.end(), [](const TaggedSentence& sequence) {
    return entities(sequence.tags).size() == 2 && sequence.words.size() > 70;
  });
  const TaggedSentence& example = shown == data.test.end() ? data.test[0] : *shown;
  say("  as it is         {}\n  both directions  {}\n", marked(example, example.tags),
      marked(example, tagged(taggers, taggers.both, data, example)));
  draw(taggers, data, example, s.common.out + "/dna.svg");
  print_result({{"f1", score[0].f1()},
                {"f1_forward", score[1].f1()},
                {"f1_window", score[2].f1()},
                {"sequences_per_s", loop.speed()}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "dna",
      "Learns which bases of a DNA belong to a promoter. --data FILE: base TAB tag, a blank line between "
      "sequences; tags are O, B-TYPE, I-TYPE.",
      run);
}
