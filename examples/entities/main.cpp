// entities: finds names in sentences, with a bidirectional LSTM over words and letters
// Subject: Classifying sequences
#include <fmt/format.h>

#include "examples/common/best_weights.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/dice.h"
#include "examples/data/word_embedding.h"
#include "examples/entities/sentences.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 6, .batch = 16, .hidden = 100, .lr = 3e-3, .log_every = 10};
  std::string vectors;
  long embedding = 50, letters = 25;
  double dropout = 0.5;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.text("--vectors", vectors, "GloVe text file that the words' vectors start from");
    flags.whole("--embedding", embedding, "width of a word's vector, without --vectors", 1, 10000);
    flags.whole("--letters", letters, "width of a letter's vector, and units that read them", 1, 10000);
    flags.number("--dropout", dropout, "before the words' LSTM and before the output", 0, 0.95);
  }
};

// Everything as ids. A word seen once in training is sometimes read as unknown, so that unknown ones can be.
struct Data {
  TaggedText text;
  WordVectors vectors;
  Symbols words, letters, rare;
  std::vector<std::string> tags;

  explicit Data(const Settings& s)
      : text(s.common.data.empty() ? made_up_text(s.common.seed) : wnut17(s.common.data[0])) {
    if (!s.vectors.empty()) vectors = read_word_vectors(s.vectors);
    if (s.vectors.empty()) vectors.width = s.embedding;
    std::vector<std::vector<std::string>> all{vectors.words}, spelled;
    for (const TaggedSentence& sentence : text.train) {
      all.emplace_back();
      for (const std::string& word : sentence.words) {
        all.back().push_back(lower(word));
        spelled.push_back(characters_of(word));
      }
    }
    words = Symbols(all);
    letters = Symbols(spelled);
    all[0].clear();
    rare = Symbols(all, 2);  // the others are
    tags = tags_of(text.train);
  }
  int64_t tag_id(const std::string& tag) const {  // one that training never saw counts as O
    const auto found = std::find(tags.begin(), tags.end(), tag);
    return found == tags.end() ? 0 : found - tags.begin();
  }
};

struct Batch {
  Padded words;     // ids [time, batch]
  Padded letters;   // of each different word, [letters, words]
  Tensor spelling;  // which of these a word is, [time, batch]
  Tensor tags;      // ids [time, batch], nowhere beyond the end
  static constexpr int64_t nowhere = -1;

  Batch(const Data& data, const std::vector<TaggedSentence>& sentences, const std::vector<size_t>& rows,
        Dice* dice) {
    std::vector<std::vector<int64_t>> ids, spellings, truth, spelled;
    std::map<std::string, int64_t> different;
    std::vector<size_t> all, every;
    for (const size_t row : rows) {
      all.push_back(all.size());
      ids.emplace_back(), spellings.emplace_back(), truth.emplace_back();
      for (size_t t = 0; t < sentences[row].words.size(); ++t) {
        const std::string& word = sentences[row].words[t];
        const std::string key = lower(word);
        const bool hidden = dice != nullptr && data.rare[key] == 0 && dice->coin();
        ids.back().push_back(hidden ? 0 : data.words[key]);
        const auto [at, is_new] = different.emplace(word, static_cast<int64_t>(spelled.size()));
        if (is_new) every.push_back(every.size()), spelled.push_back(data.letters.ids(characters_of(word)));
        spellings.back().push_back(at->second);
        truth.back().push_back(data.tag_id(sentences[row].tags[t]));
      }
    }
    words = padded(ids, all);
    letters = padded(spelled, every);
    spelling = padded(spellings, all).x;
    tags = padded(truth, all, nowhere).x;
  }
};

struct Tagger : nn::Module {
  Tagger(const Data& data, const Settings& s)
      : words({this, "words"}, data.words, data.vectors, s.common.seed),
        letters({this, "letters"}, data.letters.size(), s.letters),
        speller({this, "speller"}, s.letters, s.letters, {.bidirectional = true}),
        drop({this, "drop"}, s.dropout),
        lstm({this, "lstm"}, data.vectors.width + 2 * s.letters, s.common.hidden, {.bidirectional = true}),
        output({this, "output"}, 2 * s.common.hidden, static_cast<int64_t>(data.tags.size())) {}

  Tensor operator()(const Batch& batch) const {  // [time, batch, tags]
    const auto spelled = speller(letters(batch.letters.x), {}, {.lengths = batch.letters.lengths}).state;
    const Tensor spellings = embedding(concat({spelled[0].h, spelled[1].h}, -1), batch.spelling);
    const Tensor x = drop(concat({words(batch.words.x), spellings}, -1));
    return output(drop(lstm(x, {}, {.lengths = batch.words.lengths}).output));
  }

  WordEmbedding words;
  nn::Embedding letters;
  nn::LSTM speller;
  nn::Dropout drop;
  nn::LSTM lstm;
  nn::Linear output;
};

std::vector<std::vector<std::string>> tagged(Tagger& tagger, const Data& data,
                                             const std::vector<TaggedSentence>& sentences) {
  const NoGrad no_grad;
  tagger.eval();
  std::vector<std::vector<std::string>> all;
  for (const auto& rows : in_order(sentences.size(), 50)) {
    const auto ids = argmax(tagger(Batch(data, sentences, rows, nullptr)), -1).to_vector<int64_t>();
    for (size_t b = 0; b < rows.size(); ++b) {
      all.emplace_back();
      for (size_t t = 0; t < sentences[rows[b]].words.size(); ++t) {
        all.back().push_back(data.tags[static_cast<size_t>(ids[t * rows.size() + b])]);
      }
    }
  }
  tagger.train();
  return all;
}

EntityScore score(Tagger& tagger, const Data& data, const std::vector<TaggedSentence>& sentences) {
  EntityScore score;
  const auto said = tagged(tagger, data, sentences);
  for (size_t k = 0; k < said.size(); ++k) score.add(said[k], sentences[k].tags);
  return score;
}

// "yesterday [Barada Kelon]person went to [Osik]place"
std::string marked(const TaggedSentence& sentence, const std::vector<std::string>& tags) {
  const auto found = entities(tags);
  std::string text;
  for (size_t t = 0; t < sentence.words.size(); ++t) {
    text += t > 0 ? " " : "";
    for (const Entity& entity : found) text += entity.begin == t ? "[" : "";
    text += sentence.words[t];
    for (const Entity& entity : found) text += entity.end == t + 1 ? "]" + entity.type : "";
  }
  return text;
}

int run(const Settings& s) {
  const Data data(s);
  Tagger tagger(data, s);
  Batches batches(data.text.train.size(), s.common.batch, s.common.seed);
  BestWeights best(tagger);
  TrainingLoop loop("entities", s.common, tagger,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "sentences/s",
                     .title = "Entities: loss",
                     .y_label = "nats a word",
                     .same = {{"words", data.words.joined()}},
                     .keep = [&](Checkpoint& c) { best.keep(c); },
                     .restore = [&](const Checkpoint& c) { best.restore(c); }});
  say("{} sentences for training, {} held out, {} for the test; {} words, {} tags; {} parameters\n",
      data.text.train.size(), data.text.dev.size(), data.text.test.size(), data.words.size(),
      data.tags.size(), tagger.num_parameters());
  const auto end_of_epoch = [&] {
    const double f1 = score(tagger, data, data.text.dev).f1();
    say("epoch {}: F1 {:.2f} % on the held-out sentences\n", loop.step() / batches.per_pass(), 100 * f1);
    loop.metrics().log({{"step", loop.step()}, {"held_out_f1", f1}});
    best.offer(f1);
  };
  loop.every(batches.per_pass(), end_of_epoch);
  const bool done = loop.run([&](long step) {
    Dice dice(s.common.seed, static_cast<uint64_t>(step));
    const Batch batch(data, data.text.train, batches.at(step), &dice);
    return TrainingLoop::Step{cross_entropy(tagger(batch), batch.tags, {.ignore_index = Batch::nowhere}),
                              static_cast<double>(batch.words.lengths.size()),
                              {}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  end_of_epoch();
  best.take();
  loop.finish({{"words", data.words.joined()}});

  const auto said = tagged(tagger, data, data.text.test);
  for (size_t k = 0, shown = 0; k < said.size() && shown < 6; ++k) {
    if (entities(said[k]).empty()) continue;
    say("  {}\n", marked(data.text.test[k], said[k]));
    ++shown;
  }
  const EntityScore test = score(tagger, data, data.text.test);
  print_result({{"f1", test.f1()},
                {"precision", test.precision()},
                {"recall", test.recall()},
                {"sentences_per_s", loop.speed()},
                {"epoch_s", loop.pass_seconds()},
                {"epoch_cpu_s", loop.pass_cpu_seconds()}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "entities",
      "Learns to find names in sentences. --data FOLDER: wnut17train.conll, emerging.dev.conll and "
      "emerging.test.annotated, word TAB tag.",
      run, [](Settings& s, const Flags& flags) {
        if (!s.common.data.empty() && !flags.given("--epochs")) s.common.epochs = 12;
      });
}
