#include "examples/sentiment/reviews.h"

#include <algorithm>
#include <array>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

struct Adjective {
  const char* word;
  int64_t label;
};
constexpr std::array<Adjective, 14> adjectives = {{{"awful", 0},
                                                   {"dreadful", 0},
                                                   {"unbearable", 0},
                                                   {"bad", 1},
                                                   {"dull", 1},
                                                   {"weak", 1},
                                                   {"long", 2},
                                                   {"quiet", 2},
                                                   {"good", 3},
                                                   {"funny", 3},
                                                   {"charming", 3},
                                                   {"brilliant", 4},
                                                   {"superb", 4},
                                                   {"wonderful", 4}}};
constexpr std::array subjects = {"film", "plot", "cast", "script", "music", "ending"};
constexpr std::array<int64_t, 5> stronger = {0, 0, 2, 4, 4}, turned = {3, 3, 2, 1, 1};

// Builds a tree from its leaves up.
class Builder {
 public:
  int64_t leaf(const std::string& word, int64_t label = 2) { return add({}, label, word); }
  int64_t join(int64_t left, int64_t right, int64_t label) { return add({left, right}, label, ""); }
  int64_t label(int64_t node) const { return tree.labels[static_cast<std::size_t>(node)]; }

  LabelledTree tree;

 private:
  int64_t add(std::vector<int64_t> children, int64_t label, const std::string& word) {
    tree.tree.children.push_back(std::move(children));
    tree.labels.push_back(label);
    tree.words.push_back(word);
    return static_cast<int64_t>(tree.labels.size()) - 1;
  }
};

// "the plot is not very good"
int64_t clause(Builder& b, Dice& dice) {
  const int64_t the = b.leaf("the"), subject = b.leaf(dice.pick(subjects));
  const int64_t noun = b.join(the, subject, 2), is = b.leaf("is");
  const bool no = dice.below(3) == 0, very = dice.below(3) == 0;
  const Adjective& adjective = dice.pick(adjectives);
  const int64_t nope = no ? b.leaf("not") : -1, intensifier = very ? b.leaf("very") : -1;
  int64_t phrase = b.leaf(adjective.word, adjective.label);
  if (very) phrase = b.join(intensifier, phrase, stronger[static_cast<std::size_t>(b.label(phrase))]);
  if (no) phrase = b.join(nope, phrase, turned[static_cast<std::size_t>(b.label(phrase))]);
  const int64_t verb = b.join(is, phrase, b.label(phrase));
  return b.join(noun, verb, b.label(verb));
}

void add_leaves(const LabelledTree& tree, std::size_t node, const Symbols& vocabulary,
                std::vector<int64_t>& ids) {
  // A node's leaves are those between the leftmost leaf below it and itself: the nodes are in post-order.
  std::size_t first = node;
  while (!tree.tree.children[first].empty()) first = static_cast<std::size_t>(tree.tree.children[first][0]);
  for (std::size_t k = first; k <= node; ++k) {
    if (!tree.words[k].empty()) ids.push_back(vocabulary[lower(tree.words[k])]);
  }
}

}  // namespace

LabelledTree make_review(uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  Builder b;
  int64_t all = clause(b, dice);
  if (dice.coin()) {
    const int64_t but = b.leaf("but"), second = clause(b, dice);
    const int64_t label = b.label(second) == 2 ? b.label(all) : b.label(second);
    all = b.join(all, b.join(but, second, b.label(second)), label);
  }
  return std::move(b.tree);
}

Reviews made_up_reviews(uint64_t seed) {
  Reviews reviews;
  for (uint64_t k = 0; k < 2000; ++k) reviews.train.push_back(make_review(seed, k));
  for (uint64_t k = 0; k < 300; ++k) reviews.dev.push_back(make_review(seed, (uint64_t{1} << 40) + k));
  for (uint64_t k = 0; k < 500; ++k) reviews.test.push_back(make_review(seed, (uint64_t{2} << 40) + k));
  return reviews;
}

Reviews read_reviews(const std::string& folder) {
  return {read_trees(folder + "/train.txt"), read_trees(folder + "/dev.txt"),
          read_trees(folder + "/test.txt")};
}

Sentences two_class(const std::vector<LabelledTree>& trees, const Symbols& vocabulary, bool phrases) {
  Sentences sentences;
  for (const LabelledTree& tree : trees) {
    for (std::size_t node = phrases ? 0 : tree.labels.size() - 1; node < tree.labels.size(); ++node) {
      if (tree.labels[node] == 2) continue;
      sentences.labels.push_back(tree.labels[node] > 2);
      add_leaves(tree, node, vocabulary, sentences.words.emplace_back());
    }
  }
  return sentences;
}

Symbols words_of_reviews(const std::vector<LabelledTree>& trees) {
  std::vector<std::vector<std::string>> texts;
  for (const LabelledTree& tree : trees) {
    texts.push_back(tree.sentence());
    for (std::string& word : texts.back()) word = lower(word);
  }
  return Symbols(texts);
}

}  // namespace reel::examples
