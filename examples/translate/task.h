// What is to be learnt: pairs of texts for training, validation and testing, and their vocabularies.
#pragma once

#include <map>
#include <string>

#include "examples/translate/corpus.h"
#include "examples/translate/dates.h"

namespace reel::examples {

inline constexpr size_t most_words = 1000;  // of a sentence to be translated: the time grows with the square

struct TaskOptions {
  std::vector<std::string> data, valid, test;  // SRC TGT or one TSV each; without `data` the task is dates
  long min_count = 2;
  long max_words = 30000;
  long max_length = 60;
  bool raw = false, lower = false;
  uint64_t seed = 1;
};

struct Task {
  bool dates = false;
  TextOptions text;
  ParallelText train_text, valid_text, test_text;
  Vocab source, target;
  Corpus train, valid, test;

  static Task make(const TaskOptions& options);

  // The part that a saved model carries along, to translate without the data; and back.
  std::map<std::string, std::string> about() const;
  static Task known(const std::map<std::string, std::string>& about, const std::string& path);

  std::string in_words(const Tokens& tokens) const { return join(tokens, text.kind); }
};

}  // namespace reel::examples
