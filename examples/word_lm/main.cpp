// word_lm: a language model of words, which ranks sentences by their probability and writes new ones
// Subject: Language models
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "examples/common/best_weights.h"
#include "examples/common/interrupt.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/symbols.h"
#include "examples/word_lm/grammar.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 6, .batch = 32, .hidden = 64, .layers = 1, .lr = 4e-3, .log_every = 10};
  long max_words = 10000, samples = 5;
  double dropout = 0.2;
  std::vector<std::string> rank;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.whole("--max-words", max_words, "commonest words that are known; the others are <unk>", 2, 1000000);
    flags.number("--dropout", dropout, "on word vectors, between layers and before the output", 0, 0.95);
    flags.whole("--samples", samples, "sentences to write", 0, 100000);
    flags.texts("--rank", rank, "sentences to rank by their probability, each in quotes", 1, 1000);
  }
};

const std::string eos = "<EOS>";

// P(sentence) = P(w_1) P(w_2 | w_1) .. P(<EOS> | all): each word from those before it, the first from <EOS>.
struct LanguageModel : nn::Module {
  LanguageModel(const Symbols& vocabulary, const Settings& s)
      : known(vocabulary),
        words({this, "words"}, vocabulary.size(), s.common.hidden),
        drop({this, "drop"}, s.dropout),
        lstm({this, "lstm"}, s.common.hidden, s.common.hidden,
             {.num_layers = s.common.layers, .dropout = s.dropout}),
        output({this, "output"}, s.common.hidden, vocabulary.size()) {}

  struct Text {
    Padded in, out;  // ids [time, batch]
    static constexpr int64_t nowhere = -1;
  };
  Text text_of(const std::vector<Sentence>& sentences, const std::vector<size_t>& rows) const {
    std::vector<std::vector<int64_t>> in, out;
    std::vector<size_t> all;
    for (const size_t row : rows) {
      all.push_back(all.size());
      in.push_back(known.ids(sentences[row]));
      out.push_back(in.back());
      in.back().insert(in.back().begin(), known[eos]);
      out.back().push_back(known[eos]);
    }
    return {padded(in, all), padded(out, all, Text::nowhere)};
  }

  // Nats, over all words of the text and the ends of its sentences.
  Tensor loss(const Text& text, Reduction reduction) const {
    const Tensor h = lstm(drop(words(text.in.x)), {}, {.lengths = text.in.lengths}).output;
    return cross_entropy(output(drop(h)), text.out.x,
                         {.ignore_index = Text::nowhere, .reduction = reduction});
  }

  double log_probability(const Sentence& sentence) const {
    return -loss(text_of({sentence}, {0}), Reduction::sum).item();
  }

  // Word by word until <EOS>; <unk> is drawn again.
  Sentence sample(std::mt19937_64& random, size_t most = 60) const {
    Sentence sentence;
    std::vector<nn::LSTMState> state;
    for (int64_t id = known[eos]; sentence.size() < most;) {
      auto [h, next] = lstm(words(Tensor::from(std::vector<int64_t>{id}, {1, 1})), std::move(state));
      state = std::move(next);
      std::vector<double> p = softmax(output(h), -1).to_vector<double>();
      p[0] = 0;  // <unk> would be drawn again until it is another
      id = std::discrete_distribution<int64_t>(p.begin(), p.end())(random);
      if (id == known[eos]) break;
      sentence.push_back(known.name(id));
    }
    return sentence;
  }

  const Symbols& known;
  nn::Embedding words;
  nn::Dropout drop;
  nn::LSTM lstm;
  nn::Linear output;
};

double perplexity(LanguageModel& model, const std::vector<Sentence>& text) {
  const NoGrad no_grad;
  model.eval();
  double nats = 0, count = 0;
  for (const auto& rows : in_order(text.size(), 50)) {
    const auto batch = model.text_of(text, rows);
    nats += model.loss(batch, Reduction::sum).item();
    for (const int64_t length : batch.out.lengths) count += static_cast<double>(length);
  }
  model.train();
  return std::exp(nats / count);
}

struct Data {
  std::vector<Sentence> train, dev, test;
  bool own;

  explicit Data(const Settings& s) : own(!s.common.data.empty()) {
    const auto all = own ? read_sentences(s.common.data[0]) : std::vector<Sentence>();
    for (size_t k = 0; k < all.size(); ++k) {  // the last tenth is for the test, the one before held out
      (k >= all.size() * 9 / 10 ? test : k >= all.size() * 8 / 10 ? dev : train).push_back(all[k]);
    }
    if (own && (train.empty() || dev.empty()))
      fail("{}: {} lines are too few: want ten", s.common.data[0], all.size());
    for (uint64_t k = 0; !own && k < 5000; ++k) {
      (k >= 4500 ? test : k >= 4000 ? dev : train).push_back(make_agreement(s.common.seed, k));
    }
  }
  Symbols vocabulary(long most) const {
    auto text = only_commonest(train, static_cast<size_t>(most));
    text.push_back({eos});
    return Symbols(text);
  }
};

// How often the right sentence is likelier than the one with the wrong verb.
double agreement(const LanguageModel& model, const std::vector<Sentence>& text) {
  double right = 0;
  const size_t count = std::min<size_t>(200, text.size());
  for (size_t k = 0; k < count; ++k) {
    right += model.log_probability(text[k]) > model.log_probability(with_wrong_verb(text[k]));
  }
  return right / static_cast<double>(count);
}

void show_ranking(const LanguageModel& model, const std::vector<Sentence>& sentences) {
  std::vector<std::pair<double, std::string>> ranked;
  for (const Sentence& s : sentences)
    ranked.emplace_back(-model.log_probability(s), fmt::format("{}", fmt::join(s, " ")));
  std::ranges::sort(ranked);
  say("by probability:\n");
  for (const auto& [nats, sentence] : ranked) say("  log P = {:8.2f}  {}\n", -nats, sentence);
}

int run(const Settings& s) {
  const Data data(s);
  const Symbols vocabulary = data.vocabulary(s.max_words);
  LanguageModel model(vocabulary, s);
  Batches batches(data.train.size(), s.common.batch, s.common.seed);
  BestWeights best(model);
  TrainingLoop loop("word_lm", s.common, model,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .title = "Words: loss",
                     .y_label = "nats a word",
                     .same = {{"words", vocabulary.joined()}},
                     .keep = [&](Checkpoint& c) { best.keep(c); },
                     .restore = [&](const Checkpoint& c) { best.restore(c); }});
  say("{} sentences for training, {} held out, {} for the test; {} words; {} parameters\n", data.train.size(),
      data.dev.size(), data.test.size(), vocabulary.size(), model.num_parameters());
  const auto end_of_epoch = [&] {
    const double held_out = perplexity(model, data.dev);
    say("epoch {}: perplexity {:.2f} of the held-out sentences\n", loop.step() / batches.per_pass(),
        held_out);
    loop.metrics().log({{"step", loop.step()}, {"held_out_perplexity", held_out}});
    best.offer(-held_out);
  };
  loop.every(batches.per_pass(), end_of_epoch);
  const bool done = loop.run([&](long step) {
    const auto& rows = batches.at(step);
    return TrainingLoop::Step{
        model.loss(model.text_of(data.train, rows), Reduction::mean), static_cast<double>(rows.size()), {}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  end_of_epoch();
  best.take();
  loop.finish({{"words", vocabulary.joined()}});

  const double test = perplexity(model, data.test);
  const NoGrad no_grad;
  model.eval();
  std::mt19937_64 random(s.common.seed);
  for (long k = 0; k < s.samples; ++k) say("  {}\n", fmt::join(model.sample(random), " "));
  std::vector<Sentence> candidates;
  for (const std::string& text : s.rank) candidates.push_back(blank_separated(lower(text)));
  if (candidates.empty() && !data.own) {
    for (size_t k = 0; k < 3; ++k)
      candidates.push_back(data.test[k]), candidates.push_back(with_wrong_verb(data.test[k]));
  }
  if (!candidates.empty()) show_ranking(model, candidates);
  std::vector<Field> results{{"perplexity", test}, {"held_out", -best.score()}};
  if (!data.own) results.emplace_back("agreement", agreement(model, data.test));
  results.emplace_back("sentences_per_s", loop.speed());
  results.emplace_back("epoch_s", loop.pass_seconds());
  results.emplace_back("epoch_cpu_s", loop.pass_cpu_seconds());
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "word_lm",
      "Learns a text word by word; by default sentences whose verb agrees with a noun far before it.", run,
      [](Settings& s, const Flags& flags) {
        if (!s.common.data.empty()) {
          if (!flags.given("--hidden")) s.common.hidden = 200;
          if (!flags.given("--epochs")) s.common.epochs = 3;
        }
      });
}
