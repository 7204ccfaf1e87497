// Pictures: ticks, line charts, heat maps, shaded words, and text that is valid XML.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/axis.h"
#include "examples/common/svg.h"
#include "examples/common/svg_canvas.h"
#include "tests/scratch.h"

using namespace reel::examples;
using namespace reel::scratch;

TEST_CASE("axis: nice ticks") {
  const auto labels = [](const std::vector<Tick>& ticks) {
    std::string all;
    for (const Tick& tick : ticks) all += tick.label + " ";
    return all;
  };
  CHECK(labels(nice_ticks(0, 20000, 4)) == "0 5,000 10,000 15,000 20,000 ");
  CHECK(labels(nice_ticks(-0.11, 0.31, 5)) == "-0.1 0.0 0.1 0.2 0.3 ");
  CHECK(labels(nice_ticks(-2500, 100, 3)) == "-2,000 -1,000 0 ");
  CHECK(labels(nice_ticks(0, 3e6, 3)) == "0 1M 2M 3M ");
  CHECK(labels(log_ticks(1e-5, 1e6, 12)) == "10⁻⁵ 10⁻⁴ 0.001 0.01 0.1 1 10 100 1,000 10,000 100,000 10⁶ ");
  CHECK(labels(log_ticks(0.9, 110, 6)) == "1 2 5 10 20 50 100 ");
  const double denormal = 5e-324, huge = 1.7e308;
  for (const bool log : {false, true}) {
    for (const auto& values : std::vector<std::vector<double>>{{},
                                                               {NAN},
                                                               {0},
                                                               {-1, 1},
                                                               {denormal, denormal},
                                                               {huge, -huge},
                                                               {1, 1 + 1e-15},
                                                               {1e-149, 1e149},
                                                               {-3e-300}}) {
      const Axis axis(values, log, 0.05);
      for (const Tick& tick : axis.ticks(6)) {
        CHECK(axis.place(tick.value) > -1e-6);
        CHECK(axis.place(tick.value) < 1 + 1e-6);
      }
      CHECK(axis.ticks(6).size() <= 60);
    }
  }
}

TEST_CASE("svg: line charts of any data hold no NaN and break at gaps") {
  const std::vector<std::vector<double>> shapes = {{},          {1},
                                                   {NAN},       {NAN, 1, NAN},
                                                   {3, 3, 3},   {1e308, 1},
                                                   {-1, 0, 2},  {INFINITY, 1, 2},
                                                   {5e-324, 0}, {1, 2, NAN, 3, 4}};
  for (const std::vector<double>& y : shapes) {
    for (const bool log : {false, true}) {
      std::vector<double> x(y.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
      const std::string svg =
          line_chart({.title = "t", .x_label = "x", .y_label = "y", .series = {{"s", x, y}}, .log_y = log});
      CHECK(svg.starts_with("<svg "));
      CHECK(svg.ends_with("</svg>\n"));
      CHECK(svg.find("nan") == svg.npos);
      CHECK(svg.find("inf") == svg.npos);
    }
  }
  const auto paths = [](const std::string& svg) {
    long count = 0;
    for (std::size_t at = 0; (at = svg.find("<path", at)) != svg.npos; ++at) ++count;
    return count;
  };
  CHECK(paths(line_chart({.series = {{"", {1, 2, 3, 4, 5}, {1, 2, NAN, 3, 4}}}})) == 2);
  CHECK(line_chart({.series = {{"", {1}, {1}}}}).find("<circle") != std::string::npos);
  CHECK(line_chart({.title = "t"}).find("no data") != std::string::npos);
  CHECK(message_of([] {
          line_chart({.series = {{"loss", {1, 2}, {1}}}});
        }) == "[line_chart] series \"loss\" has 2 x and 1 y; want as many.");
}

TEST_CASE("svg: series that share a colour are told apart by broken lines") {
  const Series plain{"a", {1, 2}, {1, 2}}, expected{"b", {1, 2}, {2, 3}, true};
  const auto pens = [](const std::string& svg) {  // of the curves, which come after the legend's marks
    std::vector<std::string> all;
    for (std::size_t at = 0; (at = svg.find("<path", at)) != svg.npos; ++at) {
      const std::string path = svg.substr(at, svg.find("/>", at) - at);
      all.push_back(path.substr(path.find("stroke=") + 8, 7));
      if (path.find("dasharray") != path.npos) all.back() += " dashed";
    }
    return std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  };
  CHECK(pens(line_chart({.series = {plain, expected, plain}})) ==
        std::vector<std::string>{"#0072b2", "#0072b2 dashed", "#d55e00"});
  const auto many = pens(line_chart({.series = std::vector<Series>(14, plain)}));
  REQUIRE(many.size() == 14);
  CHECK(std::set<std::string>(many.begin(), many.end()).size() == 14);
}

TEST_CASE("svg: a long curve stays small and keeps its spikes") {
  Series series{"", {}, {}};
  for (int i = 0; i < 1'000'000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 777'777 ? 100 : 1);
  }
  const std::string svg = line_chart({.series = {series}});
  CHECK(svg.size() < 60'000);
  std::vector<double> heights;  // of the points of the first path, the pale one
  const std::size_t begin = svg.find("<path d=\"") + 9;
  std::istringstream path(svg.substr(begin, svg.find('"', begin) - begin));
  for (char letter; path >> letter;) {
    double x = 0, y = 0;
    path >> x >> y;
    REQUIRE(!path.fail());
    heights.push_back(y);
  }
  REQUIRE(heights.size() > 500);
  const double ground = heights.front();
  CHECK(std::ranges::count(heights, ground) == static_cast<long>(heights.size()) - 1);
  CHECK(*std::ranges::min_element(heights) < ground - 200);
}

TEST_CASE("svg: text is XML whatever it holds") {
  CHECK(xml_escaped("a<b & \"c\">") == "a&lt;b &amp; &quot;c&quot;&gt;");
  CHECK(xml_escaped("é日\x01\xff\xef\xbf\xbe") == "é日\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(fitted("abcdefghijklmnopqrstuvwxyz", 12, 60).ends_with("…"));
  CHECK(fitted("abc", 12, 60) == "abc");
}

TEST_CASE("svg: heat maps") {
  const std::string svg = heat_map({.title = "Alignment",
                                    .row_label = "output",
                                    .column_label = "input",
                                    .value_label = "weight",
                                    .rows = {"un", "</s>"},
                                    .columns = {" ", "日本", "a&b"},
                                    .values = {0, 0.5, 1, NAN, 0.25, 1}});
  for (const char* part :
       {"un", "&lt;/s&gt;", "␣", "日本", "a&amp;b", "#440154", "#fde725", "#21918c", "#d0d4d9"}) {
    CHECK(svg.find(part) != svg.npos);
  }
  CHECK(svg.find("nan") == svg.npos);
  CHECK(heat_map({.title = "t"}).find("no data") != std::string::npos);
  CHECK(heat_map({.rows = {"a"}, .columns = {"b"}, .values = {1e308}}).find("nan") == std::string::npos);
  const std::string wide = "a title that is much wider than its only cell";
  CHECK(heat_map({.title = wide, .rows = {"a"}, .columns = {"b"}, .values = {1}}).find("…") ==
        std::string::npos);
  const std::vector<std::string> many(1000, "w");
  CHECK(heat_map({.rows = many, .columns = many, .values = std::vector<double>(1'000'000, 0.5)}).size() <
        2'000'000);
  CHECK(message_of([] {
          heat_map({.rows = {"a"}, .columns = {"b"}, .values = {1, 2}});
        }) == "[heat_map] 2 values for 1 rows and 1 columns; want 1.");
}

TEST_CASE("svg: written whole, into a folder made for it") {
  const Folder folder;
  write_svg(folder / "a/b/c.svg", "<svg/>");
  CHECK(get(folder / "a/b/c.svg") == "<svg/>");
  put(folder / "file", "x");
  CHECK(message_of([&] { write_svg(folder / "file/c.svg", ""); }) == Contains("/file could not be made"));
}

TEST_CASE("svg: shaded words") {
  const std::string svg = shaded_words({.title = "t",
                                        .low_label = "bad",
                                        .high_label = "good",
                                        .most = 2,
                                        .texts = {{.caption = "one < two",
                                                   .words = {"not", "<bad>", "so", "?", "!"},
                                                   .values = {2, -9, 0, NAN, -1}}}});
  const auto fill_before = [&](const std::string& word) {
    const size_t at = svg.rfind("fill=\"#", svg.rfind("<text", svg.find(">" + word + "</text>")));
    return svg.substr(at + 6, 7);
  };
  CHECK(fill_before("not") == "#4393c3");
  CHECK(fill_before("&lt;bad&gt;") == "#d6604d");  // beyond the end of the scale
  CHECK(fill_before("so") == "#ffffff");
  CHECK(fill_before("?") == "#d0d4d9");
  CHECK(fill_before("!") == "#ebb0a6");
  CHECK(svg == Contains("one &lt; two"));
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(message_of([] {
          shaded_words({.texts = {{.words = {"a", "b"}, .values = {1}}}});
        }) == Contains("1 values for 2 words"));
  CHECK(message_of([] { shaded_words({.most = 0}); }) == Contains("want more than 0"));
}

TEST_CASE("svg: shaded words go on in the next line, and all of them are in the picture") {
  ShadedText text;
  for (int k = 0; k < 300; ++k)
    text.words.push_back(k == 50 ? std::string(500, 'w') : "word"), text.values.push_back(0);
  const std::string svg = shaded_words({.texts = {text, {.caption = "", .words = {}, .values = {}}}});
  std::istringstream in(svg);
  double width = 0, height = 0, lowest = 0;
  REQUIRE(std::sscanf(svg.c_str() + svg.find("width="), "width=\"%lf\" height=\"%lf", &width, &height) == 2);
  size_t words = 0;
  for (std::string line; std::getline(in, line);) {
    double x = 0, y = 0, wide = 0, tall = 0;
    if (std::sscanf(line.c_str(), "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\" rx", &x, &y, &wide,
                    &tall) != 4)
      continue;
    if (line.find(" rx=") == std::string::npos) continue;
    ++words;
    lowest = std::max(lowest, y + tall);
    CHECK(x + wide < width);
  }
  CHECK(words == 300);
  CHECK(lowest > 300);
  CHECK(lowest < height);
}
