// Pictures for the example rows: drawn shapes, or Fashion-MNIST; and films made of pictures.
#pragma once

#include <string>
#include <vector>

#include "examples/data/idx.h"

namespace reel::examples {

struct PictureSet {
  std::vector<std::string> classes;
  LabelledPictures train, test;
};

// Squares, discs, rings, triangles, crosses and stripes, of any size and place, on a noisy ground.
PictureSet drawn_shapes(uint64_t seed, int64_t train, int64_t test);
// A folder with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-.. (Zalando's names; .gz or
// not).
PictureSet fashion_mnist(const std::string& folder);

// Two or three pictures, one after the other: each drifts, flickers, and drowns in noise, so that a single
// frame often does not tell what it shows.
struct Film {
  std::vector<double> frames;   // [length, height * width], 0 to 1 and noise
  std::vector<int64_t> labels;  // of each frame
};
Film make_film(const LabelledPictures& pictures, int64_t length, uint64_t seed, uint64_t k);

}  // namespace reel::examples
