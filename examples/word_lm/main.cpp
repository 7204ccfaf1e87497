// word_lm: a language model of words, which ranks sentences by their probability and writes new ones
// Subject: Language models
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "examples/common/best_weights.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/word_lm/grammar.h"
#include "examples/word_lm/model.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 6, .batch = 32, .hidden = 64, .layers = 1, .lr = 4e-3, .log_every = 10};
  long max_words = 10000, samples = 5;
  double dropout = 0.2;
  std::string ending = "eos";
  std::vector<std::string> rank;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.whole("--max-words", max_words, "commonest words that are known; the others are <unk>", 2, 1000000);
    flags.number("--dropout", dropout, "on word vectors, between layers and before the output", 0, 0.95);
    flags.choice("--ending", ending,
                 "what ends a sentence: a word <EOS>, an output \"stop\", a length drawn first",
                 {"eos", "bernoulli", "length"});
    flags.whole("--samples", samples, "sentences to write", 0, 100000);
    flags.texts("--rank", rank, "sentences to rank by their probability, each in quotes", 1, 1000);
  }
};

// Words of these sentences, and an end for each.
double count_of(const std::vector<Sentence>& text, const std::vector<size_t>& rows) {
  double count = 0;
  for (const size_t row : rows) count += static_cast<double>(text[row].size() + 1);
  return count;
}

double perplexity(LanguageModel& model, const std::vector<Sentence>& text) {
  const NoGrad no_grad;
  model.eval();
  double nats = 0, count = 0;
  for (const auto& rows : in_order(text.size(), 50)) {
    nats += model.nats(text, rows).item();
    count += count_of(text, rows);
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
  Symbols vocabulary(long most) const { return Symbols(only_commonest(train, static_cast<size_t>(most))); }
  int64_t longest() const {
    size_t most = 0;
    for (const auto* part : {&train, &dev, &test}) {
      for (const Sentence& sentence : *part) most = std::max(most, sentence.size());
    }
    return static_cast<int64_t>(most);
  }
  // A sentence of the test made wrong: its verb, or in a text of one's own the order of two neighbours.
  Sentence spoilt(size_t k) const {
    return own ? with_neighbours_swapped(test[k], k) : with_wrong_verb(test[k]);
  }
};

// How often the right sentence is likelier than the wrong one.
double ranked_right(const LanguageModel& model, const Data& data) {
  double right = 0;
  const size_t count = std::min<size_t>(200, data.test.size());
  for (size_t k = 0; k < count; ++k) {
    right += model.log_probability(data.test[k]) > model.log_probability(data.spoilt(k));
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

// How long the sentences are that the model writes, beside the text's. Gives the share of sentences that
// would have to be of another length for the two to agree (total variation).
double compare_lengths(const LanguageModel& model, const std::vector<Sentence>& text, uint64_t seed,
                       const std::string& path) {
  std::mt19937_64 random(seed);
  std::map<size_t, double> in_text, written;
  for (const Sentence& sentence : text) in_text[sentence.size()] += 1 / static_cast<double>(text.size());
  constexpr int samples = 500;
  for (int k = 0; k < samples; ++k) written[model.sample(random).size()] += 1.0 / samples;
  LineChart chart{.title = "How long sentences are",
                  .x_label = "words",
                  .y_label = "share of the sentences",
                  .series = {{"of the text", {}, {}}, {"written", {}, {}}}};
  double apart = 0;
  const size_t most = std::max(in_text.rbegin()->first, written.rbegin()->first);
  for (size_t n = 0; n <= most; ++n) {
    for (Series& series : chart.series) series.x.push_back(static_cast<double>(n));
    chart.series[0].y.push_back(in_text[n]);
    chart.series[1].y.push_back(written[n]);
    apart += std::abs(in_text[n] - written[n]) / 2;
  }
  write_svg(path, line_chart(chart));
  say("picture {}\n", path);
  return apart;
}

int run(const Settings& s) {
  const Data data(s);
  const Symbols vocabulary = data.vocabulary(s.max_words);
  LanguageModel model(vocabulary, ending_named(s.ending),
                      {s.common.hidden, s.common.layers, s.dropout, data.longest()});
  model.count_lengths(data.train);
  Batches batches(data.train.size(), s.common.batch, s.common.seed);
  BestWeights best(model);
  TrainingLoop loop("word_lm", s.common, model,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .title = "Words: loss",
                     .y_label = "nats a word",
                     .same = {{"words", vocabulary.joined()}, {"--ending", s.ending}},
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
    const Tensor nats = model.nats(data.train, rows) / count_of(data.train, rows);
    return TrainingLoop::Step{nats, static_cast<double>(rows.size()), {}};
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
  for (size_t k = 0; s.rank.empty() && k < std::min<size_t>(3, data.test.size()); ++k)
    candidates.push_back(data.test[k]), candidates.push_back(data.spoilt(k));
  show_ranking(model, candidates);
  const double apart = compare_lengths(model, data.test, s.common.seed, s.common.out + "/lengths.svg");
  print_result({{"perplexity", test},
                {"held_out", -best.score()},
                {data.own ? "in_order" : "agreement", ranked_right(model, data)},
                {"lengths_apart", apart},
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
      argc, argv, "word_lm",
      "Learns a text word by word; by default sentences whose verb agrees with a noun far before it.", run,
      [](Settings& s, const Flags& flags) {
        if (!s.common.data.empty()) {
          if (!flags.given("--hidden")) s.common.hidden = 200;
          if (!flags.given("--epochs")) s.common.epochs = 3;
        }
      });
}
