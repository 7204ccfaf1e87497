// Owns the order of steps that makes replacing a file safe: temporary, write, sync, rename, sync of the
// folder.
#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "core/error.h"

namespace reel {
namespace {

[[noreturn]] void cannot_write(const std::string& path, int error) {
  fail("{} could not be written: {}.", path, std::generic_category().message(error));
}

// 0, or the errno of what failed.
int write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return 0;
}

// Some file systems cannot sync and answer EINVAL; that is no reason to lose the file.
int sync(int file) { return ::fsync(file) == 0 || errno == EINVAL ? 0 : errno; }

void write_straight(const std::string& path, std::span<const std::byte> bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) cannot_write(path, errno);
  int error = write_all(file, bytes);
  if (::close(file) != 0 && error == 0) error = errno;
  if (error != 0) cannot_write(path, error);
}

// The file behind a link, or behind several, so that the link stays one; it need not exist yet.
std::string target_of(const std::string& path) {
  constexpr int most_links = 40;  // as in the kernel
  std::filesystem::path target = path;
  for (int i = 0; i < most_links; ++i) {
    std::error_code error;
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) return target.string();  // no link
    target = target.parent_path() / next;
  }
  cannot_write(path, ELOOP);
}

// A new file beside the target, with the mode that an ordinary new file gets.
struct Temporary {
  std::string name;
  int file = -1;

  explicit Temporary(const std::string& folder) {
    static std::atomic<unsigned> count{0};
    do {
      name = fmt::format("{}/.reel-{}-{}.tmp", folder, ::getpid(), count++);
      file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (file < 0 && errno == EEXIST);
  }

  int close() { return ::close(std::exchange(file, -1)) == 0 ? 0 : errno; }
};

void sync_folder(const std::string& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;  // not readable: the rename stands, it only may come back undone from a power cut
  ::fsync(file);
  ::close(file);
}

}  // namespace

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  const std::string target = target_of(path);
  struct stat there {};
  if (::stat(target.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    if (S_ISCHR(there.st_mode)) return write_straight(target, bytes);
    fail("{} could not be written: it is {}, not a file.", path,
         S_ISDIR(there.st_mode) ? "a directory" : "a pipe, socket or block device");
  }
  if (path.empty() || path.back() == '/') fail("\"{}\" could not be written: want the name of a file.", path);

  const std::size_t slash = target.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : target.substr(0, slash);
  Temporary temporary(folder);
  if (temporary.file < 0) cannot_write(path, errno);

  int error = write_all(temporary.file, bytes);
  if (error == 0) error = sync(temporary.file);
  if (const int closing = temporary.close(); error == 0) error = closing;
  if (error == 0 && ::rename(temporary.name.c_str(), target.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary.name.c_str());
    cannot_write(path, error);
  }
  sync_folder(folder);
}

void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace reel
