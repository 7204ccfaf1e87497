// The DNA of the example dna: what its rule takes for promoters and genes.
#include <doctest/doctest.h>

#include "examples/dna/genes.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

namespace {

// 'p' and 'g' for bases of promoters and genes, upper case where one begins.
std::string read(const std::string& dna) {
  std::string text;
  for (const std::string& tag : annotated(dna)) {
    text += tag == "O" ? '.' : static_cast<char>(tag[2] + (tag[0] == 'B' ? 'A' - 'a' : 0));
  }
  return text;
}

}  // namespace

TEST_CASE("dna: a gene is read behind a promoter, to the first stop in its frame") {
  CHECK(read("CCTATAATCCCCCATGGCCTAACC") == "..Pppppp.....Gggggggg..");
  // one base other; two others are too many
  CHECK(read("CCTATCATCCCCCATGGCCTAGCC") == "..Pppppp.....Gggggggg..");
  CHECK(read("CCTGTCATCCCCCATGGCCTAGCC") == std::string(24, '.'));
  // from 5 to 9 bases between
  CHECK(read("TATAATCCCCATGGCCTGA") == std::string(19, '.'));
  CHECK(read("TATAATCCCCCCCCCATGGCCTGA") == "Pppppp.........Gggggggg");
  CHECK(read("TATAATCCCCCCCCCCATGGCCTGA") == std::string(25, '.'));
  // TAA out of frame ends nothing; without a stop there is no gene, and so no promoter
  CHECK(read("TATAATCCCCCATGCTAACTGAC") == "Pppppp.....Ggggggggggg.");
  CHECK(read("TATAATCCCCCATGCTAACC") == std::string(20, '.'));
  // the first ATG that has a stop is the gene's
  CHECK(read("TATAATCCCCCATGATGATAAC").find('G') == 11);
  CHECK(read("") == "");
  CHECK(read("TATAAT") == "......");
  CHECK(read("ATG") == "...");
}

TEST_CASE("dna: made-up sequences hold genes, and things that look like them") {
  double genes = 0, promoters = 0, starts = 0, sequences = 300;
  for (uint64_t k = 0; k < 300; ++k) {
    const TaggedSentence dna = make_dna(1, k);
    REQUIRE(dna.words.size() == dna.tags.size());
    CHECK(dna.words == make_dna(1, k).words);
    CHECK(dna.words.size() < 200);
    for (const Entity& entity : entities(dna.tags)) {
      genes += entity.type == "gene";
      promoters += entity.type == "promoter";
      if (entity.type == "gene") CHECK((entity.end - entity.begin) % 3 == 0);
      if (entity.type == "promoter") CHECK(entity.end - entity.begin == 6);
    }
    for (size_t t = 2; t < dna.words.size(); ++t) {
      starts += dna.words[t - 2] == "A" && dna.words[t - 1] == "T" && dna.words[t] == "G";
    }
  }
  CHECK(genes == promoters);
  CHECK(genes / sequences > 0.7);
  CHECK(starts > 1.8 * genes);  // most ATG begin none
}
