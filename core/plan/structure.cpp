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

void node_words(const Node* n, bool stays, int32_t floats, std::vector<uint64_t>& words) {
  const Op& op = *n->op;
  const bool integers = op.kind != Kind::source && (n->attrs.i[0] | n->attrs.i[1] | n->attrs.i[2]) != 0;
  words.push_back(std::bit_cast<uint64_t>(n->op));
  // The dtype is not always the inputs': integers divide into the default one.
  const uint64_t inputs = std::min<uint64_t>(n->inputs, 0xffff);
  if (inputs == 0xffff) words.push_back(n->inputs);
  words.push_back(inputs << 16 | static_cast<uint64_t>(n->dtype) << 8 |
                  static_cast<uint64_t>(n->list != nullptr) << 3 | static_cast<uint64_t>(integers) << 2 |
                  static_cast<uint64_t>(stays) << 1 | static_cast<uint64_t>(n->requires_grad) |
                  static_cast<uint64_t>(static_cast<uint32_t>(floats)) << 32);
  if (integers) {
    for (int64_t i : n->attrs.i) words.push_back(static_cast<uint64_t>(i));
  }
  if (op.shape_is_argument) {
    words.push_back(static_cast<uint64_t>(n->dtype) << 8 | static_cast<uint64_t>(n->shape.rank()));
    shape_words(n->shape, words);
  }
  if (n->list) {
    words.push_back(n->list->size());
    for (int64_t i : *n->list) words.push_back(static_cast<uint64_t>(i));
  }
}

}  // namespace

namespace {

// The nodes through which a backward() from `loss` will pass.
std::vector<bool> passed_by(const Node* loss, const std::vector<Node*>& nodes) {
  std::vector<bool> passed(nodes.size(), false);
  if (!loss) return passed;
  passed[static_cast<size_t>(loss->index)] = true;
  for (size_t k = nodes.size(); k-- > 0;) {
    if (!passed[k]) continue;
    for (uint32_t i = 0; i < nodes[k]->inputs; ++i) {
      const Node* input = nodes[k]->in[i];
      if (input->state == State::pending && input->requires_grad)
        passed[static_cast<size_t>(input->index)] = true;
    }
  }
  return passed;
}

}  // namespace

void read_structure(const std::vector<Node*>& pending, Pending& out, const Node* loss) {
  const explain::Scope scope(explain::Phase::structure);
  out.words.assign(1, passes().bits());
  out.leaves.clear();
  out.nodes.clear();
  out.floats.clear();
  out.open = false;
  for (Node* n : pending) {
    if (!n) continue;
    n->index = static_cast<int64_t>(out.nodes.size());
    out.nodes.push_back(n);
  }
  out.passed = passed_by(loss, out.nodes);
  // A value stays where a handle holds it, or a later call that stays and may still be differentiated.
  out.stays.assign(out.nodes.size(), false);
  for (size_t k = out.nodes.size(); k-- > 0;) {
    const Node* n = out.nodes[k];
    if (n->handles > 0) out.stays[k] = true;
    if (!out.stays[k] || !holds_inputs(n) || out.passed[k]) continue;
    for (uint32_t i = 0; i < n->inputs; ++i) {
      if (n->in[i]->state == State::pending) out.stays[static_cast<size_t>(n->in[i]->index)] = true;
    }
  }
  FloatTable table(out.floats);
  out.floats_of.resize(out.nodes.size());
  for (size_t k = 0; k < out.nodes.size(); ++k) {
    const Node* n = out.nodes[k];
    out.floats_of[k] = table.number(n->attrs.f);
    node_words(n, out.stays[k], out.floats_of[k], out.words);
    for (uint32_t i = 0; i < n->inputs; ++i) {
      Node* input = n->in[i];
      if (input->state == State::pending) {
        out.words.push_back(static_cast<uint64_t>(input->index) << 1);
        continue;
      }
      out.open = out.open || (out.passed[k] && input->requires_grad && (input->op || !input->owner));
      // A leaf is numbered where it is first met; `index` says which number, if it is one of this run.
      const auto known = static_cast<size_t>(input->index);
      if (input->index < 0 || known >= out.leaves.size() || out.leaves[known] != input) {
        input->index = static_cast<int64_t>(out.leaves.size());
        out.leaves.push_back(input);
        leaf_words(input, out.words);
      }
      out.words.push_back(static_cast<uint64_t>(input->index) << 1 | 1);
    }
  }
  out.hash = hash_of(out.words);
}

}  // namespace reel::plan
