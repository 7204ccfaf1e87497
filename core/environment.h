// Switches in the environment: REEL_EAGER=1, REEL_POISON=1, REEL_VERIFY=1,
// REEL_MACHINE_CODE=0.
#pragma once

#include <cstdlib>
#include <string_view>

namespace reel {

// On where it is set to anything but nothing or 0.
inline bool switched_on(const char* name) {
  const char* value = std::getenv(name);
  return value && *value && std::string_view(value) != "0";
}

// Off where it is set to 0.
inline bool switched_off(const char* name) {
  const char* value = std::getenv(name);
  return value && std::string_view(value) == "0";
}

}  // namespace reel
