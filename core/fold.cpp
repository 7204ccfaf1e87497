// Folding: where the calls of a motif were recorded, one call of a template takes their place while they are
// still in the cache. What it makes of them is what they made, so nobody who holds a result sees it; where a
// value inside is held, the calls stay.
#include <algorithm>
#include <bit>

#include "core/motif.h"
#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel {

namespace {

bool same_bits(const std::array<double, 2>& a, const std::array<double, 2>& b) {
  return std::bit_cast<std::array<uint64_t, 2>>(a) == std::bit_cast<std::array<uint64_t, 2>>(b);
}

// Whether it depends on no call but, at most, views of what has its value.
bool is_given(const Node* n) {
  return n->state == State::ready ||
         (n->state == State::pending &&
          std::all_of(n->in, n->in + n->inputs, [](const Node* in) { return in->state == State::ready; }));
}

}  // namespace

// ---- Looking ----

Occurrence::Fit Occurrence::find(const Motif& motif, std::span<Node* const> pending, size_t at) {
  motif_ = &motif;
  nodes_.clear();
  outside_.assign(motif.outside.size(), nullptr);
  size_t between = 0;
  for (const Motif::Step& step : motif.steps) {
    while (at < pending.size() && (!pending[at] || !fits(step, pending[at]))) {
      // What nobody reads, such as a view that a product looked through, may be about to die.
      const bool another = pending[at] && pending[at]->readers > 0;
      if (another && (nodes_.empty() || ++between > Motif::kMostBetween)) return Fit::none;
      ++at;
    }
    if (at == pending.size()) return Fit::unfinished;
    nodes_.push_back(pending[at++]);
  }
  end_ = at;
  if (!comes_after_what_it_reads()) return Fit::none;
  for (size_t k = 0; k < nodes_.size(); ++k) {
    if (motif.steps[k].output < 0 && needed(k)) return Fit::held;
  }
  return Fit::whole;
}

// Whether the call could take its place on the tape.
bool Occurrence::comes_after_what_it_reads() const {
  const int32_t begin = nodes_[0]->pending_at, place = nodes_[motif_->call]->pending_at;
  return std::ranges::all_of(outside_, [&](const Node* n) {
    if (n->state != State::pending || n->pending_at < begin) return true;
    return n->pending_at < place && std::ranges::find(nodes_, n) == nodes_.end();
  });
}

bool Occurrence::fits(const Motif::Step& step, const Node* n) {
  if (n->op != step.op || n->inputs != step.inputs || n->requires_grad != step.requires_grad || n->list ||
      n->dtype != step.dtype || n->shape != step.shape || n->attrs.i != step.attrs.i ||
      !same_bits(n->attrs.f, step.attrs.f))
    return false;
  const auto in = motif_->in(step);
  for (size_t k = 0; k < in.size(); ++k) {
    const bool fits =
        in[k].from == Motif::From::inside ? n->in[k] == nodes_[in[k].number] : fits_outside(in[k], n->in[k]);
    if (!fits) return false;
  }
  return true;
}

bool Occurrence::fits_outside(Motif::Input input, Node* n) {
  Node*& known = outside_[input.number];
  if (known) return known == n;
  const Motif::Outside& want = motif_->outside[input.number];
  if (n->state == State::failed || n->dtype != want.dtype || n->shape != want.shape ||
      (input.from == Motif::From::captured && !is_given(n)))
    return false;
  known = n;
  return true;
}

// ---- Replacing ----

namespace {

// Which motif's calls begin here; else how near one came.
Occurrence::Fit find_motif(std::span<const std::unique_ptr<Motif>> motifs, std::span<Node* const> pending,
                           size_t at, Occurrence& found) {
  auto best = Occurrence::Fit::none;
  for (const auto& motif : motifs) {
    if (!pending[at] || motif->steps[0].op != pending[at]->op) continue;
    best = std::max(best, found.find(*motif, pending, at));
    if (best == Occurrence::Fit::whole) break;
  }
  return best;
}

}  // namespace

void Tape::add_motif(Motif motif) {
  constexpr size_t kMost = 16;
  if (motifs_.size() == kMost) motifs_.erase(motifs_.begin());
  motifs_.push_back(std::make_unique<Motif>(std::move(motif)));
  fold_at_ = 0;
}

void Tape::forget_motifs() { motifs_.clear(); }

void Tape::fold(bool all) {
  const size_t often = plan::motif_limits().often;
  const size_t size = pending_.size();
  fold_at_ = size + often;
  if (motifs_.empty() || aside() || as_recorded_ > 0 || !plan::passes().find_cells()) return;
  static thread_local Occurrence found;
  size_t at = std::min(folded_, size), changed = size;
  while (at < size) {
    const Occurrence::Fit fit = find_motif(motifs_, pending_.from(0), at, found);
    // The function that records them may not have returned.
    const bool wait =
        fit == Occurrence::Fit::unfinished || (fit == Occurrence::Fit::held && found.end() + often > size);
    if (wait && !all) break;
    if (fit != Occurrence::Fit::whole) {
      ++at;
      continue;
    }
    changed = std::min(changed, at);
    at = found.end();
    replace(found);
  }
  const size_t rest = size - at;
  pending_.close_gaps(changed);
  folded_ = pending_.size() - std::min(rest, pending_.size());
  fold_at_ = pending_.size() + often;
}

void Tape::replace(const Occurrence& found) {
  const Motif& motif = found.motif();
  std::array<int64_t, 3> reads{};
  static thread_local std::vector<Node*> in;
  in.assign(found.outside().begin(), found.outside().end());
  for (size_t p = 0; p < std::min(motif.arguments, kMostReads); ++p) {
    const size_t output = output_of(in[p]);
    if (output == Node::kMostOutputs || in[p]->in[0]->state != State::pending) continue;
    set_output_read(reads, p, output + 1);
    in[p] = in[p]->in[0];
  }
  for (Node* n : in) add_reader(n);
  for (size_t k = 0; k < motif.steps.size(); ++k) {
    Node* n = found.nodes()[k];
    const auto from = motif.in(motif.steps[k]);
    for (size_t p = 0; p < from.size(); ++p) {
      if (from[p].from != Motif::From::inside) remove_reader(n->in[p]);
    }
    n->readers -= motif.steps[k].readers;
    give_back_inputs(n);
  }
  Node* call = found.nodes()[motif.call];
  become(call, *motif.op, {.i = reads, .f = {}}, in);
  call->shape = motif.shape;
  for (size_t k = 0; k < motif.steps.size(); ++k) {
    Node* n = found.nodes()[k];
    if (n == call) continue;
    if (n->readers == 0 && n->handles == 0) {
      pending_.remove(n);
      history_.remove(n);
      memory_.give_back(n);
      --live;
      continue;
    }
    const int64_t begin = call->output_begin(static_cast<size_t>(motif.steps[k].output));
    become(n, slice_op, {.i = {1, begin, begin + n->shape[1]}, .f = {}}, {&call, 1});
    add_reader(call);
  }
}

}  // namespace reel
