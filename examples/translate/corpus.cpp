// Reads parallel text and cuts it into batches.
#include "examples/translate/corpus.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "core/error.h"
#include "examples/common/text_file.h"

namespace reel::examples {
namespace {

std::string read_corpus_text(const std::string& path) {
  std::string text = read_text(path, most_corpus_bytes);
  check_utf8(text, path);
  return text;
}

std::vector<std::string_view> sentences(std::string_view text, const std::string& path) {
  std::vector<std::string_view> result = lines(text);
  if (result.empty()) fail("{} has no line; want sentences.", path);
  for (std::size_t i = 0; i < result.size(); ++i)
    if (result[i].size() > most_line_bytes)
      fail("{}, line {}: {} bytes; want one sentence a line, of {} bytes at most.", path, i + 1,
           result[i].size(), most_line_bytes);
  return result;
}

// Upper to lower by ranges of code points, after Unicode's simple case mapping.
char32_t lower(char32_t c) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (within(U'A', U'Z')) return c + 32;
  if (within(0xc0, 0xde) && c != 0xd7) return c + 32;  // Latin-1: À .. Þ, without ×
  if (c == 0x178) return 0xff;                         // Ÿ
  if ((within(0x100, 0x12f) || within(0x132, 0x137) || within(0x14a, 0x177)) && c % 2 == 0) return c + 1;
  if ((within(0x139, 0x148) || within(0x179, 0x17e)) && c % 2 == 1) return c + 1;
  if (within(0x200, 0x21f) && c % 2 == 0) return c + 1;   // Romanian Ș Ț and others
  if (within(0x391, 0x3ab) && c != 0x3a2) return c + 32;  // Greek, and its letters with tonos
  if (c == 0x386) return 0x3ac;
  if (within(0x388, 0x38a)) return c + 37;
  if (c == 0x38c) return 0x3cc;
  if (within(0x38e, 0x38f)) return c + 63;
  if (within(0x410, 0x42f)) return c + 32;  // Cyrillic А .. Я
  if (within(0x400, 0x40f)) return c + 80;  // Cyrillic Ѐ .. Џ
  if ((within(0x460, 0x481) || within(0x48a, 0x4bf) || within(0x4d0, 0x52f)) && c % 2 == 0) return c + 1;
  return c;
}

bool one_of(std::string_view c, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, c) != list.end();
}

bool is_digit(std::string_view c) { return c.size() == 1 && c[0] >= '0' && c[0] <= '9'; }
bool is_apostrophe(std::string_view c) { return one_of(c, {"'", "’"}); }

// ASCII punctuation and symbols, and the marks that European text is printed with.
bool is_mark(std::string_view c) {
  if (c.size() == 1)
    return std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").find(c) != std::string_view::npos;
  return one_of(c,
                {"’", "‘", "“", "”", "„", "«", "»", "‹", "›", "…", "–", "—", "¿", "¡", "·", "•", "、", "。"});
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out;
  for (const std::string_view c : utf8_chars(text)) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(c[i]); };
    if (c.size() == 1) {
      out += static_cast<char>(byte(0) < 0x80 ? lower(byte(0)) : byte(0));
    } else if (c.size() == 2) {  // every letter that `lower` knows is below U+0800, and stays there
      const char32_t code = lower((byte(0) & 0x1fu) << 6 | (byte(1) & 0x3fu));
      out += static_cast<char>(0xc0 | code >> 6);
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      out += c;
    }
  }
  return out;
}

Tokens split_punctuation(std::string_view text) {
  Tokens tokens;
  for (const std::string& word : split_words(text)) {
    const std::vector<std::string_view> chars = utf8_chars(word);
    bool start = true;  // the next character starts a token
    for (std::size_t i = 0; i < chars.size(); ++i) {
      const bool inside = i > 0 && i + 1 < chars.size() && !is_mark(chars[i - 1]) && !is_mark(chars[i + 1]);
      const bool number =
          inside && is_digit(chars[i - 1]) && is_digit(chars[i + 1]) && one_of(chars[i], {".", ","});
      const bool apostrophe = inside && is_apostrophe(chars[i]);
      const bool alone = is_mark(chars[i]) && !number && !apostrophe && !(inside && chars[i] == "-");
      if (start || alone) tokens.emplace_back();
      tokens.back() += chars[i];
      start = alone || apostrophe;
    }
  }
  return tokens;
}

Tokens tokenise_text(std::string_view text, const TextOptions& options) {
  const std::string lowered = options.lower ? lower_case(text) : std::string(text);
  return options.raw && options.kind == TokenKind::words ? split_punctuation(lowered)
                                                         : tokenise(lowered, options.kind);
}

ParallelText read_parallel(const std::string& source_path, const std::string& target_path,
                           TextOptions options) {
  const std::string source = read_corpus_text(source_path), target = read_corpus_text(target_path);
  const std::vector<std::string_view> source_lines = sentences(source, source_path);
  const std::vector<std::string_view> target_lines = sentences(target, target_path);
  if (source_lines.size() != target_lines.size())
    fail("{} has {} lines and {} has {}; want line n of one to translate line n of the other.", source_path,
         source_lines.size(), target_path, target_lines.size());
  ParallelText text;
  for (const std::string_view line : source_lines) text.source.push_back(tokenise_text(line, options));
  for (const std::string_view line : target_lines) text.target.push_back(tokenise_text(line, options));
  return text;
}

ParallelText read_tsv(const std::string& path, TextOptions options) {
  const std::string content = read_corpus_text(path);
  ParallelText text;
  for (const std::string_view line : sentences(content, path)) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos)
      fail("{}, line {}: no tab; want source TAB target on every line.", path, text.source.size() + 1);
    const std::string_view rest = line.substr(tab + 1);
    text.source.push_back(tokenise_text(line.substr(0, tab), options));
    text.target.push_back(tokenise_text(rest.substr(0, rest.find('\t')), options));
  }
  return text;
}

Corpus encode(const ParallelText& text, const Vocab& source, const Vocab& target, std::size_t max_length) {
  Corpus corpus;
  for (std::size_t i = 0; i < text.source.size(); ++i) {
    const auto [shorter, longer] = std::minmax({text.source[i].size(), text.target[i].size()});
    if (shorter == 0) {
      ++corpus.dropped_empty;
    } else if (max_length != 0 && longer > max_length) {
      ++corpus.dropped_long;
    } else {
      corpus.source.push_back(source.encode(text.source[i]));
      corpus.target.push_back(target.encode(text.target[i]));
      corpus.pair.push_back(i);
    }
  }
  if (corpus.size() == 0)
    fail("no sentence pair is left of {}: {} had an empty side, {} a side of more than {} tokens.",
         text.source.size(), corpus.dropped_empty, corpus.dropped_long, max_length);
  return corpus;
}

namespace {

// Fisher and Yates's shuffle by our own hand: std::shuffle differs between standard libraries.
template <class T>
void shuffle(std::vector<T>& items, std::mt19937_64& random) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random() % i]);
}

std::mt19937_64 generator(std::uint64_t seed, std::uint64_t epoch) {
  std::seed_seq sequence{seed, seed >> 32, epoch, epoch >> 32};
  return std::mt19937_64(sequence);
}

}  // namespace

std::vector<std::vector<std::size_t>> plan_batches(const Corpus& corpus, const BatchOptions& options,
                                                   std::uint64_t epoch) {
  if (options.sentences < 0 || options.tokens < 0 || (options.sentences == 0 && options.tokens == 0))
    fail("batches of {} sentences and {} tokens; want one of the two positive, the other 0 or more.",
         options.sentences, options.tokens);
  std::mt19937_64 random = generator(options.seed, epoch);
  std::vector<std::size_t> rows(corpus.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  if (options.shuffle) shuffle(rows, random);
  const auto lengths = [&](std::size_t row) {
    return std::pair(corpus.source[row].size(), corpus.target[row].size());
  };
  std::ranges::stable_sort(rows, {}, lengths);  // pairs of equal lengths stay shuffled

  std::vector<std::vector<std::size_t>> batches;
  std::size_t longest = 0;  // of the batch being filled, with <s> or </s>
  for (const std::size_t row : rows) {
    const auto [source, target] = lengths(row);
    const std::size_t with_row = std::max({longest, source + 1, target + 1});
    const std::size_t size = batches.empty() ? 0 : batches.back().size();
    const bool full =
        (options.sentences > 0 && size >= static_cast<std::size_t>(options.sentences)) ||
        (options.tokens > 0 && (size + 1) * with_row > static_cast<std::size_t>(options.tokens));
    if (batches.empty() || full) batches.emplace_back();
    longest = batches.back().empty() ? std::max(source, target) + 1 : with_row;
    batches.back().push_back(row);
  }
  if (options.shuffle) shuffle(batches, random);
  return batches;
}

Batch assemble(const Corpus& corpus, std::span<const std::size_t> rows) {
  Batch batch;
  batch.rows.assign(rows.begin(), rows.end());
  for (const std::size_t row : rows) {
    if (row >= corpus.size()) fail("there is no row {} in a corpus of {} pairs.", row, corpus.size());
    batch.source_lengths.push_back(static_cast<std::int64_t>(corpus.source[row].size()) + 1);
    batch.target_lengths.push_back(static_cast<std::int64_t>(corpus.target[row].size()) + 1);
  }
  if (rows.empty()) return batch;
  const auto src_len = static_cast<std::size_t>(std::ranges::max(batch.source_lengths));
  const auto tgt_len = static_cast<std::size_t>(std::ranges::max(batch.target_lengths));
  batch.size = static_cast<long>(rows.size());
  batch.src_len = static_cast<long>(src_len);
  batch.tgt_len = static_cast<long>(tgt_len);
  batch.source.assign(rows.size() * src_len, Vocab::pad);
  batch.target_in.assign(rows.size() * tgt_len, Vocab::pad);
  batch.target_out = batch.target_in;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto &source = corpus.source[rows[i]], &target = corpus.target[rows[i]];
    std::ranges::copy(source, &batch.source[i * src_len]);
    batch.source[i * src_len + source.size()] = Vocab::eos;
    batch.target_in[i * tgt_len] = Vocab::bos;
    std::ranges::copy(target, &batch.target_in[i * tgt_len] + 1);
    std::ranges::copy(target, &batch.target_out[i * tgt_len]);
    batch.target_out[i * tgt_len + target.size()] = Vocab::eos;
  }
  return batch;
}

}  // namespace reel::examples
