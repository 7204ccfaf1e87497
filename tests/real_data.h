// Where the tests' real data is: the folder REEL_DATA, else ../shared/data beside the sources.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace reel {

// The path of a file or folder of it; empty, after saying so, where there is none.
inline std::string real_data(const std::string& name) {
  const char* folder = std::getenv("REEL_DATA");
  const std::string path =
      (folder != nullptr ? std::string(folder) : std::string(REEL_SOURCE_DIR "/../shared/data")) + "/" + name;
  if (std::filesystem::exists(path)) return path;
  MESSAGE("skipped: there is no " << path);
  return "";
}

}  // namespace reel
