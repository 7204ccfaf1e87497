// How often a classifier is right, and which class it takes for which.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/common/svg.h"

namespace reel::examples {

double accuracy(const std::vector<int64_t>& guessed, const std::vector<int64_t>& truth);

// Rows are true classes, columns guessed ones; each row adds up to 1.
HeatMap confusion(const std::string& title, const std::vector<std::string>& classes,
                  const std::vector<int64_t>& guessed, const std::vector<int64_t>& truth);

}  // namespace reel::examples
