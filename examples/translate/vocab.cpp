// Splits text into tokens; counts, saves and loads vocabularies.
#include "examples/translate/vocab.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/atomic_file.h"
#include "core/error.h"
#include "examples/common/text_file.h"

namespace reel::examples {
namespace {

constexpr std::array<std::string_view, 4> specials{"<pad>", "<unk>", "<s>", "</s>"};

constexpr std::size_t most_file_bytes = std::size_t{1} << 26;

bool is_special(std::string_view token) { return std::ranges::find(specials, token) != specials.end(); }

// Python's str.isspace, for one character of UTF-8.
bool is_white_space(std::string_view c) {
  if (c.size() == 1) return (c[0] >= '\t' && c[0] <= '\r') || (c[0] >= '\x1c' && c[0] <= ' ');
  if (c.size() == 2) return c == "\u0085" || c == "\u00a0";
  return c == "\u1680" || (c >= "\u2000" && c <= "\u200a") || c == "\u2028" || c == "\u2029" ||
         c == "\u202f" || c == "\u205f" || c == "\u3000";
}

// What keeps a token out of a vocabulary file; empty for a good token.
std::string_view fault_of(std::string_view token) {
  if (token.empty()) return "is empty";
  if (token.size() > Vocab::max_token_bytes) return "is too long";
  for (const char c : token)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "has a control character";
  for (const std::string_view c : utf8_chars(token))
    if (c.size() == 1 && static_cast<unsigned char>(c[0]) >= 0x80) return "is not UTF-8";
  return "";
}

}  // namespace

Tokens split_characters(std::string_view text) {
  Tokens tokens;
  for (const std::string_view c : utf8_chars(text)) tokens.emplace_back(c);
  return tokens;
}

Tokens split_words(std::string_view text) {
  Tokens tokens;
  bool inside = false;
  for (const std::string_view c : utf8_chars(text)) {
    const bool word = !is_white_space(c);
    if (word && !inside) tokens.emplace_back();
    if (word) tokens.back() += c;
    inside = word;
  }
  return tokens;
}

std::string_view trim_right(std::string_view text) {
  const char* end = text.data();
  for (const std::string_view c : utf8_chars(text))
    if (!is_white_space(c)) end = c.data() + c.size();
  return text.substr(0, static_cast<std::size_t>(end - text.data()));
}

Tokens tokenise(std::string_view text, TokenKind kind) {
  return kind == TokenKind::characters ? split_characters(text) : split_words(text);
}

std::string join(std::span<const std::string> tokens, TokenKind kind) {
  std::string text;
  for (const std::string& token : tokens) {
    if (kind == TokenKind::words && !text.empty()) text += ' ';
    text += token;
  }
  return text;
}

Vocab::Vocab() {
  for (const std::string_view token : specials) add(std::string(token));
}

void Vocab::add(std::string token) {
  ids_.emplace(token, static_cast<std::int64_t>(tokens_.size()));
  tokens_.push_back(std::move(token));
}

Vocab Vocab::build(std::span<const Tokens> sentences, std::int64_t min_count, std::size_t max_size) {
  if (max_size != 0 && max_size <= specials.size())
    fail(
        "a vocabulary of at most {} tokens has no room for text; want more than the {} special tokens, or 0 "
        "for all.",
        max_size, specials.size());
  std::unordered_map<std::string_view, std::int64_t> counts;
  for (const Tokens& sentence : sentences)
    for (const std::string& token : sentence) ++counts[token];
  std::vector<std::pair<std::string_view, std::int64_t>> kept;
  for (const auto& [token, count] : counts)
    if (count >= min_count && !is_special(token) && fault_of(token).empty()) kept.emplace_back(token, count);
  std::ranges::sort(kept, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  Vocab vocab;
  for (const auto& [token, count] : kept) {
    if (max_size != 0 && vocab.size() == max_size) break;
    vocab.add(std::string(token));
  }
  return vocab;
}

Vocab Vocab::load(const std::string& path) { return parse(read_text(path, most_file_bytes), path); }

Vocab Vocab::parse(const std::string& text, const std::string& path) {
  check_utf8(text, path);
  Vocab vocab;
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view token = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (line < specials.size()) {
      if (token != specials[line])
        fail("{}, line {}: a vocabulary starts with the lines <pad> <unk> <s> </s>, and this one is not {}.",
             path, line + 1, specials[line]);
      continue;
    }
    if (const std::string_view fault = fault_of(token); !fault.empty())
      fail("{}, line {}: the token {}; want 1 to {} bytes of UTF-8 without control characters.", path,
           line + 1, fault, max_token_bytes);
    if (const auto known = vocab.ids_.find(token); known != vocab.ids_.end())
      fail("{}, line {}: the token \"{}\" is on line {} already; want every token once.", path, line + 1,
           token, known->second + 1);
    vocab.add(std::string(token));
  }
  if (line < specials.size())
    fail("{}: {} lines are no vocabulary; want the lines <pad> <unk> <s> </s>, then one token a line.", path,
         line);
  return vocab;
}

void Vocab::save(const std::string& path) const { write_file_atomically(path, text()); }

std::string Vocab::text() const {
  std::string text;
  for (const std::string& token : tokens_) text += token + '\n';
  return text;
}

const std::string& Vocab::token(std::int64_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size())
    fail("there is no token {} in a vocabulary of {}; want 0 to {}.", id, size(), size() - 1);
  return tokens_[static_cast<std::size_t>(id)];
}

std::int64_t Vocab::id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? unk : found->second;
}

std::vector<std::int64_t> Vocab::encode(std::span<const std::string> tokens) const {
  std::vector<std::int64_t> ids;
  ids.reserve(tokens.size());
  for (const std::string& token : tokens) ids.push_back(is_special(token) ? unk : id(token));
  return ids;
}

Tokens Vocab::decode(std::span<const std::int64_t> ids) const {
  Tokens tokens;
  for (const std::int64_t id : ids) {
    if (id == eos) break;
    if (id != pad && id != bos) tokens.push_back(token(id));
  }
  return tokens;
}

}  // namespace reel::examples
