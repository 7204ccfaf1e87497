// The readers of pictures and sound, cut and damaged at every byte, and the features made of sound.
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "examples/data/batches.h"
#include "examples/data/idx.h"
#include "examples/data/mfcc.h"
#include "examples/data/wav.h"
#include "tests/real_data.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

namespace {

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int k = 24; k >= 0; k -= 8) bytes += static_cast<char>(value >> k & 0xff);
  return bytes;
}

std::string idx_bytes(const std::vector<uint32_t>& shape, const std::string& values) {
  std::string bytes("\0\0\x08", 3);
  bytes += static_cast<char>(shape.size());
  for (const uint32_t size : shape) bytes += big_endian(size);
  return bytes + values;
}

std::string gzipped(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(text.size() + 100, '\0');
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

struct Scratch {
  scratch::Folder folder;
  std::string path = folder / "f";

  template <class Read>
  std::string says(const Read& read, std::string_view bytes) const {
    scratch::put(path, bytes);
    return message_of([&] { read(path); });
  }
};

const auto read_pictures_file = [](const std::string& path) { return read_idx(path, 3); };

}  // namespace

TEST_CASE("IDX: sizes and values, plain and gzipped") {
  const Scratch scratch;
  const std::string values = "abcdefghijkl", bytes = idx_bytes({2, 3, 2}, values);
  for (const std::string& content : {bytes, gzipped(bytes)}) {
    scratch::put(scratch.path, content);
    const Idx idx = read_idx(scratch.path, 3);
    CHECK(idx.shape == std::vector<int64_t>{2, 3, 2});
    CHECK(std::string(idx.values.begin(), idx.values.end()) == values);
    CHECK(idx.row_size() == 6);
    for (size_t length = 0; length < content.size(); ++length) {
      CHECK(scratch.says(read_pictures_file, content.substr(0, length)) == Contains(scratch.path));
    }
  }
}

TEST_CASE("IDX: what is wrong is named with its byte") {
  const Scratch scratch;
  const auto says = [&](const std::string& bytes) { return scratch.says(read_pictures_file, bytes); };
  CHECK(says("not IDX at all") == Contains("is not IDX"));
  CHECK(says(std::string("\0\0\x0d\3", 4)) == Contains("byte 2: the type is 0x0d; want 0x08"));
  CHECK(says(idx_bytes({4}, "abcd")) == Contains("byte 3: 1 axes; want 3"));
  CHECK(says(idx_bytes({2, 3, 2}, "abc")) ==
        Contains("byte 8: axis 1 has size 3, and 3 bytes of values follow"));
  CHECK(says(idx_bytes({2, 0, 2}, "")) == Contains("byte 4: axis 0 has size 2"));
  CHECK(says(idx_bytes({1, 1, 1}, "ab")) == Contains("2 bytes of values; want 1"));
  CHECK(says(idx_bytes({0xffffffff, 0xffffffff, 0xffffffff}, "abc")) ==
        Contains("axis 0 has size 4294967295"));
  CHECK(says(idx_bytes({1u << 31, 1u << 31, 4}, "abc")) ==
        Contains("axis 0"));  // the product is 0 in 64 bits
}

TEST_CASE("pictures and labels belong together") {
  const scratch::Folder folder;
  scratch::put(folder / "p", idx_bytes({2, 1, 2}, "abcd"));
  scratch::put(folder / "l", idx_bytes({2}, std::string("\1\0", 2)));
  const LabelledPictures both = read_pictures(folder / "p", folder / "l", 2);
  CHECK(both.count == 2);
  CHECK(both.labels == std::vector<int64_t>{1, 0});
  CHECK(message_of([&] { read_pictures(folder / "p", folder / "l", 1); }) ==
        Contains("l, byte 8: the label 1"));
  scratch::put(folder / "l", idx_bytes({1}, "a"));
  CHECK(message_of([&] { read_pictures(folder / "p", folder / "l", 2); }) ==
        Contains("holds 2 pictures and"));
}

TEST_CASE("WAV: samples come back as they were written") {
  const Scratch scratch;
  const Sound sound{8000, {0, 0.5f, -0.5f, 1, -1, 2}};
  write_wav(scratch.path, sound);
  const Sound read = read_wav(scratch.path);
  CHECK(read.rate == 8000);
  REQUIRE(read.samples.size() == 6);
  for (size_t k = 0; k < 5; ++k) CHECK(std::abs(read.samples[k] - sound.samples[k]) < 1e-4);
  CHECK(std::abs(read.samples[5] - 1) < 1e-4);

  const std::string bytes = scratch::get(scratch.path);
  for (size_t length = 0; length < bytes.size(); ++length) {
    CHECK(scratch.says(read_wav, bytes.substr(0, length)) == Contains(scratch.path));
  }
}

TEST_CASE("WAV: a header changed at any byte is read or refused, at once") {
  const Scratch scratch;
  write_wav(scratch.path, {8000, std::vector<float>(50, 0.25f)});
  const std::string bytes = scratch::get(scratch.path);
  for (size_t at = 0; at < 44; ++at) {
    for (const int value : {0, 1, 2, 0x7f, 0x80, 0xff}) {
      std::string wrong = bytes;
      wrong[at] = static_cast<char>(value);
      const std::string message = scratch.says(read_wav, wrong);
      if (message != "nothing was thrown") CHECK(message == Contains(scratch.path));
    }
  }
}

TEST_CASE("WAV: two channels become one; what is wrong is said") {
  const Scratch scratch;
  write_wav(scratch.path, {8000, {0.5f, 0.25f, 0.5f, 0.25f}});
  std::string bytes = scratch::get(scratch.path);
  bytes[22] = 2, bytes[32] = 4, bytes[28] = static_cast<char>(0x00),
  bytes[29] = 0x7d;  // channels, bytes a frame
  scratch::put(scratch.path, bytes);
  const Sound sound = read_wav(scratch.path);
  REQUIRE(sound.samples.size() == 2);
  CHECK(sound.samples[0] == doctest::Approx(0.375).epsilon(1e-3));

  CHECK(scratch.says(read_wav, "not a WAV file") == Contains("want it to begin with RIFF"));
  CHECK(scratch.says(read_wav, bytes.substr(0, 44)) ==
        Contains("is cut short: 44 bytes; its header wants 52"));
  std::string no_data = bytes.substr(0, 36);
  no_data[4] = 28;
  CHECK(scratch.says(read_wav, no_data) == Contains("has no sound"));
  std::string chunk = bytes;
  chunk[40] = 100;
  CHECK(scratch.says(read_wav, chunk) == Contains("byte 36: a chunk of 100 bytes, and 8 are left"));
  std::string alaw = bytes;
  alaw[20] = 6, alaw[34] = 8;
  CHECK(scratch.says(read_wav, alaw) == Contains("want PCM of 8 to 32 bits"));
  CHECK(message_of([] { read_wav("/nonexistent/f.wav"); }) == Contains("could not be opened"));
}

namespace {

Sound known_sound() {
  Sound sound{8000, {}};
  for (int n = 0; n < 520; ++n) {
    sound.samples.push_back(static_cast<float>(0.3 * std::sin(0.05 * n) + 0.2 * std::sin(0.9 * n + 1) +
                                               0.1 * std::cos(0.002 * n * n)));
  }
  return sound;
}

void check_row(const Frames& frames, int64_t row, const std::vector<double>& wanted) {
  for (size_t k = 0; k < wanted.size(); ++k) {
    CHECK(frames.values[static_cast<size_t>(row * frames.width) + k] ==
          doctest::Approx(wanted[k]).epsilon(1e-7));
  }
}

}  // namespace

// The numbers are those of NumPy and SciPy: np.hamming, np.fft.rfft(frames, 256), triangles by np.interp over
// mel, scipy.fft.dct(type=2, norm="ortho").
TEST_CASE("MFCC equals an independent computation") {
  const Frames frames = mfcc(known_sound());
  CHECK(frames.width == 13);
  REQUIRE(frames.count() == 5);
  check_row(frames, 0,
            {-40.7244283, 10.6891313, -7.39698331, -3.76430047, 4.18524406, 0.685108345, -2.1027869,
             2.81444606, 4.68701782, -0.485143795, -1.99475438, 2.2002361, 2.80327718});
  check_row(frames, 2,
            {-49.0523132, -2.41017855, -13.2013567, 11.1134794, 13.7020347, 0.741064287, 1.11714366,
             3.80083942, 2.78997931, 2.21244299, -0.486679934, -1.33658013, 0.670775686});
  check_row(frames, 4,
            {-42.1245192, -6.41291682, -6.66380253, 13.2337728, -0.0419194971, 7.34666591, -2.9866001,
             0.723293, 8.28253928, -0.62168215, -2.74011448, 1.27437341, 3.82065929});
  const Frames wide = with_deltas(frames);
  CHECK(wide.width == 26);
  REQUIRE(wide.count() == 5);
  check_row(wide, 1,
            {-43.9476498,   5.35925044,  -12.1114728,    -1.67162951,  9.3824195,    5.66204957, 0.693703043,
             2.9117091,     3.79860302,  0.0434450992,   -1.19837425,  0.964160387,  1.00872485, -1.46933461,
             -4.19012853,   -1.35507776, 5.24719028,     1.03512324,   -0.167551645, 1.29840148, -0.333027205,
             -0.0672127677, 0.680854696, -0.00588650243, -0.534983025, -0.301292257});
}

TEST_CASE("features are scaled by the mean and deviation of all frames") {
  std::vector<Frames> sounds{{2, {1, 10, 3, 10}}, {2, {5, 10}}};
  const Scale scale = Scale::of(sounds);
  CHECK(scale.mean == std::vector<double>{3, 10});
  CHECK(scale.deviation[0] == doctest::Approx(std::sqrt(8.0 / 3)));
  scale.apply(sounds[1]);
  CHECK(sounds[1].values[0] == doctest::Approx(2 / std::sqrt(8.0 / 3)));
  CHECK(sounds[1].values[1] == 0);
}

TEST_CASE("MFCC of silence, of very little and of nothing") {
  for (const double x : mfcc({8000, std::vector<float>(300, 0)}).values) CHECK(std::isfinite(x));
  CHECK(mfcc({8000, {0.5f}}).count() == 1);
  for (const double x : with_deltas(mfcc({8000, {0.5f}})).values) CHECK(std::isfinite(x));
  CHECK(message_of([] { mfcc({8000, {}}); }) == Contains("[mfcc] 0 samples at 8000 Hz"));
  CHECK(message_of([] {
          mfcc({8000, {0}}, {.filters = 5});
        }) == Contains("no more coefficients than filters"));
}

TEST_CASE("batches: a pass sees every row once, and a step is the same wherever a run begins") {
  Batches batches(10, 4, 7), again(10, 4, 7), other(10, 4, 8);
  CHECK(batches.per_pass() == 3);
  std::vector<std::vector<size_t>> steps;
  for (long step = 0; step < 6; ++step) steps.push_back(batches.at(step));
  std::vector<size_t> seen;
  for (int k = 0; k < 3; ++k) seen.insert(seen.end(), steps[k].begin(), steps[k].end());
  const std::vector<size_t> order = seen;
  std::ranges::sort(seen);
  std::vector<size_t> all(10);
  std::iota(all.begin(), all.end(), size_t{0});
  CHECK(seen == all);
  CHECK(order != all);
  CHECK(steps[0] != steps[3]);
  CHECK(again.at(5) == steps[5]);
  CHECK(again.at(1) == steps[1]);
  CHECK(other.at(0) != steps[0]);
  CHECK(in_order(5, 2) == std::vector<std::vector<size_t>>{{0, 1}, {2, 3}, {4}});
}

TEST_CASE("sequences side by side are filled up at their ends") {
  const std::vector<std::vector<int64_t>> words{{1, 2, 3}, {4}, {5, 6}};
  const Padded ids = padded(words, {2, 0}, 9);
  CHECK(ids.x.shape() == Shape{3, 2});
  CHECK(ids.x.to_vector<int64_t>() == std::vector<int64_t>{5, 1, 6, 2, 9, 3});
  CHECK(ids.lengths == std::vector<int64_t>{2, 3});
  const std::vector<std::vector<double>> frames{{1, 2, 3, 4}, {5, 6}};
  const Padded values = padded(frames, {0, 1}, 2);
  CHECK(values.x.shape() == Shape{2, 2, 2});
  CHECK(values.x.to_vector<double>() == std::vector<double>{1, 2, 5, 6, 3, 4, 0, 0});
}

TEST_CASE("real pictures and sounds are read whole") {
  const std::string fashion = "/usr/share/datasets/fashion-mnist/";
  if (std::filesystem::exists(fashion)) {
    const auto test =
        read_pictures(fashion + "t10k-images-idx3-ubyte.gz", fashion + "t10k-labels-idx1-ubyte.gz", 10);
    CHECK(test.count == 10000);
    CHECK(test.height == 28);
    CHECK(std::ranges::count(test.labels, 3) == 1000);
  } else {
    MESSAGE("skipped: there is no " << fashion);
  }
  if (const std::string path = real_data("fsdd/recordings/0_george_0.wav"); !path.empty()) {
    const Sound sound = read_wav(path);
    CHECK(sound.rate == 8000);
    CHECK(sound.samples.size() == 2384);
    CHECK(mfcc(sound).count() == 1 + (2384 - 200) / 80);
  }
}
