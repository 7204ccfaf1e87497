// Parallel text: read, tokenised, encoded, and cut into batches of similar length.
//
// The road: read_parallel or read_tsv -> ParallelText -> encode (with two Vocabs) -> Corpus -> plan_batches
// -> assemble -> Batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "examples/translate/vocab.h"

namespace reel::examples {

// Sentence pairs as tokens, in the order of the file; source.size() == target.size().
struct ParallelText {
  std::vector<Tokens> source, target;
};

// How the text of a file becomes tokens. `raw` splits punctuation off with split_punctuation and is meant for
// text that nobody tokenised, such as Tatoeba's; without it words are what white space separates.
struct TextOptions {
  TokenKind kind = TokenKind::words;
  bool raw = false;
  bool lower = false;
};

inline constexpr std::size_t most_corpus_bytes = std::size_t{1} << 28;  // of one file, unpacked
inline constexpr std::size_t most_line_bytes = std::size_t{1} << 20;

// Two files, line n of one translating line n of the other; plain, gz, or zip. Throws Error where the counts
// differ, or a file is empty, binary, not UTF-8, over most_corpus_bytes, or has a line over most_line_bytes.
ParallelText read_parallel(const std::string& source_path, const std::string& target_path,
                           TextOptions options = {});

// One file of lines `source TAB target`; columns after the second are not read. Throws Error for what
// read_parallel does, and naming the line that has no tab.
ParallelText read_tsv(const std::string& path, TextOptions options = {});

// One sentence as the readers above tokenise it: what --translate does with a line of stdin.
Tokens tokenise_text(std::string_view text, const TextOptions& options);

// Words and punctuation marks apart. "l'herbe, 3.5 m!" -> l' herbe , 3.5 m !   An apostrophe ends its word, a
// hyphen inside a word stays, a point or comma between digits stays.
Tokens split_punctuation(std::string_view text);

// Lower case of the Latin, Greek and Cyrillic letters of Europe; other characters as they are.
std::string lower_case(std::string_view text);

// Encoded pairs, ready for batches: ids without <s> and </s>.
struct Corpus {
  std::vector<std::vector<std::int64_t>> source, target;
  std::vector<std::size_t> pair;  // row -> index of its pair in the ParallelText
  std::size_t dropped_empty = 0;  // pairs with a side of no tokens
  std::size_t dropped_long = 0;   // pairs with a side of more than max_length tokens

  std::size_t size() const { return source.size(); }
};

// max_length 0 keeps every length. Throws Error where no pair is left.
Corpus encode(const ParallelText& text, const Vocab& source, const Vocab& target, std::size_t max_length = 0);

struct BatchOptions {
  long sentences = 64;  // at most this many a batch; 0: no such limit
  long tokens = 0;      // at most this many a batch, as size * max(src_len, tgt_len); 0: no such limit
  std::uint64_t seed = 0;
  bool shuffle = true;  // off for validation: shortest first, the same every epoch
};

// The rows of each batch of an epoch: a pure function of its arguments, so (seed, epoch, batch index) is all
// that a resumed run needs. Every row is in one batch; a pair over the token budget is a batch of its own.
std::vector<std::vector<std::size_t>> plan_batches(const Corpus& corpus, const BatchOptions& options,
                                                   std::uint64_t epoch);

// Rows side by side, padded with <pad>. For source x1..xm and target y1..yn:
//   source = x1..xm </s>      target_in = <s> y1..yn      target_out = y1..yn </s>
struct Batch {
  long size = 0, src_len = 0, tgt_len = 0;
  std::vector<std::int64_t> source;                          // [size, src_len]
  std::vector<std::int64_t> target_in, target_out;           // [size, tgt_len]
  std::vector<std::int64_t> source_lengths, target_lengths;  // [size], m + 1 and n + 1
  std::vector<std::size_t> rows;                             // [size], rows of the corpus
};

Batch assemble(const Corpus& corpus, std::span<const std::size_t> rows);

}  // namespace reel::examples
