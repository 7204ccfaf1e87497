// Where nodes lie, and the lists that keep them in tape order.
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "core/tape.h"

namespace reel {

// ---- Lists ----

void NodeList::add(Node* node) {
  node->*at_ = static_cast<int32_t>(nodes_.size());
  nodes_.push_back(node);
}

void NodeList::remove(Node* node) {
  if (!has(node)) return;
  nodes_[static_cast<size_t>(node->*at_)] = nullptr;
  node->*at_ = -1;
  ++gaps_;
}

void NodeList::close_gaps(size_t from) {
  size_t kept = from;
  for (size_t k = from; k < nodes_.size(); ++k) {
    if (!nodes_[k]) continue;
    nodes_[k]->*at_ = static_cast<int32_t>(kept);
    nodes_[kept++] = nodes_[k];
  }
  gaps_ -= nodes_.size() - kept;
  nodes_.resize(kept);
}

void NodeList::move_up(Node* node, size_t position) {
  const auto from = nodes_.begin() + static_cast<std::ptrdiff_t>(position);
  const auto at = nodes_.begin() + node->*at_;
  std::rotate(from, at, at + 1);
  for (size_t k = position; k <= static_cast<size_t>(at - nodes_.begin()); ++k) {
    if (nodes_[k]) nodes_[k]->*at_ = static_cast<int32_t>(k);
  }
}

std::vector<Node*> NodeList::take(size_t position) {
  std::vector<Node*> taken;
  taken.reserve(nodes_.size() - position);
  for (Node* node : from(position)) {
    if (!node) {
      --gaps_;
      continue;
    }
    node->*at_ = -1;
    taken.push_back(node);
  }
  nodes_.resize(position);
  return taken;
}

// ---- Values ----

namespace {
constexpr size_t kSoon = 8;  // so many allocations later
struct FreeValues {
  std::vector<void*> places;
  ~FreeValues();
};
thread_local FreeValues free_values;
thread_local bool values_closed = false;  // outlives them, for handles that outlive their thread

FreeValues::~FreeValues() {
  for (void* place : places) std::free(place);
  values_closed = true;
}
}  // namespace

void* Value::operator new(size_t bytes) {
  if (!values_closed && !free_values.places.empty()) {
    std::vector<void*>& places = free_values.places;
    void* place = places.back();
    places.pop_back();
    if (places.size() >= kSoon) __builtin_prefetch(places[places.size() - kSoon], 1);
    return place;
  }
  void* place = std::malloc(bytes);
  if (!place) throw std::bad_alloc();
  return place;
}

void Value::operator delete(void* value) {
  constexpr size_t kMost = size_t{1} << 16;
  if (values_closed || free_values.places.size() >= kMost) return std::free(value);
  free_values.places.push_back(value);
}

// ---- Memory ----

namespace {
constexpr size_t kSlabBytes = size_t{1} << 16;  // and as far apart, so that a node knows its slab
constexpr size_t kWords = 4;
constexpr size_t kRoom = 8;  // inputs
}  // namespace

struct NodeMemory::Slab {
  Tape* tape;
  uint32_t vacant = 64 * kWords;
  std::array<uint64_t, kWords> places;  // a bit for each that is free
  Node* at(size_t place) { return reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(this) + 64) + place; }
  static Slab* of(const Node* node) {
    return reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(node) & ~(kSlabBytes - 1));
  }
};

void NodeMemory::Free::operator()(Slab* slab) const { std::free(slab); }

Tape& Node::tape() const { return *NodeMemory::Slab::of(this)->tape; }

Node* NodeMemory::take() {
  static_assert(alignof(Node) == 8);  // Tensor has a number in the lowest bits of addresses
  static_assert(64 + 64 * kWords * sizeof(Node) <= kSlabBytes);
  if (open_.empty()) {
    void* memory = std::aligned_alloc(kSlabBytes, kSlabBytes);
    if (!memory) throw std::bad_alloc();
    auto* slab = new (memory) Slab{.tape = tape_, .places = {}};
    slab->places.fill(~uint64_t{0});
    slabs_.emplace_back(slab);
    open_.reserve(slabs_.size());
    open_.push_back(slab);
  }
  Slab* slab = open_.back();
  size_t word = 0;
  while (slab->places[word] == 0) ++word;
  const auto bit = static_cast<size_t>(std::countr_zero(slab->places[word]));
  slab->places[word] &= slab->places[word] - 1;
  if (--slab->vacant == 0) open_.pop_back();
  return new (slab->at(word * 64 + bit)) Node;
}

void NodeMemory::give_back(Node* node) {
  Slab* slab = Slab::of(node);
  const auto place = static_cast<size_t>(node - slab->at(0));
  node->~Node();
  slab->places[place / 64] |= uint64_t{1} << place % 64;
  if (slab->vacant++ == 0) open_.push_back(slab);
}

Node** NodeMemory::room(size_t inputs) {
  if (inputs > kRoom) return new Node*[inputs];
  if (rooms_.empty()) return new Node*[kRoom];
  Node** room = rooms_.back().release();
  rooms_.pop_back();
  return room;
}

void NodeMemory::give_back(Node** room, size_t inputs) {
  std::unique_ptr<Node*[]> mine(room);
  if (inputs <= kRoom) rooms_.push_back(std::move(mine));
}

}  // namespace reel
