// Printing that does not throw: a full disk, or a reader that went away, costs the text and not the training
// behind it. run_main tells of it at the end.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace reel::examples {

void write_out(std::string_view text);  // to stdout, at once
void write_err(std::string_view text);  // to stderr
bool output_closed();                   // nobody reads stdout any more, as after `| head`
bool output_failed();                   // some of it could not be written

// As a shell wants it, to be pasted into a command line: in quotes where it has blanks or the like.
std::string shell_word(const std::string& text);

// Makes all three streams exist, so that no file of ours becomes one of them, and a write to a closed pipe
// an error instead of the program's end.
void secure_streams();

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void say_err(fmt::format_string<Args...> format, Args&&... args) {
  write_err(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace reel::examples
