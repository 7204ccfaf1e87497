// Corpus BLEU (Papineni et al., 2002), number for number that of sacreBLEU 2.x with one reference, orders 1
// to 4, smoothing `exp` and no effective order.
//
//   BLEU = BP * exp(1/4 * sum_n log p_n),   BP = min(1, exp(1 - reference_length / hypothesis_length))
//   p_n  = 100 * correct_n / total_n;  the k-th order with no match counts as 100 / (2^k * total_n)
// No match at all, or no n-gram of some order, scores 0.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace reel::examples {

enum class BleuTokens { none, mteval13a };  // sacreBLEU's tokenize="none" and "13a" (its default)

struct Bleu {
  double score = 0;                       // 0..100
  std::array<std::int64_t, 4> correct{};  // [n]: n-grams of order n + 1 found in the reference, clipped
  std::array<std::int64_t, 4> total{};    // [n]: those of the hypotheses
  std::array<double, 4> precisions{};     // percent, smoothed
  double brevity_penalty = 1;
  std::int64_t hypothesis_length = 0, reference_length = 0;  // tokens
};

// hypotheses[i] is compared with references[i]; throws Error where the counts differ or there are none.
Bleu corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                 BleuTokens tokens = BleuTokens::none);

// mteval-v13a's tokenisation as sacreBLEU does it, words separated by single spaces.
std::string tokenise_13a(std::string_view line);

}  // namespace reel::examples
