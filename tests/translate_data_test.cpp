// Vocabularies, parallel text and batches of examples/translate.
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "core/error.h"
#include "examples/common/text_file.h"
#include "examples/translate/corpus.h"
#include "examples/translate/vocab.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

namespace {

using Ids = std::vector<std::int64_t>;
using Strings = std::vector<std::string>;

struct Folder : scratch::Folder {
  std::string file(const std::string& name, const std::string& content) const {
    scratch::put(*this / name, content);
    return *this / name;
  }
};

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string data_folder() {
  const char* given = std::getenv("REEL_DATA");
  return given != nullptr ? given : std::string(REEL_SOURCE_DIR) + "/../shared/data";
}

std::string gzipped(const std::string& text, const std::string& path) {
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return path;
}

}  // namespace

TEST_CASE("vocab: tokenisers") {
  CHECK(split_characters("né à 🙂") == Tokens{"n", "é", " ", "à", " ", "🙂"});
  CHECK(split_characters("").empty());
  CHECK(split_words(" a  b\tc\u00a0d\u2009e\u3000f\u200bg ") == Tokens{"a", "b", "c", "d", "e", "f\u200bg"});
  CHECK(split_words("\u0085 \x1c\x1f\v").empty());
  CHECK(trim_right("a b\u00a0 \n") == "a b");
  CHECK(trim_right(" \u2028").empty());
  CHECK(join(Tokens{"a", "b"}, TokenKind::words) == "a b");
  CHECK(join(Tokens{"a", "b"}, TokenKind::characters) == "ab");
}

TEST_CASE("vocab: built in one order, cut by count and size") {
  const std::vector<Tokens> text{
      {"b", "a", "é", "b"}, {"a", "c", "<s>", "</s>"}, {"z", "z", "z", "\t", "", "<pad>"}};
  const Vocab vocab = Vocab::build(text);
  Strings order;
  for (std::size_t i = 0; i < vocab.size(); ++i) order.push_back(vocab.token(static_cast<std::int64_t>(i)));
  CHECK(order == Strings{"<pad>", "<unk>", "<s>", "</s>", "z", "a", "b", "c", "é"});
  CHECK(Vocab::build(text, 2).size() == 7);
  CHECK(Vocab::build(text, 1, 6).token(5) == "a");
  CHECK(Vocab::build(text, 1, 6).size() == 6);
  CHECK(Vocab::build({}).size() == 4);
  CHECK(contains(error_of([&] { Vocab::build(text, 1, 4); }), "no room"));
  CHECK(Vocab::build(std::vector<Tokens>{{std::string(257, 'x'), std::string(256, 'x'), "\xff"}}).size() ==
        5);

  CHECK(vocab.encode(Tokens{"a", "nope", "</s>", "<pad>", "é"}) == Ids{5, 1, 1, 1, 8});
  CHECK(vocab.decode(Ids{2, 5, 1, 6, 3, 7}) == Tokens{"a", "<unk>", "b"});
  CHECK(vocab.decode(Ids{5, 0, 0}) == Tokens{"a"});
  CHECK(contains(error_of([&] { vocab.decode(Ids{9}); }), "no token 9"));
  CHECK(contains(error_of([&] { vocab.token(-1); }), "no token -1"));
}

TEST_CASE("vocab: a saved file is read back, a wrong one is refused with its line") {
  const Folder folder;
  const Vocab vocab = Vocab::build(std::vector<Tokens>{{" ", "é", "a", "\u00a0", "🙂"}});
  const std::string path = (folder.path / "vocab.txt").string();
  vocab.save(path);
  CHECK(read_text(path) == "<pad>\n<unk>\n<s>\n</s>\n \na\n\u00a0\né\n🙂\n");
  CHECK(Vocab::load(path) == vocab);
  CHECK(Vocab::load(folder.file("cut", "<pad>\n<unk>\n<s>\n</s>\nlast")).token(4) == "last");

  const std::string head = "<pad>\n<unk>\n<s>\n</s>\n";
  const std::pair<std::string, std::string> wrong[] = {
      {head + "a\nb\na\n", "line 7: the token \"a\" is on line 5"},
      {head + "a\n<s>\n", "line 6: the token \"<s>\" is on line 3"},
      {head + "a\n\nb\n", "line 6: the token is empty"},
      {head + "\n", "line 5: the token is empty"},
      {head + "a\r\n", "line 5: the token has a control character"},
      {head + std::string(257, 'x'), "line 5: the token is too long"},
      {head + "a\n\xc3(\n", "line 6"},
      {"<pad>\n<unk>\n</s>\n<s>\n", "line 3"},
      {"\xef\xbb\xbf" + head, "line 1"},
      {"<pad>\n<unk>\n", "2 lines are no vocabulary"},
      {head + std::string(1, '\0'), "binary"},
      {"", "empty"},
  };
  for (const auto& [content, message] : wrong) {
    const std::string said =
        error_of([&, &content = content] { Vocab::load(folder.file("wrong", content)); });
    CAPTURE(said);
    CHECK(contains(said, message));
    CHECK(contains(said, (folder.path / "wrong").string()));
  }
  CHECK(contains(error_of([&] { Vocab::load((folder.path / "none").string()); }), "none"));
  CHECK(contains(error_of([&] { vocab.save((folder.path / "no" / "folder").string()); }), "folder"));
}

TEST_CASE("corpus: lower case and punctuation") {
  CHECK(lower_case("AZ az ÀÉÞ×ß ŸĀĹŽȘ ΑΩΆΉΌΏ АЯЀЏҐ İ 🙂") ==
        "az az àéþ×ß ÿāĺžș αωάήόώ аяѐџґ İ 🙂");
  CHECK(lower_case("\xff\xc3") == "\xff\xc3");
  const auto split = [](const std::string& text) { return join(split_punctuation(text), TokenKind::words); };
  CHECK(split("l'herbe, 3.5 m!") == "l' herbe , 3.5 m !");
  CHECK(split("Va !\u202f«\u00a0Porte-clés\u00a0» (1,000)...") == "Va ! « Porte-clés » ( 1,000 ) . . .");
  CHECK(split("d’accord 'tis 5. ,5 -5 e.g. it's-") == "d’ accord ' tis 5 . , 5 - 5 e . g . it' s -");
  CHECK(split("").empty());
  CHECK(tokenise_text("L'Été.", {.raw = true, .lower = true}) == Tokens{"l'", "été", "."});
  CHECK(tokenise_text("L'Été. x", {}) == Tokens{"L'Été.", "x"});
  CHECK(tokenise_text("Né.", {.kind = TokenKind::characters, .raw = true}) == Tokens{"N", "é", "."});
}

TEST_CASE("corpus: two files and one TSV") {
  const Folder folder;
  const std::string source = folder.file("src", "a b\r\n\nc\n"), target = folder.file("tgt", "x\ny y\nz z z");
  const ParallelText text = read_parallel(source, target);
  CHECK(text.source == std::vector<Tokens>{{"a", "b"}, {}, {"c"}});
  CHECK(text.target == std::vector<Tokens>{{"x"}, {"y", "y"}, {"z", "z", "z"}});
  const std::string packed = gzipped("x\ny y\nz z z\n", (folder.path / "tgt.gz").string());
  CHECK(read_parallel(source, packed).target == text.target);

  const std::string table = "a b\tx y\tCC-BY\tmore\n\t\nc\tz\n";
  const ParallelText columns = read_tsv(folder.file("tsv", table));
  CHECK(columns.source == std::vector<Tokens>{{"a", "b"}, {}, {"c"}});
  CHECK(columns.target == std::vector<Tokens>{{"x", "y"}, {}, {"z"}});
  CHECK(read_tsv(gzipped(table, (folder.path / "tsv.gz").string())).target == columns.target);

  const auto tsv_error = [&](const std::string& content) {
    return error_of([&] { read_tsv(folder.file("bad", content)); });
  };
  CHECK(contains(error_of([&] { read_parallel(source, folder.file("two", "x\ny\n")); }), "has 3 lines"));
  CHECK(contains(error_of([&] { read_parallel(source, (folder.path / "none").string()); }), "none"));
  CHECK(contains(tsv_error("a\tb\nc d\n"), "bad, line 2: no tab"));
  CHECK(contains(tsv_error("a\tb\n\nc\td\n"), "bad, line 2: no tab"));
  CHECK(contains(tsv_error(""), "empty"));
  CHECK(contains(tsv_error("\xef\xbb\xbf"), "no line"));
  CHECK(contains(tsv_error("a\tb\n\xff\tc\n"), "line 2"));
  CHECK(contains(tsv_error(std::string("\x7f"
                                       "ELF\0\0",
                                       6)),
                 "binary"));
  CHECK(contains(tsv_error("a\tb\n" + std::string(most_line_bytes + 1, 'x')), "line 2: 1048577 bytes"));
}

TEST_CASE("corpus: random bytes are read or refused, nothing else") {
  const Folder folder;
  std::mt19937 random(5);
  const std::string alphabet("a\t\n\r \xc3\xa9\xff\0<s>", 13);
  long read = 0, refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 20, ' ');
    for (char& c : bytes) c = alphabet[random() % (i % 2 == 0 ? alphabet.size() : 7)];
    const std::string path = folder.file("bytes", bytes);
    for (const bool vocab : {false, true}) {
      const std::string said = error_of([&] { vocab ? void(Vocab::load(path)) : void(read_tsv(path)); });
      ++(said == "no error" ? read : refused);
    }
  }
  CHECK(read > 10);
  CHECK(refused > 2000);
}

namespace {

// Pairs of random lengths 1..30, the source's ids telling the row.
Corpus random_corpus(std::size_t rows) {
  std::mt19937 random(3);
  Corpus corpus;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t length = 1 + random() % 28;
    corpus.source.emplace_back(length, static_cast<std::int64_t>(row + 4));
    corpus.target.emplace_back(length + random() % 3, 5);
    corpus.pair.push_back(row);
  }
  return corpus;
}

}  // namespace

TEST_CASE("corpus: empty and long pairs are dropped and counted") {
  const ParallelText text{.source = {{"a"}, {}, {"a", "b", "c"}, {"b"}, {"a", "b"}},
                          .target = {{"x"}, {"y"}, {"x"}, {}, {"y", "what"}}};
  const Vocab source = Vocab::build(text.source), target = Vocab::build(std::vector<Tokens>{{"x", "y"}});
  const Corpus corpus = encode(text, source, target, 2);
  CHECK(corpus.source == std::vector<Ids>{{4}, {4, 5}});
  CHECK(corpus.target == std::vector<Ids>{{4}, {5, Vocab::unk}});
  CHECK(corpus.pair == std::vector<std::size_t>{0, 4});
  CHECK(corpus.dropped_empty == 2);
  CHECK(corpus.dropped_long == 1);
  CHECK(encode(text, source, target).size() == 3);
  const ParallelText nothing{.source = {{}}, .target = {{"a"}}};
  CHECK(contains(error_of([&] { encode(nothing, source, target); }), "no sentence pair is left of 1: 1 had"));
}

TEST_CASE("batches: every row once, alike in length, within both limits, resumable") {
  const Corpus corpus = random_corpus(2000);
  for (const auto& [sentences, tokens] :
       {std::pair(64L, 0L), {0L, 600L}, {16L, 300L}, {0L, 5L}, {5000L, 0L}}) {
    const BatchOptions options{.sentences = sentences, .tokens = tokens, .seed = 11};
    const auto plan = plan_batches(corpus, options, 3);
    std::multiset<std::size_t> seen;
    std::size_t short_batches = 0;
    long padded = 0, real = 0;
    for (const auto& rows : plan) {
      REQUIRE(!rows.empty());
      seen.insert(rows.begin(), rows.end());
      const Batch batch = assemble(corpus, rows);
      if (sentences > 0) CHECK(batch.size <= sentences);
      if (tokens > 0 && batch.size > 1) CHECK(batch.size * std::max(batch.src_len, batch.tgt_len) <= tokens);
      short_batches += sentences > 0 && tokens == 0 && batch.size < sentences;
      padded += batch.size * batch.src_len;
      for (const std::int64_t length : batch.source_lengths) real += length;
    }
    CHECK(seen.size() == corpus.size());
    CHECK(std::set(seen.begin(), seen.end()).size() == corpus.size());
    CHECK(short_batches <= 1);
    if (sentences < 1000) CHECK(real > 0.93 * static_cast<double>(padded));

    CHECK(plan == plan_batches(corpus, options, 3));
    if (sentences < 1000) CHECK(plan != plan_batches(corpus, options, 4));
    if (sentences < 1000)
      CHECK(plan != plan_batches(corpus, {.sentences = sentences, .tokens = tokens, .seed = 12}, 3));
  }
  // The order of batches is shuffled too, not only equal lengths within it.
  const auto length = [&](const std::vector<std::size_t>& rows) { return corpus.source[rows[0]].size(); };
  CHECK(!std::ranges::is_sorted(plan_batches(corpus, {.seed = 1}, 0), {}, length));
  const auto in_order = plan_batches(corpus, {.seed = 1, .shuffle = false}, 0);
  CHECK(std::ranges::is_sorted(in_order, {}, length));
  CHECK(in_order == plan_batches(corpus, {.seed = 2, .shuffle = false}, 9));
  CHECK(plan_batches(Corpus{}, {}, 0).empty());
  CHECK(contains(error_of([&] { plan_batches(corpus, {.sentences = 0}, 0); }), "one of the two positive"));
  CHECK(contains(error_of([&] { plan_batches(corpus, {.sentences = -1}, 0); }), "-1 sentences"));

  // One long pair does not narrow the batches after it.
  Corpus uneven{
      .source = std::vector<Ids>(11, Ids(2, 4)), .target = std::vector<Ids>(11, Ids(2, 4)), .pair = {}};
  uneven.source[0] = Ids(1, 4);
  uneven.target[0] = Ids(99, 4);
  CHECK(plan_batches(uneven, {.sentences = 0, .tokens = 100}, 0).size() == 2);

  // The same order on every machine and with every standard library.
  const auto pinned = plan_batches(random_corpus(6), {.sentences = 2, .seed = 1}, 2);
  CHECK(pinned == std::vector<std::vector<std::size_t>>{{2, 4}, {1, 0}, {5, 3}});
}

TEST_CASE("batches: rows side by side") {
  const Corpus corpus{.source = {{10, 11}, {12}}, .target = {{20}, {21, 22, 23}}, .pair = {0, 1}};
  const std::vector<std::size_t> rows{1, 0};
  const Batch batch = assemble(corpus, rows);
  CHECK(batch.size == 2);
  CHECK(batch.src_len == 3);
  CHECK(batch.tgt_len == 4);
  CHECK(batch.source == Ids{12, 3, 0, 10, 11, 3});
  CHECK(batch.target_in == Ids{2, 21, 22, 23, 2, 20, 0, 0});
  CHECK(batch.target_out == Ids{21, 22, 23, 3, 20, 3, 0, 0});
  CHECK(batch.source_lengths == Ids{2, 3});
  CHECK(batch.target_lengths == Ids{4, 2});
  CHECK(batch.rows == rows);
  CHECK(assemble(corpus, {}).size == 0);
  CHECK(contains(error_of([&] { assemble(corpus, std::vector<std::size_t>{2}); }), "no row 2"));
}

TEST_CASE("corpus: Multi30k") {
  const std::string train = data_folder() + "/multi30k/train.lc.norm.tok.";
  if (!std::filesystem::exists(train + "en.gz")) {
    MESSAGE("skipped: no Multi30k in " << data_folder());
    return;
  }
  const ParallelText text = read_parallel(train + "en.gz", train + "fr.gz");
  CHECK(text.source.size() == 29000);
  CHECK(text.target[0].front() == "deux");
  const Vocab vocab = Vocab::build(text.target, 2);
  CHECK(join(Tokens{vocab.token(4), vocab.token(5), vocab.token(6)}, TokenKind::words) == "un . une");
  const Corpus corpus = encode(text, Vocab::build(text.source, 2), vocab, 50);
  CHECK(corpus.size() + corpus.dropped_empty + corpus.dropped_long == 29000);
  CHECK(corpus.size() > 28900);
}

TEST_CASE("corpus: Tatoeba, a zip of a table") {
  const std::string path = data_folder() + "/fra-eng/fra-eng.zip";
  if (!std::filesystem::exists(path)) {
    MESSAGE("skipped: no Tatoeba in " << data_folder());
    return;
  }
  const ParallelText pairs = read_tsv(path, {.raw = true, .lower = true});
  CHECK(pairs.source.size() == 142787);
  CHECK(join(pairs.source[0], TokenKind::words) == "go .");
  CHECK(join(pairs.target[0], TokenKind::words) == "va !");
}
