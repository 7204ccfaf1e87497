// Owns the SVG syntax, the fonts, and what text may go into XML.
#include "examples/common/svg_canvas.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "core/atomic_file.h"
#include "core/error.h"
#include "examples/common/svg.h"
#include "examples/common/text_file.h"

namespace reel::examples {
namespace {

bool allowed_in_xml(std::string_view c) {
  const auto byte = static_cast<unsigned char>(c[0]);
  if (c.size() == 1) return byte < 0x80 && (byte >= ' ' || byte == '\t' || byte == '\n') && byte != 0x7f;
  return c != "\xef\xbf\xbe" && c != "\xef\xbf\xbf";  // U+FFFE, U+FFFF
}

// In units of the font size. Han, Hangul, kana and emoji fill the square; the rest is an average.
double char_width(std::string_view c) {
  if (c.size() == 1) {
    if (std::string_view("iljtfrI.,:;'|!()[] ").find(c[0]) != std::string_view::npos) return 0.35;
    if (std::string_view("mwMW@%").find(c[0]) != std::string_view::npos) return 0.9;
    return c[0] >= 'A' && c[0] <= 'Z' ? 0.7 : 0.6;
  }
  return c.size() == 4 || (c.size() == 3 && static_cast<unsigned char>(c[0]) >= 0xe3) ? 1.0 : 0.65;
}

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const std::string_view c : utf8_chars(text)) {
    if (c == "&")
      out += "&amp;";
    else if (c == "<")
      out += "&lt;";
    else if (c == ">")
      out += "&gt;";
    else if (c == "\"")
      out += "&quot;";
    else if (allowed_in_xml(c))
      out += c;
    else
      out += "\xef\xbf\xbd";
  }
  return out;
}

double text_width(std::string_view text, double size) {
  double width = 0;
  for (const std::string_view c : utf8_chars(text)) width += char_width(c);
  return width * size;
}

std::string fitted(std::string_view text, double size, double width) {
  if (text_width(text, size) <= width) return std::string(text);
  std::string cut;
  double room = width - 0.8 * size;  // of the ellipsis
  for (const std::string_view c : utf8_chars(text)) {
    room -= char_width(c) * size;
    if (room < 0) break;
    cut += c;
  }
  return cut + "…";
}

SvgCanvas::SvgCanvas(double width, double height, std::string_view title) {
  body_ = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" role="img")"
      R"( font-family="Inter, 'Helvetica Neue', Helvetica, Arial, 'Noto Sans', 'DejaVu Sans', sans-serif">)"
      "\n<title>{2}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"{3}\"/>\n",
      width, height, xml_escaped(title), ink::paper);
}

void SvgCanvas::text(double x, double y, std::string_view words, const TextStyle& style) {
  const std::string turn =
      style.angle == 0 ? ""
                       : fmt::format(R"svg( transform="rotate({} {:.1f} {:.1f})")svg", style.angle, x, y);
  body_ +=
      fmt::format(R"(<text x="{:.1f}" y="{:.1f}" font-size="{}" fill="{}" text-anchor="{}"{}{}>{}</text>)"
                  "\n",
                  x, y, style.size, style.colour, style.anchor, style.bold ? R"( font-weight="600")" : "",
                  turn, xml_escaped(words));
}

void SvgCanvas::line(double x1, double y1, double x2, double y2, const char* colour, double width) {
  body_ +=
      fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}"/>)"
                  "\n",
                  x1, y1, x2, y2, colour, width);
}

void SvgCanvas::rectangle(double x, double y, double width, double height, std::string_view attributes) {
  body_ += fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" {}/>)"
                       "\n",
                       x, y, width, height, attributes);
}

void SvgCanvas::circle(double x, double y, double radius, const char* colour) {
  body_ += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"/>)"
                       "\n",
                       x, y, radius, colour);
}

std::string SvgCanvas::finish() const { return body_ + "</svg>\n"; }

void write_svg(const std::string& path, const std::string& svg) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) fail("The folder {} could not be made: {}.", folder.string(), error.message());
  write_file_atomically(path, svg);
}

}  // namespace reel::examples
