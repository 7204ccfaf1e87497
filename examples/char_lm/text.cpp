#include "examples/char_lm/text.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "examples/common/text_file.h"

namespace reel::examples {

Characters::Characters(std::string_view text) {
  std::set<std::string_view> seen;  // in order: bytes of UTF-8 sort as code points do
  while (!text.empty()) {
    const std::string_view c = utf8_first(text);
    seen.insert(c);
    text.remove_prefix(c.size());
  }
  characters_.assign(seen.begin(), seen.end());
}

std::vector<int64_t> Characters::encode(std::string_view text, const std::string& what) const {
  std::vector<int64_t> ids;
  ids.reserve(text.size());
  while (!text.empty()) {
    const std::string_view c = utf8_first(text);
    text.remove_prefix(c.size());
    const auto found = std::lower_bound(characters_.begin(), characters_.end(), c);
    if (found == characters_.end() || *found != c) {
      fail("{}: the character '{}' is not among the {} that the model knows", what, c, characters_.size());
    }
    ids.push_back(found - characters_.begin());
  }
  return ids;
}

std::string Characters::joined() const {
  std::string all;
  for (const std::string& c : characters_) all += c;
  return all;
}

Streams::Streams(std::vector<int64_t> text, int64_t batch, int64_t seq, const std::string& what)
    : text_(std::move(text)), batch_(batch), seq_(seq) {
  const auto n = static_cast<int64_t>(text_.size());
  length_ = n > 0 ? (n - 1) / batch : 0;
  if (length_ < seq) {
    fail(
        "{}: {} characters make {} streams of {}: want at least --seq {} in each, so a longer text, a "
        "smaller --batch or "
        "a smaller --seq",
        what, n, batch, length_, seq);
  }
}

Streams::Chunk Streams::chunk(int64_t index) const {
  std::vector<int64_t> inputs, targets;
  for (int64_t t = index * seq_; t < (index + 1) * seq_; ++t) {
    for (int64_t b = 0; b < batch_; ++b) {
      inputs.push_back(text_[static_cast<size_t>(b * length_ + t)]);
      targets.push_back(text_[static_cast<size_t>(b * length_ + t + 1)]);
    }
  }
  return {Tensor::from(inputs, {seq_, batch_}), Tensor::from(targets, {seq_, batch_})};
}

}  // namespace reel::examples
