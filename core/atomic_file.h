// Writing a whole file so that a reader finds the old one or the new one, never half of either.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace reel {

// A temporary file in the same folder is written, synced and renamed over `path`; mode 0644 less the umask.
// On any failure (full disk, read-only folder, failing close) it is removed, the old file is as it was, and
// Error names the file and the reason. A link is followed; a character device (/dev/stdout) is written
// straight.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace reel
