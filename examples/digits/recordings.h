// Spoken digits: made by a small formant synthesiser, or read from a folder of DIGIT_SPEAKER_TAKE.wav.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/wav.h"

namespace reel::examples {

struct Recording {
  int64_t digit;
  std::string speaker;
  long take;
  Sound sound;
};

// The Free Spoken Digit Dataset's layout: recordings/7_jackson_32.wav. Throws, naming the file, where a name
// is not so or the sound cannot be read.
std::vector<Recording> read_recordings(const std::string& folder);

// Speaker number `k` of this seed says "one" or "two": harmonics of a pitch through gliding formants, the t
// of "two" a burst of noise; pitch, pace, loudness and vocal tract differ from speaker to speaker. 8 kHz.
Recording synthetic(uint64_t seed, uint64_t k, int64_t digit);

// One after the other, with a short pause.
Sound joined(const Sound& first, const Sound& second);

}  // namespace reel::examples
