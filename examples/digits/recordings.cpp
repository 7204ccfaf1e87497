#include "examples/digits/recordings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "core/error.h"
#include "examples/data/dice.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

namespace {

constexpr int rate = 8000;

// A sound's course: where its two formants are, and how loud it is, at a moment from 0 (its beginning) to 1.
struct Phoneme {
  double at, formant1, formant2, loudness;
};
constexpr Phoneme one[] = {{0, 300, 650, 0.2},
                           {0.25, 450, 850, 1},
                           {0.5, 650, 1200, 1},
                           {0.75, 400, 1500, 0.7},
                           {1, 280, 1600, 0.1}};
constexpr Phoneme two[] = {
    {0, 320, 1800, 0.1}, {0.2, 330, 1700, 1}, {0.5, 320, 1300, 1}, {0.8, 310, 950, 0.8}, {1, 300, 900, 0.1}};

Phoneme between(const Phoneme& a, const Phoneme& b, double at) {
  const double part = (at - a.at) / (b.at - a.at);
  const auto mix = [&](double x, double y) { return x + part * (y - x); };
  return {at, mix(a.formant1, b.formant1), mix(a.formant2, b.formant2), mix(a.loudness, b.loudness)};
}

// "7_jackson_32": digit, speaker, take.
bool parse(const std::string& stem, Recording& recording) {
  const auto fields = fields_of(stem, '_');
  if (fields.size() != 3 || fields[0].size() != 1 || fields[0][0] < '0' || fields[0][0] > '9') return false;
  recording.digit = fields[0][0] - '0';
  recording.speaker = fields[1];
  const char* end = fields[2].data() + fields[2].size();
  const auto [stop, error] = std::from_chars(fields[2].data(), end, recording.take);
  return error == std::errc() && stop == end && recording.take >= 0;
}

}  // namespace

std::vector<Recording> read_recordings(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".wav") files.push_back(it->path());
  }
  if (error) fail("{} could not be read as a folder: {}", folder, error.message());
  if (files.empty()) fail("{} holds no .wav: want DIGIT_SPEAKER_TAKE.wav", folder);
  std::ranges::sort(files);
  std::vector<Recording> recordings;
  for (const fs::path& file : files) {
    Recording recording{};
    if (!parse(file.stem().string(), recording)) fail("{}: want DIGIT_SPEAKER_TAKE.wav", file.string());
    recording.sound = read_wav(file.string());
    recordings.push_back(std::move(recording));
  }
  return recordings;
}

Recording synthetic(uint64_t seed, uint64_t k, int64_t digit) {
  Dice dice(seed, k, static_cast<uint64_t>(digit));
  const double pitch = dice.within(90, 220), tract = dice.within(0.9, 1.1), seconds = dice.within(0.25, 0.45);
  const double volume = dice.within(0.1, 0.4), hiss = dice.within(0.001, 0.01);
  const auto& course = digit == 1 ? one : two;
  Recording recording{digit, "synthetic", static_cast<long>(k), {rate, {}}};
  const auto length = static_cast<int>(seconds * rate), burst = digit == 2 ? rate * 3 / 100 : 0;
  for (int n = -burst; n < length; ++n) {
    double x = hiss * dice.within(-1, 1);
    if (n < 0) x += 0.5 * volume * dice.within(-1, 1);  // the t
    const double at = static_cast<double>(n) / length;
    std::size_t next = 1;
    while (course[next].at < at) ++next;
    const Phoneme now = between(course[next - 1], course[next], at);
    for (int harmonic = 1; n >= 0 && harmonic * pitch < rate / 2.0; ++harmonic) {
      const double f = harmonic * pitch;
      const auto resonance = [&](double formant) {
        return 1 / (1 + std::pow((f - formant * tract) / 120, 2));
      };
      const double strength = resonance(now.formant1) + 0.5 * resonance(now.formant2);
      x += volume * now.loudness * strength * std::sin(2 * std::numbers::pi * f * n / rate);
    }
    recording.sound.samples.push_back(static_cast<float>(std::clamp(x, -1.0, 1.0)));
  }
  return recording;
}

Sound joined(const Sound& first, const Sound& second) {
  if (first.rate != second.rate)
    fail("[joined] sounds of {} and {} Hz: want one rate", first.rate, second.rate);
  Sound both = first;
  both.samples.resize(both.samples.size() + static_cast<std::size_t>(first.rate / 20));
  both.samples.insert(both.samples.end(), second.samples.begin(), second.samples.end());
  return both;
}

}  // namespace reel::examples
