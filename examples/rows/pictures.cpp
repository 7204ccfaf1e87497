#include "examples/rows/pictures.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

constexpr int64_t side = 28;

const std::vector<std::string> shape_names = {"square", "disc", "ring", "triangle", "cross", "stripes"};

// Whether the point (x, y), in units of the shape's size from its centre, is part of it.
bool inside(int64_t shape, double x, double y) {
  const double most = std::max(std::abs(x), std::abs(y)), r = std::hypot(x, y);
  switch (shape) {
    case 0: return most < 0.9;
    case 1: return r < 1;
    case 2: return r < 1 && r > 0.6;
    case 3: return y > -0.9 && y < 0.9 && std::abs(x) < (y + 0.9) / 1.8;
    case 4: return most < 1 && std::min(std::abs(x), std::abs(y)) < 0.3;
    default: return most < 1 && std::fmod(y + 1, 0.8) < 0.4;
  }
}

LabelledPictures draw(uint64_t seed, uint64_t first, int64_t count) {
  LabelledPictures all{count, side, side, {}, {}};
  for (int64_t k = 0; k < count; ++k) {
    Dice random(seed, first + static_cast<uint64_t>(k));
    const int64_t shape = random.below(static_cast<int64_t>(shape_names.size()));
    const double size = random.within(6, 11), x0 = random.within(size, side - size),
                 y0 = random.within(size, side - size), ink = random.within(120, 220);
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t x = 0; x < side; ++x) {
        const bool in =
            inside(shape, (static_cast<double>(x) - x0) / size, (static_cast<double>(y) - y0) / size);
        all.pixels.push_back(
            static_cast<uint8_t>(std::clamp((in ? ink : 30) + 25 * random.noise(), 0.0, 255.0)));
      }
    }
    all.labels.push_back(shape);
  }
  return all;
}

std::string packed_or_not(const std::string& folder, const std::string& name) {
  const std::string packed = folder + "/" + name + ".gz", plain = folder + "/" + name;
  return std::filesystem::exists(plain) ? plain : packed;
}

}  // namespace

PictureSet drawn_shapes(uint64_t seed, int64_t train, int64_t test) {
  return {shape_names, draw(seed, 0, train), draw(seed, uint64_t{1} << 40, test)};
}

PictureSet fashion_mnist(const std::string& folder) {
  const auto part = [&](const std::string& name) {
    return read_pictures(packed_or_not(folder, name + "-images-idx3-ubyte"),
                         packed_or_not(folder, name + "-labels-idx1-ubyte"), 10);
  };
  return {{"T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"},
          part("train"),
          part("t10k")};
}

Film make_film(const LabelledPictures& pictures, int64_t length, uint64_t seed, uint64_t k) {
  Dice random(seed, k);
  Film film;
  const int64_t h = pictures.height, w = pictures.width;
  int64_t picture = 0, until = 0, dx = 0, dy = 0;
  for (int64_t t = 0; t < length; ++t) {
    if (t == until) {  // the next scene
      picture = random.below(pictures.count);
      until = t + length / 3 + random.below(length / 3);
      dx = random.below(5) - 2, dy = random.below(5) - 2;
    }
    dx = std::clamp<int64_t>(dx + random.below(3) - 1, -3, 3);
    dy = std::clamp<int64_t>(dy + random.below(3) - 1, -3, 3);
    const double light = random.within(0.2, 1);
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        const int64_t fx = x - dx, fy = y - dy;
        const bool seen = fx >= 0 && fx < w && fy >= 0 && fy < h;
        const double ink =
            seen ? pictures.pixels[static_cast<std::size_t>((picture * h + fy) * w + fx)] / 255.0 : 0;
        film.frames.push_back(light * ink + 0.4 * random.noise());
      }
    }
    film.labels.push_back(pictures.labels[static_cast<std::size_t>(picture)]);
  }
  return film;
}

}  // namespace reel::examples
