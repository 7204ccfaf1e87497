// The readers of text formats, on good, wrong, hostile and real files.
#include <doctest/doctest.h>

#include <cstdlib>

#include "examples/data/analogies.h"
#include "examples/data/conll.h"
#include "examples/data/name_lists.h"
#include "examples/data/table.h"
#include "examples/data/trees.h"
#include "examples/data/word_vectors.h"
#include "tests/real_data.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

namespace {

// What `read` says about a file with this text.
template <class Read>
std::string says(const Read& read, std::string_view text) {
  const scratch::Folder folder;
  scratch::put(folder / "f", text);
  return message_of([&] { read(folder / "f"); });
}

// A file's every beginning either reads or is refused with a sentence that names the file.
template <class Read>
void survives_every_cut(const Read& read, const std::string& text) {
  const scratch::Folder folder;
  for (size_t length = 0; length < text.size(); ++length) {
    scratch::put(folder / "f", text.substr(0, length));
    const std::string message = message_of([&] { read(folder / "f"); });
    if (message != "nothing was thrown") CHECK(message == Contains(folder / "f"));
  }
}

// What every reader of text refuses.
template <class Read>
void refuses_what_is_no_text(const Read& read) {
  CHECK(says(read, "") == Contains("is empty"));
  CHECK(says(read, std::string("a\0b", 3)) == Contains("binary: line 1, byte 1"));
  CHECK(says(read, "good\n\xff\xfe") == Contains("is not UTF-8: line 2"));
  CHECK(says(read, "\n \n\n") != "nothing was thrown");
  CHECK(message_of([&] { read("/nonexistent/f"); }) == Contains("/nonexistent/f could not be opened"));
  CHECK(message_of([&] { read("/"); }) == Contains("/ is a directory"));
}

}  // namespace

TEST_CASE("CoNLL: words and tags, sentence by sentence") {
  const scratch::Folder folder;
  const std::string text = "Bill\tB-person\r\nGates\tI-person\nspoke\tO\n\n\nin\tO\nSt.\tB-location\n";
  scratch::put(folder / "f", text);
  const auto sentences = read_conll(folder / "f");
  REQUIRE(sentences.size() == 2);
  CHECK(sentences[0].words == std::vector<std::string>{"Bill", "Gates", "spoke"});
  CHECK(sentences[0].tags == std::vector<std::string>{"B-person", "I-person", "O"});
  CHECK(sentences[1].words == std::vector<std::string>{"in", "St."});
  survives_every_cut(read_conll, text);
}

TEST_CASE("CoNLL: what is wrong is named with its line") {
  refuses_what_is_no_text(read_conll);
  CHECK(says(read_conll, "a\tO\nb O\n") == Contains("line 2: \"b O\": want word TAB tag"));
  CHECK(says(read_conll, "a\tO\n\tO\n") == Contains("line 2: \"?O\": want word TAB tag"));
  CHECK(says(read_conll, "a\tO\tO\n") == Contains("line 1"));
  CHECK(says(read_conll, "a\tperson\n") == Contains("line 1: the tag \"person\": want O, B-TYPE or I-TYPE"));
  CHECK(says(read_conll, "a\tB-\n") == Contains("the tag \"B-\""));
  CHECK(says(read_conll, std::string(1000, 'x')) == Contains("line 1: \"" + std::string(40, 'x') + "...\""));
}

TEST_CASE("entities are told by their tags, and scored as CoNLL does") {
  const std::vector<std::string> tags{"B-a", "I-a", "I-b", "O", "I-b", "B-b", "B-b", "I-b"};
  CHECK(entities(tags) ==
        std::vector<Entity>{{0, 2, "a"}, {2, 3, "b"}, {4, 5, "b"}, {5, 6, "b"}, {6, 8, "b"}});
  EntityScore score;
  score.add({"B-a", "I-a", "O", "B-b"}, {"B-a", "I-a", "O", "B-a"});  // one right, one of the wrong type
  score.add({"B-a", "O", "O"}, {"B-a", "I-a", "O"});                  // a wrong end
  score.add({"O"}, {"B-a"});
  CHECK(score.found == 1);
  CHECK(score.precision() == doctest::Approx(1.0 / 3));
  CHECK(score.recall() == doctest::Approx(1.0 / 4));
  CHECK(score.f1() == doctest::Approx(2.0 / 7));
  CHECK(EntityScore{}.f1() == 0);
}

TEST_CASE("trees: nodes in post-order, words at the leaves") {
  const scratch::Folder folder;
  const std::string text = "(3 (2 It) (4 (2 's) (4 lovely)))\n\n ( 0 (1 no)(0 way) ) \n(2 one)\n";
  scratch::put(folder / "f", text);
  const auto trees = read_trees(folder / "f");
  REQUIRE(trees.size() == 3);
  CHECK(trees[0].sentence() == std::vector<std::string>{"It", "'s", "lovely"});
  CHECK(trees[0].labels == std::vector<int64_t>{2, 2, 4, 4, 3});
  CHECK(trees[0].words == std::vector<std::string>{"It", "'s", "lovely", "", ""});
  CHECK(trees[0].tree.children == std::vector<std::vector<int64_t>>{{}, {}, {}, {1, 2}, {0, 3}});
  CHECK(trees[0].tree.roots() == std::vector<int64_t>{4});
  CHECK(trees[1].label() == 0);
  CHECK(trees[2].label() == 2);
  survives_every_cut([](const std::string& path) { return read_trees(path); }, text);
}

TEST_CASE("trees: what is wrong is named with line and column") {
  const auto read = [](const std::string& path) { return read_trees(path); };
  refuses_what_is_no_text(read);
  CHECK(says(read, "(2 a)\n(2 (1 a) (1 b)") == Contains("line 2: column 15: 1 brackets are still open"));
  CHECK(says(read, ") (2 a)") == Contains("line 1: column 1: a bracket closes that was never opened"));
  CHECK(says(read, "(2 a) (2 b)") == Contains("more text after the tree"));
  CHECK(says(read, "(5 a)") == Contains("the label \"5\": want a bracket to begin with one of 0 to 4"));
  CHECK(says(read, "(x a)") == Contains("the label \"x\""));
  CHECK(says(read, "(-1 a)") == Contains("the label \"-1\""));
  CHECK(says(read, "((2 a))") == Contains("the label \"\""));
  CHECK(says(read, "(2)") == Contains("a node with 0 children and no word"));
  CHECK(says(read, "(2 (2 a))") == Contains("a node with 1 children"));
  CHECK(says(read, "(2 (2 a) (2 b) (2 c))") == Contains("a node with 3 children"));
  CHECK(says(read, "(2 a b)") == Contains("\"b\": want (LABEL WORD)"));
  CHECK(says(read, "(2 a (2 b))") == Contains("and a word"));
  CHECK(says(read, "word") == Contains("outside of brackets"));
  std::string deep;  // neither the parser nor its destructors recurse
  for (int k = 0; k < 1'000'000; ++k) deep += "(2 ";
  CHECK(says(read, deep) == Contains("1000000 brackets are still open"));
}

TEST_CASE("word vectors: a word and its numbers") {
  const scratch::Folder folder;
  const std::string text = "2 3\r\nthe 0.5 -1 2e-1\r\nnaïve 1 2 3\n";
  scratch::put(folder / "f", text);
  const WordVectors vectors = read_word_vectors(folder / "f");
  CHECK(vectors.width == 3);
  CHECK(vectors.words == std::vector<std::string>{"the", "naïve"});
  CHECK(vectors.values == std::vector<float>{0.5f, -1, 0.2f, 1, 2, 3});
  CHECK(vectors.find("naïve") == 1);
  CHECK(vectors.find("absent") == -1);
  survives_every_cut(read_word_vectors, text);
}

TEST_CASE("word vectors: what is wrong is named with its line") {
  refuses_what_is_no_text(read_word_vectors);
  CHECK(says(read_word_vectors, "a 1 2\nb 1\n") == Contains("line 2: \"b\" has 1 numbers; want 2"));
  CHECK(says(read_word_vectors, "a 1 2\nb 1 2 3\n") == Contains("line 2: \"b\" has 3 numbers; want 2"));
  CHECK(says(read_word_vectors, "a 1 2\nb 1 x\n") == Contains("line 2: \"x\" is no number"));
  CHECK(says(read_word_vectors, "a 1 2\nb 1 nan\n") == Contains("\"nan\" is no number"));
  CHECK(says(read_word_vectors, "a 1 2\nb 1 1e999\n") == Contains("\"1e999\" is no number"));
  CHECK(says(read_word_vectors, "a 1 2\na 1 2\n") == Contains("line 2: \"a\" comes twice"));
  CHECK(says(read_word_vectors, "a\n") == Contains("line 1: \"a\": want a word and its numbers"));
}

TEST_CASE("tables: CSV with quotes, TSV") {
  const scratch::Folder folder;
  const std::string text = "name,\"the, value\",n\r\n\"a \"\"b\"\"\",\"two\nlines\", 1.5\n\nx,,-2\n";
  scratch::put(folder / "f.csv", text);
  const Table table = read_table(folder / "f.csv");
  CHECK(table.header == std::vector<std::string>{"name", "the, value", "n"});
  REQUIRE(table.rows.size() == 2);
  CHECK(table.rows[0] == std::vector<std::string>{"a \"b\"", "two\nlines", " 1.5"});
  CHECK(table.rows[1] == std::vector<std::string>{"x", "", "-2"});
  CHECK(table.line == std::vector<long>{2, 5});
  CHECK(table.number(0, table.column("n")) == 1.5);
  CHECK(table.number(1, 2) == -2);
  CHECK(message_of([&] { table.column("m"); }) ==
        Contains("there is no column \"m\"; the columns are \"name, "));
  CHECK(message_of([&] { table.number(1, 0); }) == Contains("line 5, column 1: \"x\" is no number"));

  scratch::put(folder / "f.tsv", "a, b\tit's \"so\"\nc\t\n");
  const Table tsv = read_table(folder / "f.tsv", false);
  CHECK(tsv.rows == std::vector<std::vector<std::string>>{{"a, b", "it's \"so\""}, {"c", ""}});
  survives_every_cut([](const std::string& path) { return read_table(path); }, text);
}

TEST_CASE("tables: what is wrong is named with its line") {
  const auto read = [](const std::string& path) { return read_table(path); };
  refuses_what_is_no_text(read);
  CHECK(says(read, "a,b\n1,2\n3\n") == Contains("line 3: 1 fields; want 2"));
  CHECK(says(read, "a,b\n1,2\n3,4,5\n") == Contains("line 3: 3 fields; want 2"));
  CHECK(says(read, "a,b\n1,\"2\n3\n") == Contains("line 2: a quote opens here and never closes"));
  CHECK(says(read, "a,b\n\"1\n\"x,2\n") == Contains("line 3: a field goes on after its closing quote"));
  CHECK(says(read, "a,b\n1,x\"2\"\n") == Contains("line 2: a quote inside of \"x\"2\"\""));
  CHECK(says(read, "a,b\n") == Contains("holds no rows after its header"));
  CHECK(says(read, "a,\"") == Contains("never closes"));
}

TEST_CASE("lists of names: a file a class") {
  const scratch::Folder folder;
  scratch::put(folder / "Greek.txt", "Adamidis\n Antonakos \n\n");
  CHECK(message_of([&] { read_name_lists(folder.path.string()); }) == Contains("holds 1 .txt files"));
  scratch::put(folder / "French.txt", "Géroux\n");
  scratch::put(folder / "README", "not a list");
  const NameLists lists = read_name_lists(folder.path.string());
  CHECK(lists.classes == std::vector<std::string>{"French", "Greek"});
  CHECK(lists.names == std::vector<std::string>{"Géroux", "Adamidis", "Antonakos"});
  CHECK(lists.labels == std::vector<int64_t>{0, 1, 1});

  scratch::put(folder / "Long.txt", "ok\n" + std::string(101, 'x'));
  CHECK(message_of([&] { read_name_lists(folder.path.string()); }) == Contains("Long.txt, line 2: "));
  scratch::put(folder / "Long.txt", " \n");
  CHECK(message_of([&] { read_name_lists(folder.path.string()); }) == Contains("Long.txt holds no name"));
  scratch::put(folder / "Long.txt", "a\xff");
  CHECK(message_of([&] { read_name_lists(folder.path.string()); }) == Contains("Long.txt is not UTF-8"));
  CHECK(message_of([&] { read_name_lists(folder / "Greek.txt"); }) ==
        Contains("could not be read as a folder"));
  CHECK(message_of([&] { read_name_lists(folder / "absent"); }) == Contains("could not be read as a folder"));
}

TEST_CASE("analogies: sections of four words a line") {
  const scratch::Folder folder;
  const std::string text = ": family\nking queen man woman\n\n: capitals\nAthens Greece Oslo Norway\n";
  scratch::put(folder / "f", text);
  const auto sections = read_analogies(folder / "f");
  REQUIRE(sections.size() == 2);
  CHECK(sections[0].name == "family");
  CHECK(sections[0].questions[0] == std::array<std::string, 4>{"king", "queen", "man", "woman"});
  CHECK(sections[1].questions.size() == 1);
  survives_every_cut(read_analogies, text);
  refuses_what_is_no_text(read_analogies);
  CHECK(says(read_analogies, ": a\nb c d\n") == Contains("line 2: \"b c d\" has 3 words; want four"));
  CHECK(says(read_analogies, "a b c d\n") == Contains("line 1: \"a b c d\" before any section"));
  CHECK(says(read_analogies, ":\na b c d\n") == Contains("line 1: a section without a name"));
  CHECK(says(read_analogies, ": a\n") == Contains("holds no questions"));
}

TEST_CASE("real texts are read whole") {
  if (const std::string path = real_data("wnut17/wnut17train.conll"); !path.empty()) {
    CHECK(read_conll(path).size() == 3394);
    CHECK(read_conll(real_data("wnut17/emerging.test.annotated")).size() == 1287);
  }
  if (const std::string path = real_data("sst-trees/train.txt"); !path.empty()) {
    const auto trees = read_trees(path);
    CHECK(trees.size() == 8544);
    for (const auto& tree : trees) REQUIRE(tree.labels.size() == 2 * tree.sentence().size() - 1);
    CHECK(read_trees(real_data("sst-trees/test.txt")).size() == 2210);
  }
  if (const std::string path = real_data("glove50d/glove.6B.50d.head.txt"); !path.empty()) {
    const WordVectors vectors = read_word_vectors(path);
    CHECK(vectors.words.size() == 9163);
    CHECK(vectors.width == 50);
    CHECK(vectors.values[0] == 0.418f);
  }
  if (const std::string path = real_data("word-analogies/questions-words.txt"); !path.empty()) {
    const auto sections = read_analogies(path);
    CHECK(sections.size() == 14);
    size_t questions = 0;
    for (const auto& section : sections) questions += section.questions.size();
    CHECK(questions == 19544);
  }
  if (const std::string path = real_data("names"); !path.empty()) {
    const NameLists lists = read_name_lists(path);
    CHECK(lists.classes.size() == 18);
    CHECK(lists.names.size() == 20050);
  }
}
