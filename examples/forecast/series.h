// A series of numbers in time: made up, or a column of a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reel::examples {

// dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t), at every third unit of time: chaotic, though its
// next value follows from the last six (Mackey and Glass 1977). It begins on a constant that the seed
// chooses.
std::vector<double> mackey_glass(std::size_t count, uint64_t seed);

// In units of the first part's mean and deviation; the other fifth of it is for the test.
struct TimeSeries {
  std::vector<double> train, test;
  double mean, deviation;

  // `where` is for the message when it is too short or constant: both parts have to hold `least` values.
  TimeSeries(const std::vector<double>& values, std::size_t least, const std::string& where);
};

// The column of this name, or the last one, of a CSV or TSV file with a header. Throws, naming file and line.
std::vector<double> read_column(const std::string& path, const std::string& name);

}  // namespace reel::examples
