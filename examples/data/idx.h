// IDX, the format of MNIST and Fashion-MNIST: unsigned bytes of any number of axes, plain or gzipped.
// http://yann.lecun.com/exdb/mnist: two zero bytes, the type (8: unsigned byte), the number of axes, their
// sizes as big-endian 32-bit numbers, and the values row by row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reel::examples {

struct Idx {
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;

  int64_t rows() const { return shape[0]; }
  int64_t row_size() const { return static_cast<int64_t>(values.size()) / shape[0]; }
};

// Throws, naming file and byte, unless it is just so and has `axes` axes, none of them empty.
Idx read_idx(const std::string& path, std::size_t axes);

// Pictures [count, height, width] and their labels, 0 to classes - 1.
struct LabelledPictures {
  int64_t count, height, width;
  std::vector<uint8_t> pixels;
  std::vector<int64_t> labels;
};
LabelledPictures read_pictures(const std::string& pictures, const std::string& labels, int64_t classes);

}  // namespace reel::examples
