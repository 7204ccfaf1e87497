// Reading text: plain, gzip or zip, bounded, and with errors that name the file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace reel::examples {

inline constexpr std::size_t most_text_bytes = std::size_t{1} << 31;

// The bytes of the file, decompressed if they are gzip or zip (told by content, not name). Of a zip, its only
// member or its only .txt. Throws when it is missing, a directory or device, unreadable, empty, damaged, or
// over `most` bytes.
std::string read_text(const std::string& path, std::size_t most = most_text_bytes);

// Throws with line and byte offset at the first NUL or invalid UTF-8 sequence; `path` is for the message.
void check_utf8(std::string_view text, const std::string& path);
bool looks_binary(std::string_view text);  // has a NUL byte

// Views into `text`. Lines end in \n, \r\n or with the text, and the ends are not part of them; a byte order
// mark at the very start is left out.
std::vector<std::string_view> lines(std::string_view text);
// Characters (code points); of invalid text each wrong byte is one.
std::vector<std::string_view> utf8_chars(std::string_view text);
std::string_view utf8_first(std::string_view text);  // the first of these, of a text that is not empty

}  // namespace reel::examples
