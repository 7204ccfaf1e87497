// embeddings: learns word vectors by skip-gram, or loads GloVe's, and asks: king - man + woman = ?
// Subject: Language models
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <random>

#include "examples/common/interrupt.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/dice.h"
#include "examples/embeddings/corpus.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 3000, .batch = 512, .hidden = 24, .lr = 1e-2, .log_every = 20};
  std::string vectors, analogies, word = "king";
  long window = 5, negatives = 5, min_count = 1;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.text("--vectors", vectors, "GloVe text file, instead of learning");
    flags.text("--analogies", analogies, "questions, as word2vec's questions-words.txt");
    flags.text("--word", word, "whose neighbours are shown");
    flags.whole("--window", window, "neighbours on either side", 1, 100);
    flags.whole("--negatives", negatives, "words drawn for each true neighbour", 1, 100);
    flags.whole("--min-count", min_count, "words seen less often are left out", 1, 1000000);
  }
};

// Mikolov et al. 2013: a true neighbour's product with the word is to be large, those of words drawn small:
// E = -log sigmoid(v_n . u_w) - sum over drawn d of log sigmoid(-v_d . u_w)
struct SkipGram : nn::Module {
  SkipGram(int64_t words, int64_t width) : in({this, "in"}, words, width), out({this, "out"}, words, width) {
    for (nn::Embedding* e : {&in, &out}) nn::init::fill(e->weight, nn::init::normal(0, 0.1));
  }

  // words [batch], others [batch, 1 + negatives]: the neighbour and the drawn ones
  Tensor loss(const Tensor& words, const Tensor& others) const {
    const Tensor logits = sum(unsqueeze(in(words), 1) * out(others), -1);
    const Tensor first = one_hot(zeros_like_ids(words), others.size(1));  // only the first is a neighbour
    return bce_with_logits(logits, first, {.reduction = Reduction::sum}) / static_cast<double>(words.size(0));
  }

  nn::Embedding in, out;

 private:
  static Tensor zeros_like_ids(const Tensor& ids) {
    return Tensor::from(std::vector<int64_t>(static_cast<size_t>(ids.size(0)), 0), {ids.size(0)});
  }
};

WordVectors vectors_of(const SkipGram& model, const Symbols& vocabulary) {
  WordVectors vectors{.words = {}, .width = model.in.weight.size(1), .values = {}, .ids = {}};
  const auto values = slice(model.in.weight, 0, 1, vocabulary.size()).to_vector<float>();  // without <unk>
  for (int64_t id = 1; id < vocabulary.size(); ++id) {
    vectors.ids.emplace(vocabulary.name(id), id - 1);
    vectors.words.push_back(vocabulary.name(id));
  }
  vectors.values = values;
  return vectors;
}

// Empty after Ctrl-C.
std::optional<WordVectors> learn(const Settings& s) {
  const auto text =
      s.common.data.empty() ? made_up_sentences(s.common.seed, 4000) : read_sentences(s.common.data[0]);
  const Symbols vocabulary(text, s.min_count);
  const Pairs pairs = skip_grams(text, vocabulary, s.window);
  if (pairs.words.empty()) fail("the text has no two words side by side that come {} times", s.min_count);
  // Words are drawn as often as they are neighbours, to the power 3/4.
  std::vector<double> often(static_cast<size_t>(vocabulary.size()));
  for (const int64_t id : pairs.neighbours) ++often[static_cast<size_t>(id)];
  for (double& x : often) x = std::pow(x, 0.75);
  std::discrete_distribution<int64_t> drawn(often.begin(), often.end());

  SkipGram model(vocabulary.size(), s.common.hidden);
  Batches batches(pairs.words.size(), s.common.batch, s.common.seed);
  TrainingLoop loop("embeddings", s.common, model,
                    {.decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "pairs/s",
                     .title = "Skip-gram: loss",
                     .y_label = "nats a pair",
                     .same = {{"words", vocabulary.joined()}}});
  say("{} sentences, {} words, {} pairs of neighbours\n", text.size(), vocabulary.size() - 1,
      pairs.words.size());
  const bool done = loop.run([&](long step) {
    std::mt19937_64 random(s.common.seed * 1000003 + static_cast<uint64_t>(step));
    std::vector<int64_t> words, others;
    for (const size_t row : batches.at(step)) {
      words.push_back(pairs.words[row]);
      others.push_back(pairs.neighbours[row]);
      for (long k = 0; k < s.negatives; ++k) others.push_back(drawn(random));
    }
    const auto count = static_cast<int64_t>(words.size());
    return TrainingLoop::Step{
        model.loss(Tensor::from(words, {count}), Tensor::from(others, {count, 1 + s.negatives})),
        static_cast<double>(count),
        {}};
  });
  if (!done) return std::nullopt;
  loop.finish({{"words", vocabulary.joined()}});
  return vectors_of(model, vocabulary);
}

struct Score {
  long right = 0, asked = 0;
};

Score ask(const Likeness& likeness, const std::vector<AnalogySection>& sections, const std::string& out) {
  Score all;
  for (const AnalogySection& section : sections) {
    Score own;
    for (auto question : section.questions) {
      for (std::string& word : question) word = lower(word);
      const auto& [a, b, c, d] = question;
      if (interrupted() ||
          !std::ranges::all_of(question, [&](const auto& word) { return likeness.knows(word); })) {
        continue;
      }
      own.right += likeness.fourth(a, b, c) == d;
      ++own.asked;
    }
    if (own.asked > 0) say("  {:<28} {} of {}\n", section.name, own.right, own.asked);
    all.right += own.right, all.asked += own.asked;
  }
  // How alike the words of the first questions are.
  HeatMap map{.title = "Cosine between words", .row_label = "", .column_label = "", .value_label = "cosine"};
  for (const auto& question : sections[0].questions) {
    for (const std::string& raw : question) {
      const std::string word = lower(raw);
      if (map.rows.size() < 24 && likeness.knows(word) && std::ranges::count(map.rows, word) == 0) {
        map.rows.push_back(word);
      }
    }
  }
  map.columns = map.rows;
  for (const std::string& a : map.rows) {
    for (const std::string& b : map.columns) map.values.push_back(likeness.cosine(a, b));
  }
  write_svg(out + "/cosine.svg", heat_map(map));
  return all;
}

int run(const Settings& s) {
  const auto questions = s.analogies.empty() ? made_up_analogies() : read_analogies(s.analogies);
  std::optional<WordVectors> vectors = s.vectors.empty() ? learn(s) : read_word_vectors(s.vectors);
  if (!vectors) return TrainingLoop::interrupted_status;
  const Likeness likeness(std::move(*vectors));
  if (likeness.knows(s.word)) {
    say("nearest to \"{}\":", s.word);
    for (const auto& [word, cosine] : likeness.nearest(s.word, 6)) say(" {} ({:.2f})", word, cosine);
    say("\n");
  }
  std::vector<Field> results;
  if (std::ranges::all_of(std::array{"king", "man", "woman"},
                          [&](const char* w) { return likeness.knows(w); })) {
    results.emplace_back("king_man_woman", likeness.fourth("man", "king", "woman"));
    say("king - man + woman = {}\n", std::get<std::string>(results[0].value));
  }
  const Score score = ask(likeness, questions, s.common.out);
  if (score.asked > 0)
    results.emplace_back("analogy", static_cast<double>(score.right) / static_cast<double>(score.asked));
  results.emplace_back("questions", score.asked);
  say("picture {}/cosine.svg\n", s.common.out);
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "embeddings",
      "Learns word vectors from a text (--data FILE) by skip-gram with negative sampling, or loads them.",
      run, [](Settings& s, const Flags& flags) {
        const bool model_file = flags.given("--resume") || flags.given("--load") || flags.given("--save");
        if (!s.vectors.empty() && model_file)
          throw WrongFlag("--vectors are not trained: no --load, --save or --resume.");
      });
}
