// The data of the examples rows and separation.
#include <doctest/doctest.h>

#include <cmath>

#include "examples/rows/pictures.h"
#include "examples/separation/mixture.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

TEST_CASE("rows: shapes are drawn in their classes, the same again, and others for the test") {
  const PictureSet set = drawn_shapes(1, 60, 30), again = drawn_shapes(1, 60, 30),
                   other = drawn_shapes(2, 60, 30);
  CHECK(set.train.pixels == again.train.pixels);
  CHECK(set.train.pixels != other.train.pixels);
  CHECK(set.train.pixels.size() == 60 * 28 * 28);
  CHECK(set.test.labels.size() == 30);
  CHECK(std::vector<uint8_t>(set.train.pixels.begin(), set.train.pixels.begin() + 28 * 28) !=
        std::vector<uint8_t>(set.test.pixels.begin(), set.test.pixels.begin() + 28 * 28));
  for (const int64_t label : set.train.labels) CHECK((label >= 0 && label < 6));
}

TEST_CASE("rows: a folder that is not Fashion-MNIST is told") {
  const scratch::Folder folder;
  CHECK(message_of([&] { fashion_mnist(folder.path.string()); }) ==
        Contains("train-images-idx3-ubyte.gz could not be opened"));
}

TEST_CASE("rows: a film shows whole scenes of a few frames, each with its picture's label") {
  const PictureSet set = drawn_shapes(1, 60, 1);
  for (uint64_t k = 0; k < 20; ++k) {
    const Film film = make_film(set.train, 15, 1, k);
    REQUIRE(film.labels.size() == 15);
    REQUIRE(film.frames.size() == 15 * 28 * 28);
    CHECK(film.frames == make_film(set.train, 15, 1, k).frames);
    int changes = 0;
    for (size_t t = 1; t < 15; ++t) changes += film.labels[t] != film.labels[t - 1];
    CHECK(changes <= 2);
    for (size_t t = 1; t < 5; ++t) CHECK(film.labels[t] == film.labels[0]);
  }
}

TEST_CASE("separation: the sum of what climbs and what falls; frames alone look alike") {
  const Mixture m = make_mixture(20, 1, 5);
  REQUIRE(m.heard.size() == 20 * 32);
  for (size_t i = 0; i < m.heard.size(); ++i) CHECK(m.heard[i] == m.first[i] + m.second[i]);
  const auto moved = [&](const std::vector<double>& source) {  // of the centre, on the ring, over one frame
    const auto centre = [&](size_t t) {
      double x = 0, y = 0;
      for (size_t band = 0; band < 32; ++band) {
        x += source[t * 32 + band] * std::cos(2 * M_PI * static_cast<double>(band) / 32);
        y += source[t * 32 + band] * std::sin(2 * M_PI * static_cast<double>(band) / 32);
      }
      return std::atan2(y, x) * 32 / (2 * M_PI);
    };
    return std::remainder(centre(1) - centre(0), 32);
  };
  CHECK(moved(m.first) >= 0.59);
  CHECK(moved(m.first) <= 1.41);
  CHECK(moved(m.second) <= -0.59);
  CHECK(distortion_ratio({1, 2}, {1, 1}) == doctest::Approx(10 * std::log10(5.0)));
  CHECK(distortion_ratio({1, 0}, {1, 0}) > 1e300);
}
