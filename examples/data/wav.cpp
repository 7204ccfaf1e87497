#include "examples/data/wav.h"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "core/atomic_file.h"
#include "core/error.h"
#include "examples/common/text_file.h"

namespace reel::examples {

namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 30;

uint32_t little_endian(std::string_view bytes, std::size_t at) {
  uint32_t value = 0;
  for (std::size_t k = 4; k-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + k]);
  return value;
}

// libsndfile makes do with what is there of a file cut short; this does not. RIFF: "RIFF", the size of the
// rest, "WAVE", then chunks: four letters, a size, so many bytes, and one more where the size is odd.
void want_whole(std::string_view bytes, const std::string& path) {
  if (bytes.size() < 12 || bytes.substr(0, 4) != "RIFF" || bytes.substr(8, 4) != "WAVE") {
    fail("{} is no WAV file: want it to begin with RIFF, a size and WAVE", path);
  }
  const std::size_t end = std::size_t{8} + little_endian(bytes, 4);
  if (end > bytes.size()) fail("{} is cut short: {} bytes; its header wants {}", path, bytes.size(), end);
  bool format = false, data = false;
  for (std::size_t at = 12; at + 8 <= end && !data;) {
    const std::string_view name = bytes.substr(at, 4);
    const std::size_t size = little_endian(bytes, at + 4);
    if (at + 8 + size > end) {
      fail("{}, byte {}: a chunk of {} bytes, and {} are left: want a whole WAV file", path, at, size,
           end - at - 8);
    }
    format = format || (name == "fmt " && size >= 16);
    data = name == "data" && size > 0;
    at += 8 + size + size % 2;
  }
  if (!format || !data) fail("{} has no sound: want a 'fmt ' chunk and a 'data' chunk after it", path);
}

// The file in memory, as libsndfile asks for it.
struct MemoryFile {
  std::string_view bytes;
  sf_count_t at = 0;

  static MemoryFile& of(void* user) { return *static_cast<MemoryFile*>(user); }
  static sf_count_t length(void* user) { return static_cast<sf_count_t>(of(user).bytes.size()); }
  static sf_count_t seek(sf_count_t offset, int whence, void* user) {
    MemoryFile& file = of(user);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file.at : length(user);
    return file.at = std::clamp<sf_count_t>(from + offset, 0, length(user));
  }
  static sf_count_t read(void* to, sf_count_t count, void* user) {
    MemoryFile& file = of(user);
    const sf_count_t n = std::clamp<sf_count_t>(count, 0, length(user) - file.at);
    std::memcpy(to, file.bytes.data() + file.at, static_cast<std::size_t>(n));
    file.at += n;
    return n;
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
  static sf_count_t tell(void* user) { return of(user).at; }
};

void want_known(const SF_INFO& info, const std::string& path) {
  constexpr int known[] = {SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                           SF_FORMAT_PCM_32, SF_FORMAT_FLOAT,  SF_FORMAT_DOUBLE};
  if (std::ranges::count(known, info.format & SF_FORMAT_SUBMASK) == 0) {
    fail("{}: its samples are packed (format 0x{:x}); want PCM of 8 to 32 bits, or floats", path,
         info.format);
  }
  if (info.channels < 1 || info.channels > 64 || info.samplerate < 1 || info.samplerate > 1'000'000) {
    fail("{}: {} channels at {} Hz; want 1 to 64 at up to 1 MHz", path, info.channels, info.samplerate);
  }
}

}  // namespace

Sound read_wav(const std::string& path) {
  const std::string bytes = read_text(path, most_bytes);
  want_whole(bytes, path);
  MemoryFile memory{bytes};
  SF_VIRTUAL_IO io{MemoryFile::length, MemoryFile::seek, MemoryFile::read, MemoryFile::write,
                   MemoryFile::tell};
  SF_INFO info{};
  const std::unique_ptr<SNDFILE, decltype(&sf_close)> file(sf_open_virtual(&io, SFM_READ, &info, &memory),
                                                           sf_close);
  if (!file) fail("{} is no WAV file that can be read: {}", path, sf_strerror(nullptr));
  want_known(info, path);
  const auto channels = static_cast<std::size_t>(info.channels);
  Sound sound{info.samplerate, {}};
  std::vector<float> block(4096 * channels);
  while (const sf_count_t frames = sf_readf_float(file.get(), block.data(), 4096)) {
    if (frames < 0) fail("{} could not be read: {}", path, sf_strerror(file.get()));
    for (std::size_t frame = 0; frame < static_cast<std::size_t>(frames); ++frame) {
      float sum = 0;
      for (std::size_t c = 0; c < channels; ++c) sum += block[frame * channels + c];
      if (!std::isfinite(sum)) fail("{}: sample {} is not finite", path, sound.samples.size());
      sound.samples.push_back(sum / static_cast<float>(channels));
    }
  }
  if (sound.samples.empty()) fail("{} holds no samples", path);
  return sound;
}

void write_wav(const std::string& path, const Sound& sound) {
  std::string bytes;
  const auto put = [&](uint32_t value, int count) {
    for (int k = 0; k < count; ++k) bytes += static_cast<char>(value >> (8 * k) & 0xff);
  };
  const auto rate = static_cast<uint32_t>(sound.rate);
  const auto data = static_cast<uint32_t>(2 * sound.samples.size());
  bytes += "RIFF", put(36 + data, 4), bytes += "WAVEfmt ", put(16, 4);
  put(1, 2), put(1, 2), put(rate, 4), put(2 * rate, 4), put(2, 2), put(16, 2);  // PCM, mono, 16 bits
  bytes += "data", put(data, 4);
  for (const float x : sound.samples) {
    put(static_cast<uint32_t>(std::lround(std::clamp(x, -1.0f, 1.0f) * 32767)), 2);
  }
  write_file_atomically(path, bytes);
}

}  // namespace reel::examples
