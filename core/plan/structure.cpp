// Reads the pending nodes of a tape: which stay, and the words that identify their structure.
#include <algorithm>
#include <bit>

#include "core/hash.h"
#include "core/plan/explain.h"

namespace reel::plan {

namespace {

bool holds_inputs(const Node* n) { return n->requires_grad && !n->released; }

void shape_words(const Shape& shape, std::vector<uint64_t>& words) {
  for (int64_t d : shape) words.push_back(static_cast<uint64_t>(d));
}

void leaf_words(const Node* n, std::vector<uint64_t>& words) {
  const bool plain = is_contiguous(n->shape, n->value->strides);
  words.push_back(uint64_t{1} << 63 | static_cast<uint64_t>(n->dtype) << 8 |
                  static_cast<uint64_t>(n->requires_grad) << 7 | static_cast<uint64_t>(n->shape.rank()) << 1 |
                  static_cast<uint64_t>(plain));
  shape_words(n->shape, words);
  if (plain) return;
  for (int i = 0; i < n->shape.rank(); ++i) {
    words.push_back(static_cast<uint64_t>(n->value->strides[static_cast<size_t>(i)]));
  }
}

// Numbers the different constants of a run, so that calls with equal ones can be seen to be equal. Which of
// them are equal is structure, their values are not.
class FloatTable {
 public:
  explicit FloatTable(std::vector<Floats>& floats) : floats_(floats) { recent_.fill(-1); }
  int32_t number(const Floats& f) {
    if (std::bit_cast<uint64_t>(f[0]) == 0 && std::bit_cast<uint64_t>(f[1]) == 0) return -1;
    int32_t& at = recent_[mix(std::bit_cast<uint64_t>(f[0]), std::bit_cast<uint64_t>(f[1])) >> 58];
    if (at >= 0 && equal(floats_[static_cast<size_t>(at)], f)) return at;
    at = static_cast<int32_t>(floats_.size());
    floats_.push_back(f);
    return at;
  }

 private:
  static bool equal(const Floats& a, const Floats& b) {
    return std::bit_cast<uint64_t>(a[0]) == std::bit_cast<uint64_t>(b[0]) &&
           std::bit_cast<uint64_t>(a[1]) == std::bit_cast<uint64_t>(b[1]);
  }
  std::vector<Floats>& floats_;
  std::array<int32_t, 64> recent_;
};

// Three integers; in one word where they are small.
void integer_words(const std::array<int64_t, 3>& i, std::vector<uint64_t>& words) {
  constexpr int kBits = 21;
  const auto word = [&](size_t k) { return static_cast<uint64_t>(i[k]); };
  if ((word(0) | word(1) | word(2)) >> kBits == 0) {
    words.push_back(word(0) << 2 * kBits | word(1) << kBits | word(2));
  } else {
    words.insert(words.end(), {~uint64_t{0}, word(0), word(1), word(2)});
  }
}

void node_words(const Node* n, int32_t floats, Pending& out) {
  std::vector<uint64_t>& words = out.words;
  const Op& op = *n->op;
  const bool integers = op.kind != Kind::source && (n->attrs.i[0] | n->attrs.i[1] | n->attrs.i[2]) != 0;
  const bool shape = op.shape_is_argument && !op.body;  // a body's shapes are its own
  const bool much = n->inputs > 0xff || floats >= 0;
  // The dtype is not always the inputs': integers divide into the default one.
  words.push_back(std::bit_cast<uint64_t>(n->op) << 16 | static_cast<uint64_t>(n->inputs & 0xff) << 8 |
                  static_cast<uint64_t>(n->dtype) << 5 | static_cast<uint64_t>(much) << 4 |
                  static_cast<uint64_t>(n->list != nullptr) << 3 | static_cast<uint64_t>(integers) << 2 |
                  static_cast<uint64_t>(n->requires_grad));
  if (much) words.push_back(static_cast<uint64_t>(n->inputs) << 32 | static_cast<uint32_t>(floats));
  if (integers) integer_words(n->attrs.i, words);
  if (shape) {
    words.push_back(static_cast<uint64_t>(n->shape.rank()));
    shape_words(n->shape, words);
  }
  if (n->list) {
    words.push_back(n->list->size());
    out.lists->insert(out.lists->end(), n->list->begin(), n->list->end());
  }
}

}  // namespace

namespace {

// The nodes through which a backward() from `loss` will pass, and the values that stay: where a handle holds
// them, or a later call that stays and may still be differentiated.
void look_back(const Node* loss, Pending& out) {
  out.passed.assign(out.nodes.size(), false);
  out.stays.assign(out.nodes.size(), false);
  if (loss) out.passed[static_cast<size_t>(loss->index)] = true;
  for (size_t k = out.nodes.size(); k-- > 0;) {
    const Node* n = out.nodes[k];
    const bool passed = out.passed[k], stays = out.stays[k] || n->held();
    out.stays[k] = stays;
    const bool holds = stays && holds_inputs(n) && !passed;
    if (!passed && !holds) continue;
    for (uint32_t i = 0; i < n->inputs; ++i) {
      const Node* input = n->in[i];
      if (input->state != State::pending) {
        out.open = out.open || (passed && input->requires_grad && (input->op || !input->owner));
        continue;
      }
      if (passed && input->requires_grad) out.passed[static_cast<size_t>(input->index)] = true;
      if (holds) out.stays[static_cast<size_t>(input->index)] = true;
    }
  }
}

// Which value it is. A leaf is numbered where it is first met; `index` says which number, if it is one of
// this run.
uint64_t input_word(Node* input, Pending& out) {
  if (input->state != State::pending) {
    const auto known = static_cast<size_t>(input->index);
    if (input->index < 0 || known >= out.leaves.size() || out.leaves[known] != input) {
      input->index = static_cast<int32_t>(out.leaves.size());
      out.leaves.push_back(input);
      leaf_words(input, out.words);
    }
  }
  return static_cast<uint64_t>(input->index) << 1 | static_cast<uint64_t>(input->state != State::pending);
}

}  // namespace

uint64_t hash_of(const Pending& pending) {
  return mix(
      reel::hash_of(pending.words),
      reel::hash_of({reinterpret_cast<const uint64_t*>(pending.lists->data()), pending.lists->size()}));
}

void read_structure(std::span<Node* const> pending, Pending& out, const Node* loss) {
  const explain::Scope scope(explain::Phase::structure);
  out.words.clear();
  out.words.reserve(out.nodes.size() * 4);  // of the last time
  out.words.insert(out.words.end(),
                   {passes().bits() << 1 | (num_threads() > 1), 0});  // how many nodes: below
  out.lists = std::make_shared<std::vector<int64_t>>();
  out.leaves.clear();
  out.nodes.clear();
  out.floats.clear();
  out.open = false;
  FloatTable table(out.floats);
  out.nodes.reserve(pending.size());
  out.floats_of.resize(pending.size());
  for (size_t at = 0; at < pending.size(); ++at) {
    constexpr size_t kSoon = 8;
    if (at + kSoon < pending.size() && pending[at + kSoon]) pending[at + kSoon]->prefetch();
    Node* n = pending[at];
    if (!n) continue;
    const size_t k = out.nodes.size();
    n->index = static_cast<int32_t>(k);
    out.nodes.push_back(n);
    out.floats_of[k] = table.number(n->attrs.f);
    node_words(n, out.floats_of[k], out);
    for (uint32_t i = 0; i < n->inputs; i += 2) {  // two to a word
      const uint64_t first = input_word(n->in[i], out);
      const uint64_t second = i + 1 < n->inputs ? input_word(n->in[i + 1], out) : 0;
      out.words.push_back(first << 32 | second);
    }
  }
  out.floats_of.resize(out.nodes.size());
  out.words[1] = out.nodes.size();
  look_back(loss, out);
  uint64_t some = 0;
  for (size_t k = 0; k < out.nodes.size(); ++k) {
    some = some << 1 | static_cast<uint64_t>(out.stays[k]);
    if (k % 64 == 63 || k + 1 == out.nodes.size()) out.words.push_back(std::exchange(some, 0));
  }
  out.hash = hash_of(out);
}

}  // namespace reel::plan
