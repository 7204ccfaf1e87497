// Owns how bytes on disk become text: detection, decompression, bounds, UTF-8.
#include "examples/common/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>

#include "core/error.h"

namespace reel::examples {
namespace {

constexpr std::size_t block = std::size_t{1} << 20;

[[noreturn]] void too_large(const std::string& path, std::size_t most) {
  fail("{} holds more than {} bytes of text, the most that is read.", path, most);
}

// An open file, closed at the end of the scope.
struct File {
  int id;
  explicit File(const std::string& path)
      : id(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {
    if (id < 0) fail("{} could not be opened: {}.", path, std::generic_category().message(errno));
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(id); }
};

// The bytes as they are on disk. A pipe is fine (a shell's <(...)), a device is not: it may never end.
std::string read_bytes(const std::string& path, std::size_t most) {
  const File file(path);
  struct stat status {};
  if (::fstat(file.id, &status) != 0) fail("{}: {}.", path, std::generic_category().message(errno));
  if (S_ISDIR(status.st_mode)) fail("{} is a directory; want a text file.", path);
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) fail("{} is a device; want a text file.", path);
  ::fcntl(file.id, F_SETFL, 0);  // opened without waiting, so that no device can block; now reading may wait

  const auto size = static_cast<std::size_t>(S_ISREG(status.st_mode) ? status.st_size : 0);
  if (size > most) too_large(path, most);
  std::string bytes;
  bytes.reserve(size + 1);
  for (std::size_t end = 0;;) {
    bytes.resize(std::max(end + 1, std::min(end + block, bytes.capacity())));
    const ssize_t count = ::read(file.id, bytes.data() + end, bytes.size() - end);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("{} could not be read: {}.", path, std::generic_category().message(errno));
    end += static_cast<std::size_t>(count);
    if (end > most) too_large(path, most);
    if (count == 0) {
      bytes.resize(end);
      return bytes;
    }
  }
}

// All gzip members one after another; bytes that are none after the first are left alone, as gunzip does.
std::string gunzip(const std::string& packed, const std::string& path, std::size_t most) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, inflateEnd);
  const auto* next = reinterpret_cast<const Bytef*>(packed.data());
  std::size_t left = packed.size();
  std::string text, buffer(block, '\0');
  while (true) {
    stream.next_in = const_cast<Bytef*>(next);
    stream.avail_in = static_cast<uInt>(std::min(left, block));
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(block);
    const int status = inflate(&stream, Z_NO_FLUSH);
    left -= static_cast<std::size_t>(stream.next_in - next);
    next = stream.next_in;
    text.append(buffer, 0, block - stream.avail_out);
    if (text.size() > most) too_large(path, most);
    if (status == Z_STREAM_END) {
      const bool another = left >= 2 && next[0] == 0x1f && next[1] == 0x8b;
      if (!another) return text;
      inflateReset(&stream);
    } else if (status == Z_BUF_ERROR || (status == Z_OK && left == 0 && stream.avail_out > 0)) {
      fail("{} is cut short: its gzip data stops after {} bytes of text.", path, text.size());
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != Z_OK) {
      fail("{} is damaged: its gzip data breaks after {} bytes of text ({}).", path, text.size(),
           stream.msg != nullptr ? stream.msg : "no reason given");
    }
  }
}

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;

Archive open_zip(const std::string& packed, const std::string& path) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(packed.data(), packed.size(), 0, &error);
  zip_t* archive = source != nullptr ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  if (archive == nullptr) {
    if (source != nullptr) zip_source_free(source);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail("{} is a damaged zip file: {}.", path, reason);
  }
  zip_error_fini(&error);
  return {archive, zip_discard};
}

// Names such as _about.txt and .DS_Store are about the archive, not its text.
bool is_text(std::string_view name) {
  const std::string_view base = name.substr(name.rfind('/') + 1);
  return !base.starts_with('_') && !base.starts_with('.') &&
         (name.ends_with(".txt") || name.ends_with(".TXT"));
}

// The number of the only file, or of the only .txt file.
zip_uint64_t text_member(zip_t* archive, const std::string& path) {
  std::optional<zip_uint64_t> only, only_txt;
  long files = 0, txt_files = 0;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
    const auto index = static_cast<zip_uint64_t>(i);
    const char* raw = zip_get_name(archive, index, 0);
    const std::string_view name = raw != nullptr ? raw : "";
    if (name.ends_with('/')) continue;
    only = index, ++files;
    if (is_text(name)) only_txt = index, ++txt_files;
  }
  if (files == 1) return *only;
  if (txt_files == 1) return *only_txt;
  fail("{} holds {} files, {} of them .txt; want a zip with one file, or with one .txt.", path, files,
       txt_files);
}

std::string unzip(const std::string& packed, const std::string& path, std::size_t most) {
  const Archive archive = open_zip(packed, path);
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> member(
      zip_fopen_index(archive.get(), text_member(archive.get(), path), 0), zip_fclose);
  if (!member) fail("{} could not be unpacked: {}.", path, zip_strerror(archive.get()));
  std::string text, buffer(block, '\0');
  while (true) {
    const zip_int64_t count = zip_fread(member.get(), buffer.data(), block);
    if (count < 0) fail("{} is a damaged zip file: {}.", path, zip_file_strerror(member.get()));
    if (count == 0) return text;
    text.append(buffer, 0, static_cast<std::size_t>(count));
    if (text.size() > most) too_large(path, most);
  }
}

// The length of the valid UTF-8 sequence at the start of `text` (RFC 3629, table 3-7 of Unicode), 0 if there
// is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return byte(i) >> 6 == 2; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool beyond = first == 0xF4 && second > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string read_text(const std::string& path, std::size_t most) {
  std::string bytes = read_bytes(path, most);
  if (bytes.starts_with("\x1f\x8b"))
    bytes = gunzip(bytes, path, most);
  else if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06"))
    bytes = unzip(bytes, path, most);
  if (bytes.empty()) fail("{} is empty; want text.", path);
  return bytes;
}

void check_utf8(std::string_view text, const std::string& path) {
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    fail("{} is UTF-16; want UTF-8 (iconv -f UTF-16 -t UTF-8 converts it).", path);
  }
  long line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text.substr(at, 4));
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte == 0) fail("{} looks binary: line {}, byte {} is NUL; want UTF-8 text.", path, line, at);
    if (length == 0) {
      fail("{} is not UTF-8: line {}, byte {} (0x{:02x}) starts no valid character.", path, line, at, byte);
    }
    line += byte == '\n' ? 1 : 0;
    at += length;
  }
}

bool looks_binary(std::string_view text) { return text.find('\0') != std::string_view::npos; }

std::vector<std::string_view> lines(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<std::string_view> result;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    result.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return result;
}

std::string_view utf8_first(std::string_view text) {
  return text.substr(0, std::max<std::size_t>(1, utf8_length(text.substr(0, 4))));
}

std::vector<std::string_view> utf8_chars(std::string_view text) {
  std::vector<std::string_view> result;
  for (; !text.empty(); text.remove_prefix(result.back().size())) result.push_back(utf8_first(text));
  return result;
}

}  // namespace reel::examples
