// A text as character ids, and the order in which training reads it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace reel::examples {

// The distinct characters of a text (code points), sorted; the id of a character is its position.
class Characters {
 public:
  explicit Characters(std::string_view text);

  int64_t size() const { return static_cast<int64_t>(characters_.size()); }
  const std::string& operator[](int64_t id) const { return characters_[static_cast<size_t>(id)]; }
  // Throws where a character is not in the vocabulary; `what` names the text.
  std::vector<int64_t> encode(std::string_view text, const std::string& what) const;
  std::string joined() const;  // all of them, for a file's metadata

 private:
  std::vector<std::string> characters_;
};

// A text of n characters cut into `batch` streams of floor((n - 1) / batch), read side by side, `seq` at a
// time. The target of a character is the one after it.
class Streams {
 public:
  Streams(std::vector<int64_t> text, int64_t batch, int64_t seq, const std::string& what);

  int64_t chunks() const { return length_ / seq_; }  // before a pass ends, and the state starts again at zero
  struct Chunk {
    Tensor inputs, targets;  // ids [seq, batch]
  };
  Chunk chunk(int64_t index) const;

 private:
  std::vector<int64_t> text_;
  int64_t batch_, seq_, length_;
};

}  // namespace reel::examples
