#include "examples/translate/task.h"

#include "core/error.h"

namespace reel::examples {

namespace {

ParallelText date_text(uint64_t seed, size_t count, Split split) {
  ParallelText text;
  for (size_t k = 0; k < count; ++k) {
    const DatePair pair = date_pair(seed, k, split);
    text.source.push_back(split_characters(pair.source));
    text.target.push_back(split_characters(pair.target));
  }
  return text;
}

ParallelText read(const std::vector<std::string>& paths, const TextOptions& options) {
  return paths.size() == 2 ? read_parallel(paths[0], paths[1], options) : read_tsv(paths[0], options);
}

// Without files of its own, validation and test take every so many-th pair of the training text.
ParallelText held_out(ParallelText& train, size_t part, const std::string& path) {
  if (train.source.size() < part) {
    fail("{}: {} pairs are too few to hold every {}th out of training: want more, or --valid and --test",
         path, train.source.size(), part);
  }
  ParallelText kept, out;
  for (size_t k = 0; k < train.source.size(); ++k) {
    ParallelText& to = k % part == part - 1 ? out : kept;
    to.source.push_back(std::move(train.source[k]));
    to.target.push_back(std::move(train.target[k]));
  }
  train = std::move(kept);
  return out;
}

}  // namespace

Task Task::make(const TaskOptions& o) {
  Task task;
  task.dates = o.data.empty();
  if (task.dates) {
    task.text.kind = TokenKind::characters;
    task.train_text = date_text(o.seed, 20000, Split::train);
    task.valid_text = date_text(o.seed, 256, Split::valid);
    task.test_text = date_text(o.seed, 1000, Split::test);
  } else {
    task.text = {.kind = TokenKind::words, .raw = o.raw || o.data.size() == 1, .lower = o.lower};
    task.train_text = read(o.data, task.text);
    task.valid_text = o.valid.empty() ? held_out(task.train_text, 50, o.data[0]) : read(o.valid, task.text);
    task.test_text = o.test.empty() ? held_out(task.train_text, 50, o.data[0]) : read(o.test, task.text);
  }
  const long least = task.dates ? 1 : o.min_count;
  task.source = Vocab::build(task.train_text.source, least, static_cast<size_t>(o.max_words));
  task.target = Vocab::build(task.train_text.target, least, static_cast<size_t>(o.max_words));
  const auto encoded = [&](const ParallelText& text, const std::vector<std::string>& own, size_t most) {
    try {
      return encode(text, task.source, task.target, most);
    } catch (const Error& e) {
      fail("{}: {}", task.dates ? "dates" : join(own.empty() ? o.data : own, TokenKind::words), e.what());
    }
  };
  const auto most = static_cast<size_t>(o.max_length);
  task.train = encoded(task.train_text, {}, most);
  task.valid = encoded(task.valid_text, o.valid, most);
  task.test = encoded(task.test_text, o.test, most_words);
  return task;
}

std::map<std::string, std::string> Task::about() const {
  return {{"source_vocab", source.text()},
          {"target_vocab", target.text()},
          {"tokens", text.kind == TokenKind::characters ? "characters" : "words"},
          {"raw", text.raw ? "1" : "0"},
          {"lower", text.lower ? "1" : "0"}};
}

Task Task::known(const std::map<std::string, std::string>& about, const std::string& path) {
  const auto entry = [&](const char* key) {
    const auto found = about.find(key);
    if (found == about.end())
      fail("{}: its metadata has no '{}': want a model that translate saved", path, key);
    return found->second;
  };
  Task task;
  task.source = Vocab::parse(entry("source_vocab"), path + " (source_vocab)");
  task.target = Vocab::parse(entry("target_vocab"), path + " (target_vocab)");
  task.text = {.kind = entry("tokens") == "characters" ? TokenKind::characters : TokenKind::words,
               .raw = entry("raw") == "1",
               .lower = entry("lower") == "1"};
  return task;
}

}  // namespace reel::examples
