// Owns the layout of a heat map: square cells, a label for each row and column, a colour bar.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>

#include "core/error.h"
#include "examples/common/axis.h"
#include "examples/common/svg.h"
#include "examples/common/svg_canvas.h"
#include "examples/common/text_file.h"

namespace reel::examples {
namespace {

using Colour = std::array<int, 3>;

// Nine samples of viridis (van der Walt and Smith, matplotlib 2015), dark to light in even perceptual steps.
constexpr std::array<Colour, 9> viridis = {{{68, 1, 84},
                                            {71, 45, 123},
                                            {59, 82, 139},
                                            {44, 114, 142},
                                            {33, 145, 140},
                                            {40, 174, 128},
                                            {94, 201, 98},
                                            {173, 220, 48},
                                            {253, 231, 37}}};
constexpr std::size_t most_cells = 200;  // along an axis; a larger matrix is averaged down
constexpr double label_size = 12, longest_label = 150;

std::string colour_at(double part) {
  if (std::isnan(part)) return "#d0d4d9";
  const double at = std::clamp(part, 0.0, 1.0) * (viridis.size() - 1);
  const auto lower = std::min(static_cast<std::size_t>(at), viridis.size() - 2);
  const double rest = at - static_cast<double>(lower);
  const auto mix = [&](std::size_t c) {
    return static_cast<int>(std::lround(viridis[lower][c] * (1 - rest) + viridis[lower + 1][c] * rest));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2));
}

// The matrix as drawn: as given, or averaged over blocks. A block of nothing but NaN is NaN.
struct Cells {
  std::size_t rows, columns, row_block, column_block;
  std::vector<double> values;

  explicit Cells(const HeatMap& map)
      : row_block((map.rows.size() + most_cells - 1) / most_cells),
        column_block((map.columns.size() + most_cells - 1) / most_cells) {
    rows = row_block == 0 ? 0 : (map.rows.size() + row_block - 1) / row_block;
    columns = column_block == 0 ? 0 : (map.columns.size() + column_block - 1) / column_block;
    std::vector<double> sum(rows * columns, 0), count(rows * columns, 0);
    for (std::size_t i = 0; i < map.values.size(); ++i) {
      if (!std::isfinite(map.values[i])) continue;
      const std::size_t row = i / map.columns.size() / row_block,
                        column = i % map.columns.size() / column_block;
      sum[row * columns + column] += map.values[i];
      ++count[row * columns + column];
    }
    for (std::size_t i = 0; i < sum.size(); ++i) values.push_back(sum[i] / count[i]);
  }
};

// What would be invisible as a label gets a sign of its own.
std::string shown_label(const std::string& label) {
  if (label == " ") return "␣";
  if (label == "\n") return "⏎";
  if (label == "\t") return "⇥";
  return fitted(label, label_size, longest_label);
}

std::vector<std::string> shown_labels(const std::vector<std::string>& labels, std::size_t block) {
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < labels.size(); i += block) shown.push_back(shown_label(labels[i]));
  return shown;
}

double widest(const std::vector<std::string>& labels) {
  double width = 0;
  for (const std::string& label : labels) width = std::max(width, text_width(label, label_size));
  return width;
}

struct Range {
  double low, high;
  double part(double value) const { return (value - low) / (high - low); }
};

Range range_of(const HeatMap& map, const Cells& cells) {
  Range range{map.low, map.high};
  double least = INFINITY, most = -INFINITY;
  for (const double value : cells.values) {
    if (std::isfinite(value)) least = std::min(least, value), most = std::max(most, value);
  }
  if (!std::isfinite(range.low)) range.low = std::isfinite(least) ? least : 0;
  if (!std::isfinite(range.high)) range.high = std::isfinite(most) ? most : 1;
  const bool drawable =
      range.high - range.low > 1e-9 * std::abs(range.high) && range.high - range.low < 1e300;
  if (!drawable) range.high = range.low + std::max(1.0, 0.1 * std::abs(range.low));
  return range;
}

struct Place {
  double left, top, cell;
};

// One path for each colour: a matrix has many more cells than colours.
void draw_cells(SvgCanvas& canvas, const Cells& cells, const Range& range, const Place& at) {
  std::map<std::string, std::string> paths;
  for (std::size_t i = 0; i < cells.values.size(); ++i) {
    const double x = at.left + static_cast<double>(i % cells.columns) * at.cell;
    const double y = at.top + static_cast<double>(i / cells.columns) * at.cell;
    paths[colour_at(range.part(cells.values[i]))] +=
        fmt::format("M{0:.6g} {1:.6g}h{2}v{2}h-{2}z", x, y, at.cell);
  }
  for (const auto& [colour, path] : paths) {
    canvas.raw(fmt::format(R"(<path fill="{}" shape-rendering="crispEdges" d="{}"/>)"
                           "\n",
                           colour, path));
  }
}

void draw_labels(SvgCanvas& canvas, const std::vector<std::string>& rows,
                 const std::vector<std::string>& columns, const Place& at, bool slanted) {
  const auto every =
      static_cast<std::size_t>(std::ceil((label_size + 2) / at.cell));  // so that they do not touch
  for (std::size_t i = 0; i < rows.size(); i += every) {
    const double y = at.top + (static_cast<double>(i) + 0.5) * at.cell;
    canvas.text(at.left - 8, y + 4, rows[i], {.size = label_size, .colour = ink::title, .anchor = "end"});
  }
  const double bottom = at.top + static_cast<double>(rows.size()) * at.cell;
  for (std::size_t i = 0; i < columns.size(); i += every) {
    const double x = at.left + (static_cast<double>(i) + 0.5) * at.cell;
    const TextStyle level{.size = label_size, .colour = ink::title};
    const TextStyle slant{.size = label_size, .colour = ink::title, .anchor = "end", .angle = -45};
    canvas.text(slanted ? x + 5 : x, bottom + (slanted ? 13 : 17), columns[i], slanted ? slant : level);
  }
}

void draw_colour_bar(SvgCanvas& canvas, const Range& range, double x, double top, double height,
                     const std::string& label) {
  std::string gradient = R"(<defs><linearGradient id="bar" x1="0" y1="1" x2="0" y2="0">)";
  for (int i = 0; i <= 8; ++i) {
    gradient += fmt::format(R"(<stop offset="{}" stop-color="{}"/>)", i / 8.0, colour_at(i / 8.0));
  }
  canvas.raw(gradient + "</linearGradient></defs>\n");
  canvas.rectangle(x, top, 12, height, R"svg(fill="url(#bar)")svg");
  for (const Tick& tick : nice_ticks(range.low, range.high, height < 120 ? 2 : 5)) {
    const double y = top + height * (1 - range.part(tick.value));
    canvas.line(x + 12, y, x + 16, y, ink::axis);
    canvas.text(x + 20, y + 4, tick.label, {.size = 11, .anchor = "start"});
  }
  canvas.text(x - 10, top + height / 2, fitted(label, 12, height), {.angle = -90});
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  if (map.values.size() != map.rows.size() * map.columns.size()) {
    fail("[heat_map] {} values for {} rows and {} columns; want {}.", map.values.size(), map.rows.size(),
         map.columns.size(), map.rows.size() * map.columns.size());
  }
  const Cells cells(map);
  const std::size_t longest = std::max<std::size_t>({cells.rows, cells.columns, 1});
  const double cell = std::clamp(std::floor(640.0 / static_cast<double>(longest)), 3.0, 32.0);
  const double wide = std::max(static_cast<double>(cells.columns) * cell, 160.0);
  const double tall = std::max(static_cast<double>(cells.rows) * cell, 96.0);
  const std::vector<std::string> rows = shown_labels(map.rows, std::max<std::size_t>(cells.row_block, 1));
  const std::vector<std::string> columns =
      shown_labels(map.columns, std::max<std::size_t>(cells.column_block, 1));
  const double column_width = widest(columns);
  const bool slanted = column_width > cell - 2;

  // A slanted label reaches down and to the left by its width times sin 45°.
  const double reach = slanted ? 0.71 * column_width : 0;
  const Place at{.left = std::max(widest(rows) + 50, reach + 24 - cell / 2), .top = 58, .cell = cell};
  const double labels_end = static_cast<double>(cells.rows) * cell + (slanted ? reach + 14 : 24);
  const double foot = at.top + std::max(tall + 24, labels_end);
  const double bar = at.left + wide + 44;

  const double title_end = std::min(at.left + text_width(map.title, 17), 700.0);
  const double width = std::max(bar + 86, title_end + 16);

  SvgCanvas canvas(width, foot + 34, map.title);
  canvas.text(at.left, 32, fitted(map.title, 17, width - 16 - at.left),
              {.size = 17, .colour = ink::title, .anchor = "start", .bold = true});
  const Range range = range_of(map, cells);
  draw_cells(canvas, cells, range, at);
  draw_labels(canvas, rows, columns, at, slanted);
  draw_colour_bar(canvas, range, bar, at.top, tall, map.value_label);
  canvas.text(at.left + wide / 2, foot + 16, fitted(map.column_label, 13, wide), {.size = 13});
  canvas.text(22, at.top + tall / 2, fitted(map.row_label, 13, tall), {.size = 13, .angle = -90});
  if (cells.values.empty()) {
    canvas.text(at.left + wide / 2, at.top + tall / 2, "no data", {.size = 14, .colour = ink::axis});
  }
  return canvas.finish();
}

}  // namespace reel::examples
