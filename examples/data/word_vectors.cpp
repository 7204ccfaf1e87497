#include "examples/data/word_vectors.h"

#include "examples/common/text_file.h"
#include "examples/data/dice.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

int64_t WordVectors::find(const std::string& word) const {
  const auto found = ids.find(word);
  return found == ids.end() ? -1 : found->second;
}

WordVectors read_word_vectors(const std::string& path) {
  LineReader in(path, most_text_bytes);
  WordVectors vectors;
  while (in.next()) {
    const auto fields = words_of(in.line());
    if (fields.empty()) continue;
    if (in.number() == 1 && fields.size() == 2) continue;  // word2vec's header
    const auto width = static_cast<int64_t>(fields.size()) - 1;
    if (vectors.words.empty()) vectors.width = width;
    if (width == 0) in.wrong("{}: want a word and its numbers", quoted(in.line()));
    if (width != vectors.width) {
      in.wrong("{} has {} numbers; want {}, as the lines before", quoted(fields[0]), width, vectors.width);
    }
    if (!vectors.ids.emplace(fields[0], static_cast<int64_t>(vectors.words.size())).second) {
      in.wrong("{} comes twice: want each word once", quoted(fields[0]));
    }
    vectors.words.emplace_back(fields[0]);
    for (std::size_t k = 1; k < fields.size(); ++k) {
      vectors.values.push_back(static_cast<float>(in.number_in(fields[k])));
    }
  }
  if (vectors.words.empty()) fail("{} holds no vectors: want lines of a word and its numbers", path);
  return vectors;
}

std::vector<double> initial_vectors(const Symbols& vocabulary, const WordVectors& known, uint64_t seed) {
  Dice dice(seed, 0);
  std::vector<double> values;
  for (int64_t id = 0; id < vocabulary.size(); ++id) {
    const int64_t row = known.find(vocabulary.name(id));
    for (int64_t k = 0; k < known.width; ++k) {
      values.push_back(row < 0 ? 0.1 * dice.noise()
                               : known.values[static_cast<std::size_t>(row * known.width + k)]);
    }
  }
  return values;
}

}  // namespace reel::examples
