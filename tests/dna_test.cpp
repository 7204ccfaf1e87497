// The DNA of the example dna: what its rule takes for a promoter.
#include <doctest/doctest.h>

#include "examples/dna/promoters.h"

using namespace reel;
using namespace reel::examples;

namespace {

// '3' and '1' for bases of the two motifs, B where one begins.
std::string read(const std::string& dna) {
  std::string text;
  for (const std::string& tag : annotated(dna)) text += tag == "O" ? '.' : tag[0] == 'B' ? 'B' : tag[7];
  return text;
}

std::string bases(std::size_t count) { return std::string(count, 'C'); }
std::string nothing(std::size_t count) { return std::string(count, '.'); }

}  // namespace

TEST_CASE("dna: a promoter is two motifs at the right distance") {
  for (std::size_t between = 10; between < 25; ++between) {
    const bool right = between >= 15 && between <= 19;
    const std::string dna = "CC" + ("TTGACA" + bases(between) + "TATAAT") + "C";
    CHECK(read(dna) == (right ? "..B33333" + nothing(between) + "B11111." : nothing(15 + between)));
  }
  // one other base in each is allowed, two in one are not
  CHECK(read("TTGACC" + bases(17) + "TAGAAT") == "B33333" + nothing(17) + "B11111");
  CHECK(read("TTGGCC" + bases(17) + "TATAAT") == nothing(29));
  CHECK(read("TTGACA" + bases(17) + "TCTAGT") == nothing(29));
  // in this order, and whole
  CHECK(read("TATAAT" + bases(17) + "TTGACA") == nothing(29));
  CHECK(read("TTGACA" + bases(17) + "TATAA") == nothing(28));
  // one motif belongs to one promoter
  CHECK(read("TTGACA" + bases(17) + "TATAAT" + bases(17) + "TATAAT") ==
        "B33333" + nothing(17) + "B11111" + nothing(23));
  CHECK(read("").empty());
}

TEST_CASE("dna: made-up sequences hold promoters, and things that look like them") {
  double first = 0, second = 0, alone = 0;
  for (uint64_t k = 0; k < 300; ++k) {
    const TaggedSentence dna = make_dna(1, k);
    REQUIRE(dna.words.size() == dna.tags.size());
    CHECK(dna.words == make_dna(1, k).words);
    CHECK(dna.words.size() < 130);
    for (const Entity& entity : entities(dna.tags)) {
      (entity.type == "minus35" ? first : second) += 1;
      CHECK(entity.end - entity.begin == 6);
    }
    std::string text;
    for (const std::string& base : dna.words) text += base;
    for (const char* motif : {"TTGACA", "TATAAT"}) {
      for (std::size_t at = text.find(motif); at != std::string::npos; at = text.find(motif, at + 1)) {
        alone += dna.tags[at] == "O";
      }
    }
  }
  CHECK(first == second);
  CHECK(first > 150);
  CHECK(alone > 80);
}
