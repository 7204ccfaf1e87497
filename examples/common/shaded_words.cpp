// Owns the layout of shaded words: paragraphs of words in coloured boxes, and what the colours mean.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "examples/common/svg.h"
#include "examples/common/svg_canvas.h"

namespace reel::examples {
namespace {

constexpr double width = 820, left = 28, right = width - 28, size = 15, line_height = 28, padding = 4;

// The ends of ColorBrewer's RdBu (Brewer 2003), lightened so that black words stay legible.
constexpr std::array<double, 3> red = {214, 96, 77}, blue = {67, 147, 195};

std::string shade(double part) {
  if (std::isnan(part)) return "#d0d4d9";
  const auto& end = part < 0 ? red : blue;
  const double much = std::min(std::abs(part), 1.0);
  const auto mix = [&](size_t c) { return static_cast<int>(std::lround(255 + much * (end[c] - 255))); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2));
}

struct Box {
  std::string word;
  double value, x, width;
  size_t line;
};

// Words side by side, on a new line where they would go beyond the right.
std::vector<Box> boxes(const ShadedText& text, double gap) {
  std::vector<Box> all;
  double x = left;
  size_t line = 0;
  for (size_t k = 0; k < text.words.size(); ++k) {
    const bool blank = text.words[k] == " " || text.words[k] == "\n" || text.words[k] == "\t";
    const std::string word = fitted(blank ? "\xc2\xa0" : text.words[k], size, right - left - 2 * padding);
    const double wide = text_width(word, size) + 2 * (gap > 0 ? padding : 0);
    if (x + wide > right && x > left) x = left, ++line;
    all.push_back({word, text.values[k], x, wide, line});
    x += wide + gap;
    if (text.words[k] == "\n") x = left, ++line;
  }
  return all;
}

void draw_legend(SvgCanvas& canvas, const ShadedWords& picture, double y) {
  constexpr int steps = 41;
  constexpr double bar = 164;
  const double x = right - bar - text_width(picture.high_label, 12) - 12;
  for (int k = 0; k < steps; ++k) {
    canvas.rectangle(x + bar * k / steps, y, bar / steps + 0.5, 12,
                     fmt::format(R"(fill="{}")", shade(2.0 * k / (steps - 1) - 1)));
  }
  canvas.text(x - 8, y + 11, picture.low_label, {.anchor = "end"});
  canvas.text(x + bar + 8, y + 11, picture.high_label, {.anchor = "start"});
}

}  // namespace

std::string shaded_words(const ShadedWords& picture) {
  if (!(picture.most > 0)) fail("[shaded_words] shades up to {}: want more than 0.", picture.most);
  const double gap = picture.gap.empty() ? 0 : 3;
  std::vector<std::vector<Box>> paragraphs;
  double height = 84;
  for (const ShadedText& text : picture.texts) {
    if (text.values.size() != text.words.size()) {
      fail("[shaded_words] {} values for {} words; want one each.", text.values.size(), text.words.size());
    }
    paragraphs.push_back(boxes(text, gap));
    const size_t lines = paragraphs.back().empty() ? 1 : paragraphs.back().back().line + 1;
    height += static_cast<double>(lines) * line_height + (text.caption.empty() ? 0 : 18) + 14;
  }
  SvgCanvas canvas(width, height, picture.title);
  canvas.text(left, 32, fitted(picture.title, 17, right - left),
              {.size = 17, .colour = ink::title, .anchor = "start", .bold = true});
  draw_legend(canvas, picture, 46);
  double y = 76;
  for (size_t k = 0; k < paragraphs.size(); ++k) {
    const std::string& caption = picture.texts[k].caption;
    if (!caption.empty()) canvas.text(left, y += 18, fitted(caption, 12, right - left), {.anchor = "start"});
    for (const Box& box : paragraphs[k]) {
      const double top = y + 6 + static_cast<double>(box.line) * line_height;
      canvas.rectangle(box.x, top, box.width, line_height - 4,
                       fmt::format(R"(rx="{}" fill="{}")", gap > 0 ? 3 : 0, shade(box.value / picture.most)));
      canvas.text(box.x + box.width / 2, top + 17, box.word, {.size = size, .colour = ink::title});
    }
    const size_t lines = paragraphs[k].empty() ? 1 : paragraphs[k].back().line + 1;
    y += static_cast<double>(lines) * line_height + 14;
  }
  return canvas.finish();
}

}  // namespace reel::examples
