// sentiment: is a review good or bad? an LSTM over its words, and a Tree-LSTM over its parts
// Subject: Classifying sequences
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "examples/common/best_weights.h"
#include "examples/common/confusion.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/common/training_loop.h"
#include "examples/sentiment/reviews.h"
#include "examples/sentiment/word_reader.h"

namespace reel::examples {

namespace {

using Results = std::vector<Field>;

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = unlimited, .batch = 25, .hidden = unlimited, .lr = 2e-3, .log_every = 20};
  std::string task = "all", vectors;
  long embedding = 50;
  double dropout = 0.5;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.choice("--task", task, "two classes by words, five classes by trees", {"all", "words", "trees"});
    flags.text("--vectors", vectors, "GloVe text file that the words' vectors start from");
    flags.whole("--embedding", embedding, "width of a word's vector, without --vectors", 1, 10000);
    flags.number("--dropout", dropout, "on the words' vectors and before the output", 0, 0.95);
  }
  CommonFlags of(const std::string& name, long epochs, long hidden) const {
    CommonFlags own = common;
    if (task == "all") own.out += "/" + name, own.task = name;
    if (own.epochs == unlimited) own.epochs = epochs;
    if (own.hidden == unlimited) own.hidden = hidden;
    return own;
  }
};

struct Data {
  Reviews reviews;
  Symbols words;
  WordVectors vectors;
  bool real;

  explicit Data(const Settings& s)
      : reviews(s.common.data.empty() ? made_up_reviews(s.common.seed) : read_reviews(s.common.data[0])),
        words(words_of_reviews(reviews.train)),
        real(!s.common.data.empty()) {
    if (!s.vectors.empty()) vectors = read_word_vectors(s.vectors);
    if (s.vectors.empty()) vectors.width = s.embedding;
  }
  std::map<std::string, std::string> same() const {
    return {{"words", words.joined()}, {"reviews", std::to_string(reviews.train.size())}};
  }
};

// --- words: an LSTM, and good or bad
double right_of(WordReader& reader, const Sentences& sentences) {
  const NoGrad no_grad;
  reader.eval();
  std::vector<int64_t> said;
  for (const auto& rows : in_order(sentences.labels.size(), 100)) {
    const auto ids = argmax(reader(padded(sentences.words, rows)), -1).to_vector<int64_t>();
    said.insert(said.end(), ids.begin(), ids.end());
  }
  reader.train();
  return accuracy(said, sentences.labels);
}

// Trains, judges after each pass, and ends with the weights that did best on the reviews held out for that.
bool train(TrainingLoop& loop, BestWeights& best, long per_epoch, const std::function<double()>& judge,
           const std::function<TrainingLoop::Step(long)>& step) {
  const auto end_of_epoch = [&] {
    const double score = judge();
    say("epoch {}: {:.2f} % of the held-out reviews\n", loop.step() / per_epoch, 100 * score);
    loop.metrics().log({{"step", loop.step()}, {"held_out", score}});
    best.offer(score);
  };
  loop.every(per_epoch, end_of_epoch);
  if (!loop.run(step)) return false;
  end_of_epoch();
  best.take();
  return true;
}

// The first reviews of the test that are neither short nor long, each word shaded by what it does to the
// verdict.
void shade_words(WordReader& reader, const Data& data, const std::string& path) {
  const NoGrad no_grad;
  reader.eval();
  ShadedWords picture{.title = "What each word does to the log odds of a good review",
                      .low_label = "worse",
                      .high_label = "better",
                      .most = 1e-6};
  for (const LabelledTree& review : data.reviews.test) {
    const std::vector<std::string> words = review.sentence();
    if (review.label() == 2 || words.size() < 4 || words.size() > 30) continue;
    if (picture.texts.size() == 8) break;
    std::vector<int64_t> ids;
    for (const std::string& word : words) ids.push_back(data.words[lower(word)]);
    const auto [log_odds, of_word] = reader.influence(ids);
    for (const double much : of_word) picture.most = std::max(picture.most, std::abs(much));
    const std::string caption = fmt::format("P(good) = {:.2f}; it is {}", 1 / (1 + std::exp(-log_odds)),
                                            review.label() > 2 ? "good" : "bad");
    say("  {}: {}\n", caption, fmt::join(words, " "));
    picture.texts.push_back({caption, words, of_word});
  }
  write_svg(path, shaded_words(picture));
  say("picture {}\n", path);
  reader.train();
}

bool by_words(const Settings& s, const Data& data, Results& results) {
  const CommonFlags own = s.of("words", data.real ? 4 : 6, 100);
  const Sentences train_set = two_class(data.reviews.train, data.words, data.real);
  const Sentences dev = two_class(data.reviews.dev, data.words, false);
  const Sentences test = two_class(data.reviews.test, data.words, false);
  WordReader reader(data.words, data.vectors, own.hidden, s.dropout, s.common.seed);
  Batches batches(train_set.labels.size(), own.batch, own.seed);
  BestWeights best(reader);
  TrainingLoop loop("sentiment", own, reader,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "texts/s",
                     .title = "Sentiment by words: loss",
                     .y_label = "nats a text",
                     .same = data.same(),
                     .keep = [&](Checkpoint& c) { best.keep(c); },
                     .restore = [&](const Checkpoint& c) { best.restore(c); }});
  say("{} texts for training, {} held out, {} for the test; {} parameters\n", train_set.labels.size(),
      dev.labels.size(), test.labels.size(), reader.num_parameters());
  const bool done = train(
      loop, best, batches.per_pass(), [&] { return right_of(reader, dev); },
      [&](long step) {
        const auto& rows = batches.at(step);
        std::vector<int64_t> labels;
        for (const size_t row : rows) labels.push_back(train_set.labels[row]);
        const auto count = static_cast<int64_t>(labels.size());
        return TrainingLoop::Step{
            cross_entropy(reader(padded(train_set.words, rows)), Tensor::from(labels, {count})),
            static_cast<double>(count),
            {}};
      });
  if (!done) return false;
  loop.finish({{"words", data.words.joined()}});
  shade_words(reader, data, own.out + "/words.svg");
  results.emplace_back("accuracy", right_of(reader, test));
  results.emplace_back("texts_per_s", loop.speed());
  results.emplace_back("epoch_s", loop.pass_seconds());
  results.emplace_back("epoch_cpu_s", loop.pass_cpu_seconds());
  return true;
}

// --- trees: a Tree-LSTM, and one of five classes at every node
struct TreeReader : nn::Module {
  TreeReader(const Data& data, const Settings& s, int64_t hidden)
      : vocabulary(data.words),
        words({this, "words"}, data.words, data.vectors, s.common.seed),
        drop({this, "drop"}, s.dropout),
        cell({this, "cell"}, data.vectors.width, hidden, {.inner_input = false}),
        output({this, "output"}, hidden, 5) {}

  Tensor operator()(const LabelledTree& tree) const {  // [nodes, 5]
    Tensors x(tree.words.size());
    for (size_t n = 0; n < x.size(); ++n) {
      if (tree.words[n].empty()) continue;
      x[n] = drop(words(Tensor::from(std::vector<int64_t>{vocabulary[lower(tree.words[n])]}, {1})));
    }
    Tensors h;
    for (const auto& state : nn::walk(cell, tree.tree, x)) h.push_back(state.h);
    return output(drop(concat(h, 0)));
  }

  const Symbols& vocabulary;
  WordEmbedding words;
  nn::Dropout drop;
  nn::TreeLSTMCell cell;
  nn::Linear output;
};

// Several trees as one, whose nodes the planner computes side by side.
LabelledTree forest(const std::vector<LabelledTree>& trees, const std::vector<size_t>& rows) {
  LabelledTree all;
  for (const size_t row : rows) {
    const auto offset = static_cast<int64_t>(all.labels.size());
    for (auto children : trees[row].tree.children) {
      for (int64_t& child : children) child += offset;
      all.tree.children.push_back(std::move(children));
    }
    all.labels.insert(all.labels.end(), trees[row].labels.begin(), trees[row].labels.end());
    all.words.insert(all.words.end(), trees[row].words.begin(), trees[row].words.end());
  }
  return all;
}

struct RootGuesses {
  std::vector<int64_t> said, truth;
};
RootGuesses root_guesses(TreeReader& reader, const std::vector<LabelledTree>& trees) {
  const NoGrad no_grad;
  reader.eval();
  RootGuesses roots;
  for (const auto& rows : in_order(trees.size(), 50)) {
    const LabelledTree all = forest(trees, rows);
    const auto said = argmax(reader(all), -1).to_vector<int64_t>();
    for (const int64_t root : all.tree.roots()) {
      roots.said.push_back(said[static_cast<size_t>(root)]);
      roots.truth.push_back(all.labels[static_cast<size_t>(root)]);
    }
  }
  reader.train();
  return roots;
}

bool by_trees(const Settings& s, const Data& data, Results& results) {
  const CommonFlags own = s.of("trees", data.real ? 5 : 6, data.real ? 150 : 50);
  TreeReader reader(data, s, own.hidden);
  Batches batches(data.reviews.train.size(), own.batch, own.seed);
  BestWeights best(reader);
  TrainingLoop loop("sentiment", own, reader,
                    {.clip_norm = 5,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "trees/s",
                     .title = "Sentiment by trees: loss",
                     .y_label = "nats a node",
                     .same = data.same(),
                     .keep = [&](Checkpoint& c) { best.keep(c); },
                     .restore = [&](const Checkpoint& c) { best.restore(c); }});
  say("{} trees for training, {} held out, {} for the test; {} parameters\n", data.reviews.train.size(),
      data.reviews.dev.size(), data.reviews.test.size(), reader.num_parameters());
  const auto judge = [&] {
    const RootGuesses dev = root_guesses(reader, data.reviews.dev);
    return accuracy(dev.said, dev.truth);
  };
  const bool done = train(loop, best, batches.per_pass(), judge, [&](long step) {
    const LabelledTree all = forest(data.reviews.train, batches.at(step));
    const auto count = static_cast<int64_t>(all.labels.size());
    return TrainingLoop::Step{cross_entropy(reader(all), Tensor::from(all.labels, {count})),
                              static_cast<double>(batches.at(step).size()),
                              {}};
  });
  if (!done) return false;
  loop.finish({{"words", data.words.joined()}});
  const RootGuesses test = root_guesses(reader, data.reviews.test);
  const std::vector<std::string> classes{"--", "-", "0", "+", "++"};
  write_svg(own.out + "/confusion.svg",
            heat_map(confusion("Reviews by trees", classes, test.said, test.truth)));
  say("picture {}/confusion.svg\n", own.out);
  results.emplace_back("accuracy_trees", accuracy(test.said, test.truth));
  results.emplace_back("trees_per_s", loop.speed());
  results.emplace_back("epoch_s_trees", loop.pass_seconds());
  results.emplace_back("epoch_cpu_s_trees", loop.pass_cpu_seconds());
  return true;
}

int run(const Settings& s) {
  const Data data(s);
  Results results;
  const bool done =
      (s.task == "trees" || by_words(s, data, results)) && (s.task == "words" || by_trees(s, data, results));
  if (!done) return TrainingLoop::interrupted_status;
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "sentiment",
      "Learns whether a review is good or bad. --data FOLDER: train.txt, dev.txt, test.txt, bracketed trees, "
      "as the Stanford Sentiment Treebank has them.",
      run, [](Settings& s, const Flags& flags) { want_one_task(s.task, flags); });
}
