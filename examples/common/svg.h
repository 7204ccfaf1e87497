// Pictures of a run as SVG text: curves, heat maps and shaded words.
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace reel::examples {

struct Series {
  std::string name;
  std::vector<double> x, y;  // equally long; NaN and infinities leave a gap
  bool dashed = false;       // in the colour of the series before it: what that is expected to be
};

struct LineChart {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<Series> series = {};
  bool log_y = false;  // values <= 0 then leave a gap
};

struct HeatMap {
  std::string title = {};
  std::string row_label = {};                        // of the y axis
  std::string column_label = {};                     // of the x axis
  std::string value_label = {};                      // of the colour bar
  std::vector<std::string> rows = {}, columns = {};  // one label each, UTF-8
  std::vector<double> values = {};                   // [rows, columns]; NaN is drawn grey
  // The ends of the colour bar; NaN: taken from the values.
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

// Texts whose words are shaded from red (-most) over white (0) to blue (most).
struct ShadedText {
  std::string caption = {};         // stands above
  std::vector<std::string> words;   // UTF-8
  std::vector<double> values = {};  // one each; NaN is drawn grey
};
struct ShadedWords {
  std::string title = {};
  std::string low_label = {}, high_label = {};  // what red and blue mean
  std::string gap = " ";                        // between words; "" for letters
  double most = 1;
  std::vector<ShadedText> texts = {};
};

std::string line_chart(const LineChart& chart);
std::string heat_map(const HeatMap& map);
std::string shaded_words(const ShadedWords& picture);

// write_svg(out + "/loss.svg", line_chart({.title = "Loss", ...})). Creates the folder; the file is whole or
// as before.
void write_svg(const std::string& path, const std::string& svg);

}  // namespace reel::examples
