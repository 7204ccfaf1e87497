// Counts n-grams and computes corpus BLEU as sacreBLEU does.
#include "examples/translate/bleu.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "examples/translate/vocab.h"

namespace reel::examples {
namespace {

constexpr std::size_t orders = 4;

// A sentence in one string, single spaces between its tokens: an n-gram is then a piece of it, and pieces of
// different order never look alike.
struct Sentence {
  std::string text;
  std::vector<std::size_t> begin, end;  // of each token in text

  explicit Sentence(std::string_view line) {
    for (const std::string& token : split_words(line)) {
      if (!text.empty()) text += ' ';
      begin.push_back(text.size());
      text += token;
      end.push_back(text.size());
    }
  }

  std::size_t length() const { return begin.size(); }

  std::unordered_map<std::string_view, std::int64_t> ngrams(std::size_t n) const {
    std::unordered_map<std::string_view, std::int64_t> counts;
    for (std::size_t i = 0; i + n <= length(); ++i)
      ++counts[std::string_view(text).substr(begin[i], end[i + n - 1] - begin[i])];
    return counts;
  }
};

void count_matches(const Sentence& hypothesis, const Sentence& reference, Bleu& bleu) {
  bleu.hypothesis_length += static_cast<std::int64_t>(hypothesis.length());
  bleu.reference_length += static_cast<std::int64_t>(reference.length());
  for (std::size_t n = 1; n <= orders; ++n) {
    const auto wanted = reference.ngrams(n);
    for (const auto& [ngram, count] : hypothesis.ngrams(n)) {
      bleu.total[n - 1] += count;
      if (const auto found = wanted.find(ngram); found != wanted.end())
        bleu.correct[n - 1] += std::min(count, found->second);
    }
  }
}

void finish(Bleu& bleu) {
  const auto hypothesis = static_cast<double>(bleu.hypothesis_length);
  const auto reference = static_cast<double>(bleu.reference_length);
  if (hypothesis < reference)
    bleu.brevity_penalty = hypothesis > 0 ? std::exp(1 - reference / hypothesis) : 0;
  if (bleu.correct == decltype(bleu.correct){}) return;
  double halving = 1, log_sum = 0;
  for (std::size_t n = 0; n < orders; ++n) {
    if (bleu.total[n] == 0) return;
    const auto total = static_cast<double>(bleu.total[n]);
    if (bleu.correct[n] == 0) halving *= 2;
    bleu.precisions[n] =
        bleu.correct[n] == 0 ? 100 / (halving * total) : 100 * static_cast<double>(bleu.correct[n]) / total;
    log_sum += std::log(bleu.precisions[n]);
  }
  bleu.score = bleu.brevity_penalty * std::exp(log_sum / orders);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_stop(char c) { return c == '.' || c == ','; }

// The ASCII marks that 13a always sets apart: all but - . , ' and the letters and digits.
bool is_mark(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t at; (at = text.find(from, begin)) != std::string::npos; begin = at + from.size())
    out.append(text, begin, at - begin).append(to);
  text = out.append(text, begin);
}

// re.sub over pairs of characters: two neighbours that `match` takes are both consumed, and `write` replaces
// them.
template <class Match, class Write>
std::string substitute_pairs(const std::string& in, Match match, Write write) {
  std::string out;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + 1 < in.size() && match(in[i], in[i + 1])) {
      write(out, in[i], in[i + 1]);
      ++i;
    } else {
      out += in[i];
    }
  }
  return out;
}

}  // namespace

// The rules work on bytes: only ASCII is ever matched or inserted, so UTF-8 comes through whole.
std::string tokenise_13a(std::string_view line) {
  std::string text(trim_right(line));
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  std::string spaced = " ";
  for (const char c : text) is_mark(c) ? spaced.append({' ', c, ' '}) : spaced.append(1, c);
  spaced += ' ';
  spaced = substitute_pairs(
      spaced, [](char a, char b) { return !is_digit(a) && is_stop(b); },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
  spaced = substitute_pairs(
      spaced, [](char a, char b) { return is_stop(a) && !is_digit(b); },
      [](std::string& out, char a, char b) {
        out.append({' ', a, ' ', b});
      });
  spaced = substitute_pairs(
      spaced, [](char a, char b) { return is_digit(a) && b == '-'; },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
  return join(split_words(spaced), TokenKind::words);
}

Bleu corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                 BleuTokens tokens) {
  if (hypotheses.size() != references.size())
    fail("BLEU of {} hypotheses against {} references; want one reference for each hypothesis.",
         hypotheses.size(), references.size());
  if (hypotheses.empty()) fail("BLEU of no sentences; want at least one hypothesis and its reference.");
  const auto sentence = [&](const std::string& line) {
    return Sentence(tokens == BleuTokens::mteval13a ? tokenise_13a(line) : line);
  };
  Bleu bleu;
  for (std::size_t i = 0; i < hypotheses.size(); ++i)
    count_matches(sentence(hypotheses[i]), sentence(references[i]), bleu);
  finish(bleu);
  return bleu;
}

}  // namespace reel::examples
