// The recordings of the example digits.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "examples/digits/recordings.h"
#include "tests/real_data.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

TEST_CASE("digits: synthetic speakers differ, and each says the same again") {
  const Recording one = synthetic(1, 3, 1), two = synthetic(1, 3, 2);
  CHECK(one.sound.rate == 8000);
  CHECK(one.sound.samples == synthetic(1, 3, 1).sound.samples);
  CHECK(one.sound.samples != synthetic(1, 4, 1).sound.samples);
  CHECK(one.sound.samples != synthetic(2, 3, 1).sound.samples);
  CHECK(one.sound.samples != two.sound.samples);
  CHECK(one.sound.samples.size() >= 2000);
  CHECK(one.sound.samples.size() <= 3600);
  double loudest = 0;
  for (const float x : one.sound.samples) loudest = std::max<double>(loudest, std::abs(x));
  CHECK(loudest > 0.05);
  const Sound both = joined(one.sound, two.sound);
  CHECK(both.samples.size() == one.sound.samples.size() + 400 + two.sound.samples.size());
  CHECK(both.samples.back() == two.sound.samples.back());
  CHECK(message_of([&] { joined(one.sound, {44100, {0}}); }) == Contains("want one rate"));
}

TEST_CASE("digits: a folder of recordings, by their names") {
  const scratch::Folder folder;
  const std::string path = folder.path.string();
  CHECK(message_of([&] { read_recordings(path); }) == Contains("holds no .wav"));
  CHECK(message_of([&] { read_recordings(folder / "absent"); }) == Contains("could not be read as a folder"));
  write_wav(folder / "7_jackson_32.wav", {8000, {0.5f, 0}});
  scratch::put(folder / "README", "none of it");
  const auto recordings = read_recordings(path);
  REQUIRE(recordings.size() == 1);
  CHECK(recordings[0].digit == 7);
  CHECK(recordings[0].speaker == "jackson");
  CHECK(recordings[0].take == 32);
  for (const char* wrong :
       {"x_jackson_1.wav", "7_jackson.wav", "7_jackson_1x.wav", "7_jackson_-1.wav", "77_j_1.wav"}) {
    write_wav(folder / wrong, {8000, {0}});
    CHECK(message_of([&] { read_recordings(path); }) ==
          Contains(std::string(wrong) + ": want DIGIT_SPEAKER_TAKE.wav"));
    std::filesystem::remove(folder / wrong);
  }
  scratch::put(folder / "8_theo_1.wav", "RIFF");
  CHECK(message_of([&] { read_recordings(path); }) == Contains("8_theo_1.wav is no WAV file"));
}

TEST_CASE("digits: the real recordings") {
  const std::string path = real_data("fsdd/recordings");
  if (path.empty()) return;
  CHECK(read_recordings(path).size() == 1500);
}
