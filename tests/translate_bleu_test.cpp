// BLEU of examples/translate against sacreBLEU.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "examples/common/text_file.h"
#include "examples/translate/bleu.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

namespace {

using Strings = std::vector<std::string>;
using Counts = std::array<std::int64_t, 4>;

std::string data_folder() {
  const char* given = std::getenv("REEL_DATA");
  return given != nullptr ? given : std::string(REEL_SOURCE_DIR) + "/../shared/data";
}

Strings read_lines(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  Strings result;
  for (std::string line; std::getline(file, line);) result.push_back(line);
  return result;
}

}  // namespace

// The numbers are those of sacreBLEU 2.6.0:
//   BLEU(tokenize="none" or "13a", force=True).corpus_score(hypotheses, [references])
TEST_CASE("BLEU: small cases with sacreBLEU's numbers") {
  struct Case {
    BleuTokens tokens;
    Strings hypotheses, references;
    double score;
    Counts correct, total;
    std::int64_t hypothesis_length, reference_length;
  };
  const BleuTokens none = BleuTokens::none, mteval = BleuTokens::mteval13a;
  const Case cases[] = {
      {none,
       {"the cat sat on the mat"},
       {"the cat sat on the mat"},
       100.00000000000004,
       {6, 5, 4, 3},
       {6, 5, 4, 3},
       6,
       6},
      {none,
       {"the the the the the the the"},
       {"the cat is on the mat"},
       7.809849842300637,
       {2, 0, 0, 0},
       {7, 6, 5, 4},
       7,
       6},
      {none,
       {"a b c x e f g", "h i j k"},
       {"a b c d e f g", "h i j k l"},
       48.683565933103004,
       {10, 7, 4, 1},
       {11, 9, 7, 5},
       11,
       12},
      {none,
       {"a b x c d", "y"},
       {"a b c d e f", "y z"},
       21.871171845690863,
       {5, 2, 0, 0},
       {6, 4, 3, 2},
       6,
       8},
      {none, {"", "a b c d"}, {"a b", "a b c d"}, 60.653065971263366, {4, 3, 2, 1}, {4, 3, 2, 1}, 4, 6},
      {none, {"", ""}, {"a b", "c"}, 0, {0, 0, 0, 0}, {0, 0, 0, 0}, 0, 3},
      {none, {"a b c"}, {"a b c"}, 0, {3, 2, 1, 0}, {3, 2, 1, 0}, 3, 3},
      {none, {"q q q q q"}, {"a b c d e"}, 0, {0, 0, 0, 0}, {5, 4, 3, 2}, 5, 5},
      {mteval,
       {"Le prix: 3,50 €, soit 1.000 francs (1999-2002).", "Il dit &quot;oui&quot;... l'ami."},
       {"Le prix : 3,50 € , soit 1.000 francs (1999-2003) .", "Il dit \"oui\" ... l'ami !"},
       84.55987220158342,
       {23, 20, 17, 15},
       {25, 23, 21, 19},
       25,
       25},
  };
  for (const Case& c : cases) {
    const Bleu bleu = corpus_bleu(c.hypotheses, c.references, c.tokens);
    CAPTURE(c.hypotheses[0]);
    CHECK(std::abs(bleu.score - c.score) < 1e-9);
    CHECK(bleu.correct == c.correct);
    CHECK(bleu.total == c.total);
    CHECK(bleu.hypothesis_length == c.hypothesis_length);
    CHECK(bleu.reference_length == c.reference_length);
  }
  CHECK_THROWS_AS(corpus_bleu(Strings{"a"}, Strings{}), Error);
  CHECK_THROWS_AS(corpus_bleu(Strings{}, Strings{}), Error);
}

// From sacreBLEU 2.6.0: BLEU(tokenize="13a")._preprocess_segment(line).
TEST_CASE("BLEU: the 13a tokeniser") {
  CHECK(tokenise_13a("a-\nb") == "ab");
  CHECK(tokenise_13a("a-\n") == "a-");
  CHECK(tokenise_13a("a\nb.") == "a b .");
  CHECK(tokenise_13a("x<skipped>y &amp;lt; &amp;amp; 3.5,4 5. .5 a..b, 5-6 -5- \u00a0é.ü «x» {1}") ==
        "xy < & amp ; 3.5,4 5 . . 5 a . . b , 5 - 6 -5 - é . ü «x» { 1 }");
  CHECK(tokenise_13a("1,a a,1 ,,, 1.,2 --9-") == "1 , a a , 1 , , , 1 . , 2 --9 -");
  CHECK(tokenise_13a("a!a\"a#a$a%a&a'a(a)a*a+a,a-a.a/a:a;a<a=a>a?a@a[a\\a]a^a_a`a{a|a}a~") ==
        "a ! a \" a # a $ a % a & a'a ( a ) a * a + a , a-a . a / a : a ; a < a = a > a ? a @ a [ a \\ a ] a "
        "^ a _ a ` a { a | a } a ~");
  CHECK(tokenise_13a("").empty());
}

TEST_CASE("BLEU: 1,000 real sentences, corrupted in many ways, give sacreBLEU's numbers") {
  const std::filesystem::path data = data_folder() + "/multi30k";
  if (!std::filesystem::exists(data)) {
    MESSAGE("skipped: no Multi30k in " << data.string());
    return;
  }
  const scratch::Folder folder;
  const std::filesystem::path out = folder.path;
  const std::string command = fmt::format("python3 '{}/tests/oracle/bleu_oracle.py' '{}' '{}'",
                                          REEL_SOURCE_DIR, data.string(), out.string());
  const int status = std::system(command.c_str());
  if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127) {
    MESSAGE("skipped: python3 has no sacrebleu");
  } else {
    REQUIRE(status == 0);
    std::ifstream cases(out / "cases.txt");
    std::string name_of, tokeniser;
    double score;
    long compared = 0;
    while (cases >> name_of >> tokeniser >> score) {
      Counts correct, total;
      std::int64_t hypothesis_length, reference_length;
      for (auto* counts : {&correct, &total})
        for (std::int64_t& count : *counts) cases >> count;
      cases >> hypothesis_length >> reference_length;
      const Bleu bleu =
          corpus_bleu(read_lines(out / (name_of + ".hyp")), read_lines(out / (name_of + ".ref")),
                      tokeniser == "13a" ? BleuTokens::mteval13a : BleuTokens::none);
      CAPTURE(name_of);
      CAPTURE(tokeniser);
      CHECK(std::abs(bleu.score - score) < 1e-6);
      CHECK(bleu.correct == correct);
      CHECK(bleu.total == total);
      CHECK(bleu.hypothesis_length == hypothesis_length);
      CHECK(bleu.reference_length == reference_length);
      ++compared;
    }
    CHECK(compared == 38);
  }
}
