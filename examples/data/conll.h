// Tagged sentences, as CoNLL's tasks and WNUT 2017 write them: "word TAB tag", a blank line between
// sentences.
#pragma once

#include <compare>
#include <string>
#include <vector>

namespace reel::examples {

struct TaggedSentence {
  std::vector<std::string> words, tags;
};

// Tags are IOB2: O, B-TYPE where an entity begins, I-TYPE inside one. Throws, naming file and line.
std::vector<TaggedSentence> read_conll(const std::string& path);
// All tags, O first.
std::vector<std::string> tags_of(const std::vector<TaggedSentence>& sentences);

// Words begin to end - 1 are one entity.
struct Entity {
  std::size_t begin, end;
  std::string type;
  auto operator<=>(const Entity&) const = default;
};
// An I-TYPE that continues no entity of its type begins one, as conlleval counts it.
std::vector<Entity> entities(const std::vector<std::string>& tags);

// Entities count as found when both ends and the type are right (CoNLL 2003).
struct EntityScore {
  long found = 0, predicted = 0, wanted = 0;

  void add(const std::vector<std::string>& predicted_tags, const std::vector<std::string>& true_tags);
  double precision() const;
  double recall() const;
  double f1() const;  // of precision and recall, 0 to 1
};

}  // namespace reel::examples
