// Sound from WAV files.
#pragma once

#include <string>
#include <vector>

namespace reel::examples {

struct Sound {
  int rate;                    // samples a second
  std::vector<float> samples;  // -1 to 1; channels averaged into one
};

// PCM of 8 to 32 bits, or floats. Throws, naming the file and what was wanted, unless all that its header
// promises is there.
Sound read_wav(const std::string& path);

// 16-bit PCM, one channel; samples are clamped to [-1, 1].
void write_wav(const std::string& path, const Sound& sound);

}  // namespace reel::examples
