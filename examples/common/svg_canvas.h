// An SVG being drawn: text, lines and shapes in one restrained style.
#pragma once

#include <string>
#include <string_view>

namespace reel::examples {

namespace ink {
inline constexpr const char* paper = "#ffffff";
inline constexpr const char* title = "#1b1f24";
inline constexpr const char* label = "#57606a";
inline constexpr const char* axis = "#8c959f";
inline constexpr const char* grid = "#e6e8eb";
}  // namespace ink

struct TextStyle {
  double size = 12;
  const char* colour = ink::label;
  const char* anchor = "middle";  // start | middle | end
  double angle = 0;               // degrees, clockwise
  bool bold = false;
};

class SvgCanvas {
 public:
  SvgCanvas(double width, double height, std::string_view title);

  void text(double x, double y, std::string_view words, const TextStyle& style = {});
  void line(double x1, double y1, double x2, double y2, const char* colour, double width = 1);
  void rectangle(double x, double y, double width, double height, std::string_view attributes);
  void circle(double x, double y, double radius, const char* colour);
  void raw(std::string_view markup) { body_ += markup; }
  std::string finish() const;

 private:
  std::string body_;
};

// Valid XML text whatever the bytes: markup escaped, what is no character replaced by U+FFFD.
std::string xml_escaped(std::string_view text);
// How wide a sans-serif font of this size sets it, roughly.
double text_width(std::string_view text, double size);
// Cut to `width`, with an ellipsis where something is missing.
std::string fitted(std::string_view text, double size, double width);

}  // namespace reel::examples
