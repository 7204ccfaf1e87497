// A text as sentences, one a line, and those as words.
#pragma once

#include <string>
#include <vector>

namespace reel::examples {

using Sentence = std::vector<std::string>;

// Lower case, punctuation apart; lines of one word are left out.
std::vector<Sentence> read_sentences(const std::string& path);

// The text with its `most` commonest words alone; of equally common ones those that come first in the
// alphabet.
std::vector<Sentence> only_commonest(std::vector<Sentence> text, std::size_t most);

}  // namespace reel::examples
