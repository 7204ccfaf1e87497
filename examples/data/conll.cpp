#include "examples/data/conll.h"

#include <algorithm>
#include <set>

#include "examples/data/line_reader.h"

namespace reel::examples {

namespace {

bool is_iob2(std::string_view tag) {
  return tag == "O" || (tag.size() > 2 && (tag.starts_with("B-") || tag.starts_with("I-")));
}

double ratio(long part, long whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::vector<TaggedSentence> read_conll(const std::string& path) {
  LineReader in(path);
  std::vector<TaggedSentence> sentences;
  bool open = false;
  while (in.next()) {
    if (trimmed(in.line()).empty()) {
      open = false;
      continue;
    }
    const auto fields = fields_of(in.line(), '\t');
    if (fields.size() != 2 || fields[0].empty()) in.wrong("{}: want word TAB tag", quoted(in.line()));
    const std::string_view tag = trimmed(fields[1]);
    if (!is_iob2(tag)) in.wrong("the tag {}: want O, B-TYPE or I-TYPE", quoted(tag));
    if (!open) sentences.emplace_back();
    open = true;
    sentences.back().words.emplace_back(fields[0]);
    sentences.back().tags.emplace_back(tag);
  }
  if (sentences.empty()) fail("{} holds no sentence: want lines of word TAB tag", path);
  return sentences;
}

std::vector<std::string> tags_of(const std::vector<TaggedSentence>& sentences) {
  std::set<std::string> all;
  for (const TaggedSentence& sentence : sentences) all.insert(sentence.tags.begin(), sentence.tags.end());
  all.erase("O");
  std::vector<std::string> tags{"O"};
  tags.insert(tags.end(), all.begin(), all.end());
  return tags;
}

std::vector<Entity> entities(const std::vector<std::string>& tags) {
  std::vector<Entity> found;
  bool inside = false;
  for (std::size_t t = 0; t < tags.size(); ++t) {
    if (tags[t] == "O") {
      inside = false;
      continue;
    }
    const std::string type = tags[t].substr(2);
    if (tags[t][0] == 'I' && inside && found.back().type == type) {
      found.back().end = t + 1;
    } else {
      found.push_back({t, t + 1, type});
    }
    inside = true;
  }
  return found;
}

void EntityScore::add(const std::vector<std::string>& predicted_tags,
                      const std::vector<std::string>& true_tags) {
  const auto ours = entities(predicted_tags), theirs = entities(true_tags);
  for (const Entity& entity : ours) found += std::ranges::count(theirs, entity);
  predicted += static_cast<long>(ours.size());
  wanted += static_cast<long>(theirs.size());
}

double EntityScore::precision() const { return ratio(found, predicted); }
double EntityScore::recall() const { return ratio(found, wanted); }
double EntityScore::f1() const { return ratio(2 * found, predicted + wanted); }

}  // namespace reel::examples
