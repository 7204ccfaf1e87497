#include "examples/dna/promoters.h"

#include <string_view>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

constexpr std::string_view minus35 = "TTGACA", minus10 = "TATAAT";
constexpr std::size_t size = minus35.size(), nearest = 15, farthest = 19;

bool is_motif(std::string_view bases, std::string_view motif) {
  std::size_t others = bases.size() == size ? 0 : 2;
  for (std::size_t k = 0; others < 2 && k < size; ++k) others += bases[k] != motif[k];
  return others < 2;
}

std::string random_bases(int64_t count, Dice& dice) {
  std::string bases;
  for (int64_t k = 0; k < count; ++k) bases += dice.pick(std::string_view("ACGT"));
  return bases;
}

std::string motif(std::string_view bases, Dice& dice) {
  std::string text(bases);
  if (dice.coin()) text[static_cast<std::size_t>(dice.below(size))] = random_bases(1, dice)[0];
  return text;
}

}  // namespace

std::vector<std::string> annotated(const std::string& dna) {
  std::vector<std::string> tags(dna.size(), "O");
  const auto mark = [&](std::size_t begin, const std::string& type) {
    for (std::size_t t = begin; t < begin + size; ++t) tags[t] = (t == begin ? "B-" : "I-") + type;
  };
  const std::string_view all = dna;
  for (std::size_t at = 0; at < dna.size(); ++at) {
    if (!is_motif(all.substr(at, size), minus35)) continue;
    for (std::size_t second = at + size + nearest; second <= at + size + farthest; ++second) {
      if (second >= dna.size() || !is_motif(all.substr(second, size), minus10)) continue;
      mark(at, "minus35");
      mark(second, "minus10");
      at = second + size - 1;
      break;
    }
  }
  return tags;
}

TaggedSentence make_dna(uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  std::string dna = random_bases(3 + dice.below(10), dice);
  for (int64_t parts = 1 + dice.below(2); parts > 0; --parts) {
    const int64_t kind = dice.below(6);  // 0: no first motif, 1: no second one, 2: at another distance
    const bool off = kind == 2, near = off && dice.coin();
    const auto between = static_cast<int64_t>(near ? nearest - 10 : off ? farthest + 4 : nearest);
    if (kind != 0) dna += motif(minus35, dice);
    dna += random_bases(between + dice.below(farthest - nearest + 1), dice);
    if (kind != 1) dna += motif(minus10, dice);
    dna += random_bases(3 + dice.below(10), dice);
  }
  TaggedSentence sequence{{}, annotated(dna)};
  for (const char base : dna) sequence.words.emplace_back(1, base);
  return sequence;
}

}  // namespace reel::examples
