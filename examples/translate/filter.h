// Translating what comes in on standard input.
#pragma once

#include <string>

namespace reel::examples {

// Line by line to standard output, with the model in this file. Of a line of more than most_words the rest is
// left out, with a warning.
int translate_input(const std::string& model_path);

}  // namespace reel::examples
