// houses: reads a life word by word, names the house at every word, and shows when it decides
// Subject: Classifying sequences
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/sequence_network.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/symbols.h"
#include "examples/houses/lives.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 600, .batch = 64, .hidden = 32, .lr = 1e-2, .log_every = 10};

  void declare(Flags& flags) { add_common(flags, common, 0); }
};

// Lives with or without marital status at their end, and the classifier that reads them.
struct Reader : nn::Module {
  Reader(nn::Member at, bool with_marital, const Symbols& vocabulary, int64_t hidden)
      : nn::Module(std::move(at)),
        marital(with_marital),
        words(vocabulary),
        network({this, "network"}, vocabulary.size(), hidden, house_count) {}

  Tensor logits(const Padded& texts) const {  // [time, batch, houses]
    return network(one_hot(texts.x, words.size()), {.lengths = texts.lengths});
  }

  Tensor loss(const std::vector<Life>& lives) const {  // at every word
    std::vector<std::vector<int64_t>> ids, houses;
    std::vector<size_t> rows;
    for (const Life& life : lives) {
      rows.push_back(rows.size());
      ids.push_back(words.ids(life.words));
      houses.emplace_back(life.words.size(), life.house);
    }
    constexpr int64_t nowhere = -1;
    return cross_entropy(logits(padded(ids, rows)), padded(houses, rows, nowhere).x,
                         {.ignore_index = nowhere});
  }

  // P(house | words so far), [words][houses].
  std::vector<std::vector<double>> posteriors(const Life& life) const {
    const Tensor p = softmax(logits(padded({words.ids(life.words)}, std::vector<size_t>{0})), -1);
    std::vector<std::vector<double>> all;
    for (size_t t = 0; t < life.words.size(); ++t) {
      all.push_back(select(select(p, 0, static_cast<int64_t>(t)), 0, 0).to_vector<double>());
    }
    return all;
  }

  bool marital;
  const Symbols& words;
  Network<nn::LSTM> network;
};

struct Readers : nn::Module {
  Reader plain, marital;
  Readers(const Symbols& words, int64_t hidden)
      : plain({this, "plain"}, false, words, hidden), marital({this, "marital"}, true, words, hidden) {}
};

std::vector<Life> lives(uint64_t seed, uint64_t from, long count, bool marital) {
  std::vector<Life> all;
  for (long k = 0; k < count; ++k) all.push_back(make_life(seed, from + static_cast<uint64_t>(k), marital));
  return all;
}

Symbols vocabulary() {  // all words come up in a few thousand lives
  std::vector<std::vector<std::string>> texts;
  for (const Life& life : lives(0, 0, 3000, true)) texts.push_back(life.words);
  return Symbols(texts);
}

double entropy(const std::vector<double>& p) {  // bits
  double sum = 0;
  for (const double x : p) sum -= x > 0 ? x * std::log2(x) : 0;
  return sum;
}

// Over lives never seen: is the last answer right, and how unsure was it before and at the word that tells?
struct Decision {
  double accuracy = 0;
  std::array<double, 3> before{}, at{}, count{};  // mean entropy in bits, by Teller
};
Decision judge(const Reader& reader, uint64_t seed) {
  const NoGrad no_grad;
  Decision d;
  constexpr long people = 400;
  for (const Life& life : lives(seed, uint64_t{1} << 40, people, reader.marital)) {
    const auto p = reader.posteriors(life);
    const auto answer = std::max_element(p.back().begin(), p.back().end()) - p.back().begin();
    d.accuracy += (answer == life.house) / static_cast<double>(people);
    const auto k = static_cast<size_t>(life.teller);
    d.before[k] += entropy(p[life.telling - 1]);
    d.at[k] += entropy(p[life.telling]);
    ++d.count[k];
  }
  for (size_t k = 0; k < 3; ++k) d.before[k] /= d.count[k], d.at[k] /= d.count[k];
  return d;
}

std::string sentence(const Life& life) {
  std::string text;
  for (const std::string& word : life.words) text += (text.empty() || word == "," ? "" : " ") + word;
  return text;
}

// The posterior over the words of the first life that is told by `teller`.
void draw(const Reader& reader, Teller teller, const std::string& title, const std::string& path) {
  const NoGrad no_grad;
  for (uint64_t k = 0;; ++k) {
    const Life life = make_life(99, k, reader.marital);
    if (life.teller != teller) continue;
    const auto p = reader.posteriors(life);
    const auto truth = static_cast<size_t>(life.house);
    double suspected = 0;
    for (size_t t = 0; t < life.telling; ++t) suspected = std::max(suspected, p[t][truth]);
    if (teller == Teller::spouse && suspected > 0.4) continue;  // one whose home says otherwise
    HeatMap map{.title = title,
                .row_label = "house",
                .column_label = "",
                .value_label = "P(house | words so far)",
                .columns = life.words,
                .low = 0,
                .high = 1};
    std::string decided;
    for (int64_t house = 0; house < house_count; ++house) {
      map.rows.emplace_back(house_name(house));
      for (const auto& at_word : p) map.values.push_back(at_word[static_cast<size_t>(house)]);
    }
    for (size_t t = 0; t < p.size() && decided.empty(); ++t) {
      if (p[t][truth] > 0.9) decided = life.words[t];
    }
    write_svg(path, heat_map(map));
    say("  \"{}\": {}, decided at \"{}\"\n", sentence(life), house_name(life.house), decided);
    return;
  }
}

int run(const Settings& s) {
  const Symbols words = vocabulary();
  Readers readers(words, s.common.hidden);
  TrainingLoop loop("houses", s.common, readers,
                    {.clip_norm = 1,
                     .unit = "lives/s",
                     .title = "Houses: loss",
                     .y_label = "nats a word",
                     .same = {{"--seed", std::to_string(s.common.seed)}}});
  const bool done = loop.run([&](long step) {
    const auto from = static_cast<uint64_t>(step * s.common.batch);
    const Tensor plain = readers.plain.loss(lives(s.common.seed, from, s.common.batch, false));
    const Tensor marital = readers.marital.loss(lives(s.common.seed, from, s.common.batch, true));
    const Tensor loss = plain + marital;
    return TrainingLoop::Step{loss,
                              2.0 * static_cast<double>(s.common.batch),
                              {{"without marital status", plain}, {"with", marital}}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish({{"words", words.joined()}});

  const Decision plain = judge(readers.plain, s.common.seed), marital = judge(readers.marital, s.common.seed);
  say("\nentropy of the answer, in bits of log2({}) = {:.2f}, before the word that tells and at it:\n",
      house_count, std::log2(house_count));
  const auto row = [](const char* what, const Decision& d, Teller teller) {
    const auto k = static_cast<size_t>(teller);
    say("  {:<44} {:.2f} -> {:.2f}\n", what, d.before[k], d.at[k]);
  };
  row("the name tells", plain, Teller::name);
  row("the home tells", plain, Teller::home);
  row("with marital status: the name still tells", marital, Teller::name);
  row("with marital status: it waits for that", marital, Teller::spouse);
  say("\n");
  draw(readers.plain, Teller::name, "The name tells", s.common.out + "/name.svg");
  draw(readers.plain, Teller::home, "The home tells", s.common.out + "/home.svg");
  draw(readers.marital, Teller::spouse, "With marital status it waits", s.common.out + "/marital.svg");
  say("pictures {0}/name.svg, {0}/home.svg, {0}/marital.svg\n", s.common.out);
  const auto home = static_cast<size_t>(Teller::home), spouse = static_cast<size_t>(Teller::spouse);
  print_result({{"accuracy", plain.accuracy},
                {"accuracy_marital", marital.accuracy},
                {"entropy_before_name", plain.before[0]},
                {"entropy_at_name", plain.at[0]},
                {"entropy_before_home", plain.before[home]},
                {"entropy_at_home", plain.at[home]},
                {"entropy_before_marital", marital.before[spouse]},
                {"entropy_at_marital", marital.at[spouse]}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(argc, argv, "houses",
                               "Reads made-up lives of Westeros and shows at which word it knows the house.",
                               run);
}
