#include "examples/dna/genes.h"

#include <array>
#include <string_view>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

constexpr std::string_view promoter = "TATAAT", start = "ATG";
constexpr std::array<std::string_view, 3> stops = {"TAA", "TAG", "TGA"};
constexpr std::size_t nearest = 5, farthest = 9;  // bases between promoter and gene
constexpr std::size_t nowhere = std::string::npos;

bool is_stop(std::string_view codon) { return codon == stops[0] || codon == stops[1] || codon == stops[2]; }

bool is_promoter(std::string_view bases) {
  std::size_t others = bases.size() == promoter.size() ? 0 : 2;
  for (std::size_t k = 0; others < 2 && k < bases.size(); ++k) others += bases[k] != promoter[k];
  return others < 2;
}

// Behind the stop codon of what starts at `begin`; nowhere if it has none.
std::size_t end_of_gene(std::string_view dna, std::size_t begin) {
  for (std::size_t at = begin + 3; at + 3 <= dna.size(); at += 3) {
    if (is_stop(dna.substr(at, 3))) return at + 3;
  }
  return nowhere;
}

std::string random_bases(int64_t count, Dice& dice) {
  std::string bases;
  for (int64_t k = 0; k < count; ++k) bases += dice.pick(std::string_view("ACGT"));
  return bases;
}

std::string gene(Dice& dice) {
  std::string bases(start);
  const int64_t codons = 2 + dice.below(5);
  for (int64_t k = 0; k < codons;) {
    const std::string codon = random_bases(3, dice);
    if (!is_stop(codon)) bases += codon, ++k;
  }
  return bases + std::string(dice.pick(stops));
}

}  // namespace

std::vector<std::string> annotated(const std::string& dna) {
  std::vector<std::string> tags(dna.size(), "O");
  const auto mark = [&](std::size_t begin, std::size_t end, const std::string& type) {
    for (std::size_t t = begin; t < end; ++t) tags[t] = (t == begin ? "B-" : "I-") + type;
  };
  const std::string_view all = dna;
  for (std::size_t at = 0; at < dna.size(); ++at) {
    if (!is_promoter(all.substr(at, promoter.size()))) continue;
    const std::size_t behind = at + promoter.size();
    for (std::size_t begin = behind + nearest; begin <= behind + farthest && begin < dna.size(); ++begin) {
      const std::size_t end = all.substr(begin, 3) == start ? end_of_gene(all, begin) : nowhere;
      if (end == nowhere) continue;
      mark(at, behind, "promoter");
      mark(begin, end, "gene");
      at = end - 1;
      break;
    }
  }
  return tags;
}

TaggedSentence make_dna(uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  std::string dna = random_bases(5 + dice.below(16), dice);
  for (int64_t parts = 1 + dice.below(3); parts > 0; --parts) {
    const int64_t kind = dice.below(4);  // a quarter lacks the promoter, another the gene
    if (kind != 0) {
      std::string box(promoter);
      if (dice.coin()) box[static_cast<std::size_t>(dice.below(6))] = random_bases(1, dice)[0];
      dna += box + random_bases(nearest + dice.below(farthest - nearest + 1), dice);
    }
    if (kind != 1) dna += gene(dice);
    dna += random_bases(5 + dice.below(16), dice);
  }
  TaggedSentence sequence{{}, annotated(dna)};
  for (const char base : dna) sequence.words.emplace_back(1, base);
  return sequence;
}

}  // namespace reel::examples
