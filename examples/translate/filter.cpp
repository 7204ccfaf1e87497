#include "examples/translate/filter.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "examples/common/checkpoint.h"
#include "examples/common/say.h"
#include "examples/translate/model.h"
#include "examples/translate/task.h"

namespace reel::examples {

namespace {

// The model of the file has the sizes of the file's matrices.
TranslatorSizes sizes_in(const SafetensorsFile& file, const std::string& path, const Task& task) {
  const auto want = [&](const std::string& name, const Shape& wanted) {
    const Shape shape = matrix_in(file, path, name);
    if (!(shape == wanted)) fail("{}: '{}' has shape {}: want {}", path, name, shape, wanted);
  };
  const auto source = static_cast<int64_t>(task.source.size()),
             target = static_cast<int64_t>(task.target.size());
  const auto [hidden, layers] = recurrent_in(file, path, "encoder");
  const int64_t embedding = matrix_in(file, path, "source.weight")[1];
  want("source.weight", {source, embedding});
  want("target.weight", {target, embedding});
  want("readout.weight", {embedding, embedding + 3 * hidden});
  return {source, target, embedding, hidden, layers};
}

// The next line of standard input, without its end; false after the last one.
bool read_line(std::string& line, long number) {
  line.clear();
  for (int c = 0; (c = std::getc(stdin)) != EOF && c != '\n';) {
    if (line.size() == most_line_bytes) {
      fail("standard input, line {}: more than {} bytes; want one sentence a line", number, most_line_bytes);
    }
    line += static_cast<char>(c);
  }
  if (std::ferror(stdin))
    fail("standard input could not be read: {}", std::generic_category().message(errno));
  const bool any = !line.empty() || !std::feof(stdin);
  if (line.ends_with('\r')) line.pop_back();
  return any;
}

}  // namespace

int translate_input(const std::string& model_path) {
  const SafetensorsFile file = load_safetensors(model_path);
  const Task task = Task::known(file.metadata, model_path);
  Translator model(sizes_in(file, model_path, task));
  load_weights(model_path, model);
  model.eval();
  long count = 0;
  for (std::string line; !output_closed() && read_line(line, count + 1); ++count) {
    Tokens words = tokenise_text(line, task.text);
    if (words.size() > most_words) {
      say_err("translate: standard input, line {}: {} words; only the first {} are translated\n", count + 1,
              words.size(), most_words);
      words.resize(most_words);
    }
    if (words.empty()) {
      say("\n");
      continue;
    }
    Corpus corpus;
    corpus.source.push_back(task.source.encode(words));
    corpus.target.emplace_back();
    const size_t row = 0;
    const Batch batch = assemble(corpus, {&row, 1});
    say("{}\n", task.in_words(task.target.decode(model.greedy(batch, 2 * batch.src_len + 10)[0].ids)));
  }
  if (!output_closed()) say_err("translate: {} lines\n", count);
  return 0;
}

}  // namespace reel::examples
