#include "examples/embeddings/corpus.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "examples/data/dice.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

namespace {

struct People {
  const char *he, *she;
  std::array<const char*, 4> things;  // that only these two have to do with
};
constexpr std::array<People, 8> people = {
    {{"king", "queen", {"crown", "throne", "kingdom", "palace"}},
     {"man", "woman", {"house", "work", "street", "garden"}},
     {"prince", "princess", {"castle", "heir", "feast", "pony"}},
     {"boy", "girl", {"school", "ball", "homework", "playground"}},
     {"actor", "actress", {"stage", "film", "role", "applause"}},
     {"waiter", "waitress", {"tray", "menu", "table", "tip"}},
     {"monk", "nun", {"prayer", "cloister", "bell", "candle"}},
     {"grandfather", "grandmother", {"armchair", "photograph", "cane", "tea"}}}};
constexpr std::array verbs = {"likes", "sees", "remembers", "shows", "wants", "forgets"};
constexpr std::array men = {"he", "his", "him", "himself", "beard", "gentleman"};
constexpr std::array women = {"she", "hers", "her", "herself", "gown", "lady"};

}  // namespace

std::vector<Sentence> made_up_sentences(uint64_t seed, int64_t count) {
  std::vector<Sentence> text;
  for (int64_t k = 0; k < count; ++k) {
    Dice dice(seed, static_cast<uint64_t>(k));
    const People& who = dice.pick(people);
    const bool she = dice.coin();
    const auto& own = she ? women : men;
    text.push_back({dice.pick(own), "the", she ? who.she : who.he, dice.pick(verbs), dice.pick(own),
                    dice.pick(who.things), "and", dice.pick(who.things)});
  }
  return text;
}

std::vector<AnalogySection> made_up_analogies() {
  AnalogySection section{"he and she", {}};
  for (const People& a : people) {
    for (const People& b : people) {
      if (a.he != b.he) section.questions.push_back({a.he, a.she, b.he, b.she});
    }
  }
  return {section};
}

Pairs skip_grams(const std::vector<Sentence>& text, const Symbols& vocabulary, int64_t window) {
  Pairs pairs;
  for (const Sentence& sentence : text) {
    const std::vector<int64_t> ids = vocabulary.ids(sentence);
    const auto size = static_cast<int64_t>(ids.size());
    for (int64_t t = 0; t < size; ++t) {
      for (int64_t n = std::max<int64_t>(0, t - window); n <= std::min(size - 1, t + window); ++n) {
        const int64_t word = ids[static_cast<std::size_t>(t)], other = ids[static_cast<std::size_t>(n)];
        if (n != t && word != 0 && other != 0) pairs.words.push_back(word), pairs.neighbours.push_back(other);
      }
    }
  }
  return pairs;
}

Likeness::Likeness(WordVectors vectors) : vectors_(std::move(vectors)) {
  const auto width = static_cast<std::size_t>(vectors_.width);
  for (std::size_t row = 0; row < vectors_.words.size(); ++row) {
    double square = 0;
    for (std::size_t k = 0; k < width; ++k) square += std::pow(vectors_.values[row * width + k], 2);
    for (std::size_t k = 0; k < width && square > 0; ++k) {
      vectors_.values[row * width + k] /= static_cast<float>(std::sqrt(square));
    }
  }
}

std::vector<float> Likeness::vector(const std::string& word) const {
  const int64_t row = vectors_.find(word);
  if (row < 0) fail("there is no vector for {}", quoted(word));
  const auto begin = vectors_.values.begin() + row * vectors_.width;
  return {begin, begin + vectors_.width};
}

std::vector<Likeness::Neighbour> Likeness::nearest(const std::vector<float>& to,
                                                   const std::vector<std::string>& but,
                                                   std::size_t count) const {
  std::vector<std::pair<double, std::size_t>> all;
  const auto width = static_cast<std::size_t>(vectors_.width);
  for (std::size_t row = 0; row < vectors_.words.size(); ++row) {
    double dot = 0;
    for (std::size_t k = 0; k < width; ++k) dot += to[k] * vectors_.values[row * width + k];
    if (std::ranges::count(but, vectors_.words[row]) == 0) all.emplace_back(-dot, row);
  }
  count = std::min(count, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end());
  std::vector<Neighbour> nearest;
  for (std::size_t k = 0; k < count; ++k) nearest.push_back({vectors_.words[all[k].second], -all[k].first});
  return nearest;
}

std::vector<Likeness::Neighbour> Likeness::nearest(const std::string& word, std::size_t count) const {
  return nearest(vector(word), {word}, count);
}

std::string Likeness::fourth(const std::string& a, const std::string& b, const std::string& c) const {
  std::vector<float> to = vector(b);
  const std::vector<float> minus = vector(a), plus = vector(c);
  for (std::size_t k = 0; k < to.size(); ++k) to[k] += plus[k] - minus[k];
  const auto found = nearest(to, {a, b, c}, 1);
  return found.empty() ? "" : found[0].word;
}

double Likeness::cosine(const std::string& a, const std::string& b) const {
  const auto x = vector(a), y = vector(b);
  double dot = 0;
  for (std::size_t k = 0; k < x.size(); ++k) dot += x[k] * y[k];
  return dot;
}

}  // namespace reel::examples
