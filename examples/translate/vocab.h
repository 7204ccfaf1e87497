// Tokens and their ids: two tokenisers, and a vocabulary that is counted, saved and strictly read back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace reel::examples {

using Tokens = std::vector<std::string>;

enum class TokenKind { characters, words };

// The characters (code points) of valid UTF-8; a stray byte is a token of its own.
Tokens split_characters(std::string_view text);

// What stands between white space: that of Python's str.split(), so ASCII's, U+00A0, U+2003, U+3000 and more.
Tokens split_words(std::string_view text);
std::string_view trim_right(std::string_view text);  // without the white space at its end

Tokens tokenise(std::string_view text, TokenKind kind);
std::string join(std::span<const std::string> tokens, TokenKind kind);  // characters with "", words with " "

// A vocabulary file is plain UTF-8, one token a line, the line number less one being the id. The first four
// lines are <pad>, <unk>, <s>, </s>. A token is 1 to max_token_bytes bytes of UTF-8, no control characters.
class Vocab {
 public:
  static constexpr std::int64_t pad = 0, unk = 1, bos = 2, eos = 3;
  static constexpr std::size_t max_token_bytes = 256;

  Vocab();  // the four special tokens alone

  // Tokens seen at least min_count times, the most frequent first and equal counts in order of their bytes,
  // until the vocabulary holds max_size tokens, the four special ones included; max_size 0 means all. Text
  // that spells a special token, and what could not be saved (see above), is left out and so reads as <unk>.
  static Vocab build(std::span<const Tokens> sentences, std::int64_t min_count = 1, std::size_t max_size = 0);

  static Vocab load(const std::string& path);  // throws Error naming the file and the line
  static Vocab parse(const std::string& text,
                     const std::string& path);  // the text of such a file; `path` names it
  void save(const std::string& path) const;     // whole or not at all
  std::string text() const;                     // of the file

  std::size_t size() const { return tokens_.size(); }
  const std::string& token(std::int64_t id) const;  // throws Error outside [0, size)
  std::int64_t id(std::string_view token) const;    // <unk> for what is not known

  // Text can never spell a special token: "</s>" in a sentence is <unk>. Nothing is added in front or behind.
  std::vector<std::int64_t> encode(std::span<const std::string> tokens) const;
  // The tokens up to the first </s>, without <pad> and <s>; <unk> is kept.
  Tokens decode(std::span<const std::int64_t> ids) const;

  bool operator==(const Vocab& other) const { return tokens_ == other.tokens_; }

 private:
  void add(std::string token);

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<std::string> tokens_;  // by id
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;
};

}  // namespace reel::examples
