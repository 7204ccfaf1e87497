#include "examples/data/mfcc.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <numbers>

#include "core/error.h"

namespace reel::examples {

namespace {

using std::numbers::pi;

// Cooley and Tukey's radix-2 transform, in place; the size is a power of two.
void fourier(std::vector<std::complex<double>>& x) {
  const std::size_t size = x.size();
  for (std::size_t i = 1, j = 0; i < size; ++i) {  // bit-reversed order
    std::size_t bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (std::size_t half = 1; half < size; half *= 2) {
    for (std::size_t k = 0; k < half; ++k) {
      const auto turn = std::polar(1.0, -pi * static_cast<double>(k) / static_cast<double>(half));
      for (std::size_t i = k; i < size; i += 2 * half) {
        const auto odd = turn * x[i + half];
        x[i + half] = x[i] - odd;
        x[i] += odd;
      }
    }
  }
}

double mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }

// H_m(k), [filters, bins].
std::vector<double> mel_filters(int filters, std::size_t bins, double rate) {
  std::vector<double> weights;
  const double step = mel(rate / 2) / (filters + 1);
  for (int m = 1; m <= filters; ++m) {
    for (std::size_t k = 0; k < bins; ++k) {
      const double at = mel(static_cast<double>(k) * rate / (2.0 * static_cast<double>(bins - 1))) / step;
      weights.push_back(std::max(0.0, 1 - std::abs(at - m)));
    }
  }
  return weights;
}

class Cepstrum {
 public:
  Cepstrum(const MfccOptions& o, int rate)
      : o_(o),
        length_(std::max<std::size_t>(2, static_cast<std::size_t>(std::lround(o.window * rate)))),
        size_(std::bit_ceil(length_)),
        filters_(mel_filters(o.filters, size_ / 2 + 1, rate)) {
    for (std::size_t n = 0; n < length_; ++n) {
      hamming_.push_back(0.54 -
                         0.46 * std::cos(2 * pi * static_cast<double>(n) / static_cast<double>(length_ - 1)));
    }
  }
  std::size_t length() const { return length_; }

  // Of the window that begins at `from`, appended to `to`.
  void of(const std::vector<double>& sound, std::size_t from, std::vector<double>& to) const {
    std::vector<std::complex<double>> spectrum(size_);
    for (std::size_t n = 0; n < length_ && from + n < sound.size(); ++n) {
      spectrum[n] = sound[from + n] * hamming_[n];
    }
    fourier(spectrum);
    const std::size_t bins = size_ / 2 + 1;
    const auto filters = static_cast<std::size_t>(o_.filters);
    std::vector<double> energy(filters);
    for (std::size_t m = 0; m < filters; ++m) {
      double sum = 0;
      for (std::size_t k = 0; k < bins; ++k) sum += filters_[m * bins + k] * std::norm(spectrum[k]);
      energy[m] = std::log(std::max(sum / static_cast<double>(size_), 1e-10));
    }
    for (int j = 0; j < o_.coefficients; ++j) {
      double sum = 0;
      for (std::size_t m = 0; m < filters; ++m) {
        sum += energy[m] * std::cos(pi * j * (static_cast<double>(m) + 0.5) / o_.filters);
      }
      to.push_back(sum * std::sqrt((j == 0 ? 1.0 : 2.0) / o_.filters));
    }
  }

 private:
  const MfccOptions& o_;
  std::size_t length_, size_;
  std::vector<double> filters_, hamming_;
};

}  // namespace

Frames mfcc(const Sound& sound, const MfccOptions& o) {
  if (sound.rate < 100 || sound.samples.empty() || o.filters < 1 || o.coefficients < 1 ||
      o.coefficients > o.filters || !(o.window > 0 && o.window <= 1) || !(o.hop > 0 && o.hop <= 1)) {
    fail(
        "[mfcc] {} samples at {} Hz, {} filters, {} coefficients, windows of {} s every {} s: want a sound, "
        "no "
        "more coefficients than filters, and times up to 1 s",
        sound.samples.size(), sound.rate, o.filters, o.coefficients, o.window, o.hop);
  }
  std::vector<double> emphasised;
  double before = 0;
  for (const float x : sound.samples) {
    emphasised.push_back(x - o.pre_emphasis * before);
    before = x;
  }
  const Cepstrum cepstrum(o, sound.rate);
  const auto hop = std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(o.hop * sound.rate)));
  Frames frames{o.coefficients, {}};
  std::size_t from = 0;
  do {
    cepstrum.of(emphasised, from, frames.values);
    from += hop;
  } while (from + cepstrum.length() <= emphasised.size());
  return frames;
}

Frames with_deltas(const Frames& frames) {
  const int64_t count = frames.count(), width = frames.width;
  const auto at = [&](int64_t t, int64_t k) {
    return frames.values[static_cast<std::size_t>(std::clamp<int64_t>(t, 0, count - 1) * width + k)];
  };
  Frames wide{2 * width, {}};
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t k = 0; k < width; ++k) wide.values.push_back(at(t, k));
    for (int64_t k = 0; k < width; ++k) {
      wide.values.push_back((at(t + 1, k) - at(t - 1, k) + 2 * (at(t + 2, k) - at(t - 2, k))) / 10);
    }
  }
  return wide;
}

Scale Scale::of(const std::vector<Frames>& sounds) {
  const auto width = static_cast<std::size_t>(sounds.at(0).width);
  Scale scale{std::vector<double>(width), std::vector<double>(width)};
  double count = 0;
  for (const Frames& frames : sounds) count += static_cast<double>(frames.count());
  const auto each = [&](const auto& body) {
    for (const Frames& frames : sounds) {
      for (std::size_t k = 0; k < frames.values.size(); ++k) body(frames.values[k], k % width);
    }
  };
  each([&](double x, std::size_t k) { scale.mean[k] += x / count; });
  each([&](double x, std::size_t k) { scale.deviation[k] += std::pow(x - scale.mean[k], 2) / count; });
  for (double& d : scale.deviation) d = std::sqrt(d) + 1e-8;
  return scale;
}

void Scale::apply(Frames& frames) const {
  for (std::size_t k = 0; k < frames.values.size(); ++k) {
    const std::size_t feature = k % mean.size();
    frames.values[k] = (frames.values[k] - mean[feature]) / deviation[feature];
  }
}

}  // namespace reel::examples
