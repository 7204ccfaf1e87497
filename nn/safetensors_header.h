// The header of a safetensors file: parsed and checked before a single byte of a tensor is read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/shape.h"

namespace reel::safetensors {

struct Entry {
  std::string dtype;  // one that load_safetensors reads
  Shape shape;
  uint64_t begin = 0, end = 0;  // in the data, which starts after the header
};

struct Header {
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
};

// Throws unless every entry is sound and together they cover `data_size` bytes exactly; `path` opens the
// sentence.
Header parse_header(std::string_view text, uint64_t data_size, const std::string& path);

// A name for an error sentence: in quotes, short, without what a terminal would act on.
std::string shown(std::string_view name);

}  // namespace reel::safetensors
