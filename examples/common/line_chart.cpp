// Owns the layout of a line chart: title and legend on top, axes left and below, curves over a grey grid.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/error.h"
#include "examples/common/axis.h"
#include "examples/common/svg.h"
#include "examples/common/svg_canvas.h"

namespace reel::examples {
namespace {

// Okabe and Ito, "Color universal design" (2008), darkest first; yellow is left out, it is faint on paper.
constexpr std::array<const char*, 7> palette = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#000000"};
constexpr double width = 760, height = 440, right = width - 28, bottom = height - 62;
constexpr std::size_t most_points = 1600;  // about two a pixel; more only makes the file large

struct Pen {
  const char* colour;
  bool dashed;
};

// A colour for each series, and when these are used up they come again in broken lines.
std::vector<Pen> pens_of(const std::vector<Series>& all) {
  std::vector<Pen> pens;
  std::size_t used = 0;
  for (const Series& series : all) {
    if (series.dashed && !pens.empty()) {
      pens.push_back({pens.back().colour, true});
    } else {
      pens.push_back({palette[used % palette.size()], used / palette.size() % 2 == 1});
      ++used;
    }
  }
  return pens;
}

struct Point {
  double x, y;
};

struct Frame {
  double left, top;
  Axis x, y;

  double across(double value) const { return left + x.place(value) * (right - left); }
  double down(double value) const { return bottom - y.place(value) * (bottom - top); }
};

// Unbroken stretches of what can be shown. Of a long curve each bin of neighbours keeps its lowest and
// highest point, so spikes stay.
std::vector<std::vector<Point>> stretches(const Series& series, const Frame& frame) {
  const std::size_t count = series.x.size();
  const std::size_t bin = count <= most_points ? 1 : (2 * count + most_points - 1) / most_points;
  std::vector<std::vector<Point>> result(1);
  for (std::size_t begin = 0; begin < count; begin += bin) {
    std::vector<std::size_t> shown;
    for (std::size_t i = begin; i < std::min(count, begin + bin); ++i) {
      if (frame.x.shows(series.x[i]) && frame.y.shows(series.y[i])) shown.push_back(i);
    }
    if (shown.empty()) {
      if (!result.back().empty()) result.emplace_back();
      continue;
    }
    const auto below = [&](std::size_t a, std::size_t b) { return series.y[a] < series.y[b]; };
    const auto [low, high] = std::minmax_element(shown.begin(), shown.end(), below);
    for (const std::size_t i : {std::min(*low, *high), std::max(*low, *high)}) {
      result.back().push_back({frame.across(series.x[i]), frame.down(series.y[i])});
      if (*low == *high) break;
    }
  }
  return result;
}

// The course of a long, noisy curve: the mean of each of `bins` bins, as it lies on paper.
std::vector<std::vector<Point>> means(const Series& series, const Frame& frame, std::size_t bins) {
  std::vector<std::vector<Point>> result(1);
  const std::size_t count = series.x.size(), bin = (count + bins - 1) / bins;
  for (std::size_t begin = 0; begin < count; begin += bin) {
    Point sum{0, 0};
    double shown = 0;
    for (std::size_t i = begin; i < std::min(count, begin + bin); ++i) {
      if (!frame.x.shows(series.x[i]) || !frame.y.shows(series.y[i])) continue;
      sum.x += frame.across(series.x[i]), sum.y += frame.down(series.y[i]), ++shown;
    }
    if (shown > 0) result.back().push_back({sum.x / shown, sum.y / shown});
    if (shown == 0 && !result.back().empty()) result.emplace_back();
  }
  return result;
}

void draw_stretches(SvgCanvas& canvas, const std::vector<std::vector<Point>>& all, const Pen& pen,
                    double line_width, double opacity) {
  for (const std::vector<Point>& stretch : all) {
    if (stretch.size() == 1) canvas.circle(stretch[0].x, stretch[0].y, 1.5 * line_width, pen.colour);
    if (stretch.size() < 2) continue;
    std::string path;
    for (const Point& p : stretch) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", p.x, p.y);
    canvas.raw(fmt::format(R"(<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-opacity="{}")"
                           R"({} stroke-linejoin="round"/>)"
                           "\n",
                           path, pen.colour, line_width, opacity,
                           pen.dashed ? R"( stroke-dasharray="5 4")" : R"( stroke-linecap="round")"));
  }
}

// A long curve is drawn pale, its mean over it.
void draw_curve(SvgCanvas& canvas, const Series& series, const Frame& frame, const Pen& pen) {
  const bool is_long = series.x.size() >= 400;
  if (is_long) draw_stretches(canvas, stretches(series, frame), {pen.colour, false}, 1, 0.3);
  draw_stretches(canvas, is_long ? means(series, frame, 120) : stretches(series, frame), pen, 2, 1);
}

void draw_axes(SvgCanvas& canvas, const LineChart& chart, const Frame& frame,
               const std::vector<Tick>& y_ticks) {
  for (const Tick& tick : y_ticks) {
    const double y = frame.down(tick.value);
    canvas.line(frame.left, y, right, y, ink::grid);
    canvas.text(frame.left - 8, y + 4, tick.label, {.anchor = "end"});
  }
  for (const Tick& tick : frame.x.ticks(7)) {
    const double x = frame.across(tick.value);
    canvas.line(x, frame.top, x, bottom, ink::grid);
    canvas.text(x, bottom + 18, tick.label);
  }
  canvas.line(frame.left, bottom, right, bottom, ink::axis);
  canvas.text((frame.left + right) / 2, height - 16, fitted(chart.x_label, 13, right - frame.left),
              {.size = 13});
  canvas.text(20, (frame.top + bottom) / 2, fitted(chart.y_label, 13, bottom - frame.top),
              {.size = 13, .angle = -90});
}

// Names in rows under the title; returns the y where the last row ends.
double draw_legend(SvgCanvas& canvas, const std::vector<Series>& all, const std::vector<Pen>& pens,
                   double left, double y) {
  constexpr double mark = 18, gap = 22;
  double x = left;
  bool any = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].name.empty()) continue;
    const std::string name = fitted(all[i].name, 12, 260);
    const double needed = mark + 6 + text_width(name, 12);
    if (x > left && x + needed > right) x = left, y += 18;
    draw_stretches(canvas, {{{x, y - 4}, {x + mark, y - 4}}}, pens[i], 2.5, 1);
    canvas.text(x + mark + 6, y, name, {.colour = ink::title, .anchor = "start"});
    x += needed + gap;
    any = true;
  }
  return any ? y : y - 18;
}

Axis axis_over(const std::vector<Series>& all, std::vector<double> Series::*values, bool log, double air) {
  std::vector<double> seen;
  for (const Series& series : all) seen.insert(seen.end(), (series.*values).begin(), (series.*values).end());
  return {seen, log, air};
}

}  // namespace

std::string line_chart(const LineChart& chart) {
  for (const Series& s : chart.series) {
    if (s.x.size() != s.y.size()) {
      fail("[line_chart] series \"{}\" has {} x and {} y; want as many.", s.name, s.x.size(), s.y.size());
    }
  }
  SvgCanvas canvas(width, height, chart.title);
  Frame frame{.left = 0,
              .top = 0,
              .x = axis_over(chart.series, &Series::x, false, 0.01),
              .y = axis_over(chart.series, &Series::y, chart.log_y, 0.05)};
  const std::vector<Tick> y_ticks = frame.y.ticks(6);
  double label_width = 0;
  for (const Tick& tick : y_ticks) label_width = std::max(label_width, text_width(tick.label, 12));
  frame.left = 44 + label_width;

  canvas.text(frame.left, 32, fitted(chart.title, 17, right - frame.left),
              {.size = 17, .colour = ink::title, .anchor = "start", .bold = true});
  const std::vector<Pen> pens = pens_of(chart.series);
  frame.top = draw_legend(canvas, chart.series, pens, frame.left, 56) + 18;
  frame.top = std::min(frame.top, bottom - 80);  // dozens of series: the plot keeps some room
  draw_axes(canvas, chart, frame, y_ticks);
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    draw_curve(canvas, chart.series[i], frame, pens[i]);
  }
  if (frame.x.empty() || frame.y.empty()) {
    canvas.text((frame.left + right) / 2, (frame.top + bottom) / 2, "no data",
                {.size = 14, .colour = ink::axis});
  }
  return canvas.finish();
}

}  // namespace reel::examples
