// Owns the file metrics.jsonl while a run writes it.
#include "examples/common/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/error.h"

namespace reel::examples {
namespace {

[[noreturn]] void cannot_write(const std::string& path, int error) {
  fail("{} could not be written: {}.", path, std::generic_category().message(error));
}

// The length of the file up to its last newline: a killed run may have left half a line.
off_t whole_lines(int file, off_t end) {
  for (char c = 0; end > 0; --end) {
    if (::pread(file, &c, 1, end - 1) != 1 || c == '\n') break;
  }
  return end;
}

}  // namespace

Metrics::Metrics(const std::string& out_dir, bool resume) : path_(out_dir + "/metrics.jsonl") {
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  if (error) fail("The folder {} could not be made: {}.", out_dir, error.message());
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (resume ? 0 : O_TRUNC), 0644);
  if (file_ < 0) cannot_write(path_, errno);
  struct stat status {};
  if (!resume || ::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) return;
  if (::ftruncate(file_, whole_lines(file_, status.st_size)) == 0) return;
  const int reason = errno;
  ::close(file_);
  cannot_write(path_, reason);
}

Metrics::~Metrics() { ::close(file_); }

void Metrics::keep_through(long step) {
  std::ifstream file(path_);
  off_t end = 0;
  for (std::string line; std::getline(file, line); end += static_cast<off_t>(line.size()) + 1) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const auto at = object.is_object() ? object.find("step") : object.end();
    if (at == object.end() || !at->is_number_integer() || at->get<long>() <= step) continue;
    if (::ftruncate(file_, end) != 0) cannot_write(path_, errno);
    return;
  }
}

void Metrics::log(const std::vector<Field>& fields) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const Field& field : fields) {
    std::visit([&](const auto& value) { object[field.key] = value; }, field.value);
  }
  const std::string line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";

  struct stat before {};
  ::fstat(file_, &before);
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t written = ::write(file_, line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      if (S_ISREG(before.st_mode) && ::ftruncate(file_, before.st_size) != 0) {
        fail("{} could not be written and ends in half a line: {}.", path_,
             std::generic_category().message(error));
      }
      cannot_write(path_, error);
    }
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace reel::examples
