// OUT/metrics.jsonl: one JSON object for each logged step.
#pragma once

#include <string>
#include <vector>

#include "examples/common/field.h"

namespace reel::examples {

class Metrics {
 public:
  // Creates the folder. A new run starts the file anew; a resumed one appends, after dropping a line that the
  // interrupted run left unfinished.
  explicit Metrics(const std::string& out_dir, bool resume = false);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // metrics.log({{"step", step}, {"loss", loss}}). Written at once; NaN and infinities become null; doubles
  // keep all their digits. Throws, naming the file, when it cannot be written; the file then ends in a whole
  // line.
  void log(const std::vector<Field>& fields);
  // Drops the lines of later steps, which the run that is resumed wrote after its checkpoint.
  void keep_through(long step);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace reel::examples
