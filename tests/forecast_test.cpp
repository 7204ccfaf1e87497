// The series of the example forecast.
#include <doctest/doctest.h>

#include <cmath>

#include "examples/forecast/series.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

TEST_CASE("forecast: the chaotic series stays in its bounds, does not repeat, and is the seed's") {
  const auto x = mackey_glass(2000, 1);
  REQUIRE(x.size() == 2000);
  CHECK(x == mackey_glass(2000, 1));
  const auto other = mackey_glass(2000, 2);
  double least = 9, most = -9, apart = 0, nearest = 9;
  for (size_t t = 0; t < x.size(); ++t) {
    least = std::min(least, x[t]), most = std::max(most, x[t]);
    apart = std::max(apart, std::abs(x[t] - other[t]));
  }
  CHECK((least > 0.2 && least < 0.5));  // of the published attractor
  CHECK((most > 1.2 && most < 1.4));
  CHECK(apart > 0.5);
  for (size_t lag = 100; lag < 1000; ++lag) {  // no period
    double worst = 0;
    for (size_t t = 0; t + lag < x.size(); ++t) worst = std::max(worst, std::abs(x[t] - x[t + lag]));
    nearest = std::min(nearest, worst);
  }
  CHECK(nearest > 0.1);
}

TEST_CASE("forecast: the test is the last fifth, in units of the part before it") {
  const TimeSeries series({1, 3, 1, 3, 1, 3, 1, 3, 5, 2}, 2, "here");
  CHECK(series.mean == 2);
  CHECK(series.deviation == 1);
  CHECK(series.train == std::vector<double>{-1, 1, -1, 1, -1, 1, -1, 1});
  CHECK(series.test == std::vector<double>{3, 0});
  CHECK(message_of([] {
          TimeSeries({1, 2, 3, 4}, 2, "here");
        }) == Contains("here: 4 values: want at least 10"));
  CHECK(message_of([] { TimeSeries(std::vector<double>(20, 7), 2, "here"); }) == Contains("deviation of 0"));
}

TEST_CASE("forecast: a column of a table, and what is wrong with it") {
  const scratch::Folder folder;
  scratch::put(folder / "t.csv", "day,load,note\n1,2.5,4\n2,-3,5\n");
  CHECK(read_column(folder / "t.csv", "load") == std::vector<double>{2.5, -3});
  CHECK(read_column(folder / "t.csv", "") == std::vector<double>{4, 5});
  CHECK(message_of([&] { read_column(folder / "t.csv", "lod"); }) == Contains("lod"));
  scratch::put(folder / "bad.csv", "load\n2\nmuch\n");
  CHECK(message_of([&] { read_column(folder / "bad.csv", ""); }) == Contains("bad.csv, line 3"));
}
