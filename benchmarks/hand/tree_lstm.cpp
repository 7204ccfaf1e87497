// W5 by hand: nodes of one height are a batch, in a schedule made anew for every forest. Each thread takes
// half of the trees through all heights, there and back; then all weight gradients. Rows lie in the order of
// the schedule.
#include <memory>
#include <mutex>
#include <numeric>

#include "benchmarks/hand/parameters.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/tree_attention_workloads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/tree_lstm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

// A leaf: z = W x becomes the gates i, o, u; c = i u, m = tanh(c), h = o m. All pointers to the row's start.
void Leaf(float* z, const float* b, float* c, float* m, float* h, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V i = sigmoid(hn::Add(at.load(z), at.load(b)));
    const V o = sigmoid(hn::Add(at.load(z + n), at.load(b + n)));
    const V u = tanh(hn::Add(at.load(z + 2 * n), at.load(b + 2 * n)));
    const V cell = hn::Mul(i, u), bent = tanh(cell);
    at.store(i, z);
    at.store(o, z + n);
    at.store(u, z + 2 * n);
    at.store(cell, c);
    at.store(bent, m);
    at.store(hn::Mul(o, bent), h);
  });
}

// An inner node: z = U [h_left, h_right] becomes i, o, u, f_left, f_right.
void Inner(float* z, const float* b, const float* left, const float* right, float* c, float* m, float* h,
           int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V i = sigmoid(hn::Add(at.load(z), at.load(b)));
    const V o = sigmoid(hn::Add(at.load(z + n), at.load(b + n)));
    const V u = tanh(hn::Add(at.load(z + 2 * n), at.load(b + 2 * n)));
    const V bf = at.load(b + 3 * n);
    const V f0 = sigmoid(hn::Add(at.load(z + 3 * n), bf)), f1 = sigmoid(hn::Add(at.load(z + 4 * n), bf));
    const V cell = hn::MulAdd(i, u, hn::MulAdd(f0, at.load(left), hn::Mul(f1, at.load(right))));
    const V bent = tanh(cell);
    at.store(i, z);
    at.store(o, z + n);
    at.store(u, z + 2 * n);
    at.store(f0, z + 3 * n);
    at.store(f1, z + 4 * n);
    at.store(cell, c);
    at.store(bent, m);
    at.store(hn::Mul(o, bent), h);
  });
}

// Gates become their gradients, which db takes too; dc of a leaf counts only through its parent.
void LeafBack(float* z, const float* m, const float* dh, const float* dc, float* db, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V i = at.load(z), o = at.load(z + n), u = at.load(z + 2 * n), bent = at.load(m), g = at.load(dh);
    const V cell = hn::MulAdd(hn::Mul(g, o), tanh_slope(bent), at.load(dc));
    const V di = hn::Mul(hn::Mul(cell, u), sigmoid_slope(i)),
            d_o = hn::Mul(hn::Mul(g, bent), sigmoid_slope(o));
    const V du = hn::Mul(hn::Mul(cell, i), tanh_slope(u));
    at.store(di, z);
    at.store(d_o, z + n);
    at.store(du, z + 2 * n);
    at.add(di, db);
    at.add(d_o, db + n);
    at.add(du, db + 2 * n);
  });
}

void InnerBack(float* z, const float* m, const float* left, const float* right, const float* dh,
               const float* dc, float* dleft, float* dright, float* db, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V f0 = at.load(z + 3 * n), f1 = at.load(z + 4 * n);
    const V cell = hn::MulAdd(hn::Mul(at.load(dh), at.load(z + n)), tanh_slope(at.load(m)), at.load(dc));
    at.store(hn::Mul(cell, f0), dleft);
    at.store(hn::Mul(cell, f1), dright);
    const V d0 = hn::Mul(hn::Mul(cell, at.load(left)), sigmoid_slope(f0));
    const V d1 = hn::Mul(hn::Mul(cell, at.load(right)), sigmoid_slope(f1));
    at.store(d0, z + 3 * n);
    at.store(d1, z + 4 * n);
    at.add(hn::Add(d0, d1), db + 3 * n);
  });
  LeafBack(z, m, dh, dc, db, n);
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench {
namespace expert {

HWY_EXPORT(Leaf);
HWY_EXPORT(Inner);
HWY_EXPORT(LeafBack);
HWY_EXPORT(InnerBack);

namespace {

// Some trees of a forest. Leaves have rows first_leaf.. of all leaves, inner nodes first_inner.. of all inner
// nodes, height by height; states are kept leaves first, so an inner row r has its state at leaves + r.
struct Share {
  int64_t first_leaf = 0, leaves = 0, first_inner = 0;
  std::vector<int64_t> heights;  // where each height's rows begin among the inner ones; the last is their end
};

struct Schedule {
  Schedule(const Forest& f, int64_t shares);

  int64_t leaves = 0, inner = 0;
  std::vector<int64_t> words;        // of each leaf row
  std::vector<int64_t> left, right;  // of each inner row: where its children's states are
  std::vector<int64_t> roots;        // where each tree's state is
  std::vector<Share> shares;
};

Schedule::Schedule(const Forest& f, int64_t count) {
  const size_t nodes = f.tree.size();
  std::vector<int64_t> height(nodes, 0), place(nodes), share(nodes);
  int64_t tallest = 0;
  for (size_t k = 0, tree = 0; k < nodes; ++k) {
    for (int64_t child : f.tree.children[k])
      height[k] = std::max(height[k], height[static_cast<size_t>(child)] + 1);
    tallest = std::max(tallest, height[k]);
    (height[k] == 0 ? leaves : inner) += 1;
    // Trees lie one after another: cut at the ends of trees, after as many nodes as each share should have.
    const int64_t begin = tree == 0 ? 0 : f.roots[tree - 1] + 1;
    share[k] = begin * count / static_cast<int64_t>(nodes);
    if (static_cast<int64_t>(k) == f.roots[tree]) ++tree;
  }
  // Nodes by share, then height: a counting sort.
  std::vector<int64_t> at(static_cast<size_t>(count * (tallest + 1)) + 1, 0);
  const auto bin = [&](size_t k) { return static_cast<size_t>(share[k] * (tallest + 1) + height[k]); };
  for (size_t k = 0; k < nodes; ++k) ++at[bin(k) + 1];
  std::partial_sum(at.begin(), at.end(), at.begin());
  int64_t next_leaf = 0, next_inner = 0;
  for (int64_t s = 0; s < count; ++s) {
    Share part{next_leaf, 0, next_inner, {next_inner}};
    const int64_t* const bins = &at[static_cast<size_t>(s * (tallest + 1))];
    part.leaves = bins[1] - bins[0];
    for (int64_t h = 1; h <= tallest; ++h)
      part.heights.push_back(part.heights.back() + bins[h + 1] - bins[h]);
    next_leaf += part.leaves;
    next_inner = part.heights.back();
    shares.push_back(std::move(part));
  }
  std::vector<int64_t> next(static_cast<size_t>(count * (tallest + 1)));
  for (size_t i = 0; i < next.size(); ++i) {
    const Share& part = shares[i / static_cast<size_t>(tallest + 1)];
    const auto h = static_cast<int64_t>(i) % (tallest + 1);
    next[i] = h == 0 ? part.first_leaf : leaves + part.heights[static_cast<size_t>(h - 1)];
  }
  words.resize(static_cast<size_t>(leaves));
  left.resize(static_cast<size_t>(inner));
  right.resize(static_cast<size_t>(inner));
  for (size_t k = 0; k < nodes; ++k) {
    place[k] = next[bin(k)]++;
    if (height[k] == 0) {
      words[static_cast<size_t>(place[k])] = f.words[k];
    } else {
      const auto row = static_cast<size_t>(place[k] - leaves);
      left[row] = place[static_cast<size_t>(f.tree.children[k][0])];
      right[row] = place[static_cast<size_t>(f.tree.children[k][1])];
    }
  }
  for (int64_t root : f.roots) roots.push_back(place[static_cast<size_t>(root)]);
}

class TreeLSTM : public Stepper {
 public:
  TreeLSTM(const TreeSizes& s, const Weights& weights)
      : s_(s),
        all_(weights),
        n_(s.hidden),
        w_(all_["cell.weight_ih"]),
        u_(all_["cell.weight_hh"]),
        b_(all_["cell.bias"]),
        wo_(all_["output.weight"]),
        bo_(all_["output.bias"]),
        table_(all_["words.weight"]),
        wt_(3 * n_ * n_),
        ut_(10 * n_ * n_) {
    const int64_t most = s.trees * s.most;
    for (Floats* f : {&x_, &dx_}) *f = Floats(most * n_);
    for (Floats* f : {&c_, &m_, &h_, &dh_, &dc_}) *f = Floats(2 * most * n_);
    zl_ = Floats(most * 3 * n_);
    zi_ = Floats(most * 5 * n_);
    both_ = Floats(most * 2 * n_);
    dboth_ = Floats(most * 2 * n_);
    tops_ = Floats(s.trees * n_);
    dtops_ = Floats(s.trees * n_);
    logits_ = Floats(s.trees * s.classes);
  }

  double step(int64_t k) override {
    use_all_threads();
    const Forest f = forest(s_, k);
    const int64_t count = std::min<int64_t>(num_threads(), s_.trees);
    const Schedule plan(f, count);
    transpose(w_.value, 3 * n_, n_, wt_);
    transpose(u_.value, 5 * n_, 2 * n_, ut_);
    table_.gather(plan.words, x_, n_);
    on_threads(count, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) forward(plan, plan.shares[static_cast<size_t>(s)]);
    });
    const double loss = output(f, plan);
    b_.gradient.zero();
    std::mutex merging;
    on_threads(count, [&](int64_t begin, int64_t end) {
      Floats db(4 * n_);
      for (int64_t s = begin; s < end; ++s) backward(plan, plan.shares[static_cast<size_t>(s)], db);
      const std::lock_guard lock(merging);
      add(b_.gradient, db, 4 * n_);
    });
    use_all_threads();
    sgemm('T', 'N', 3 * n_, n_, plan.leaves, zl_, 3 * n_, x_, n_, 0, w_.gradient, n_);
    if (plan.inner > 0)
      sgemm('T', 'N', 5 * n_, 2 * n_, plan.inner, zi_, 5 * n_, both_, 2 * n_, 0, u_.gradient, 2 * n_);
    table_.clear();
    table_.scatter(plan.words, dx_);
    return loss;
  }
  Weights gradients() const override { return all_.gradients(); }

 private:
  void forward(const Schedule& plan, const Share& share);
  double output(const Forest& f, const Schedule& plan);
  void backward(const Schedule& plan, const Share& share, float* db);

  TreeSizes s_;
  Parameters all_;
  int64_t n_;
  Parameter &w_, &u_, &b_, &wo_, &bo_;
  Rows table_;
  Floats wt_, ut_;              // W and U transposed: plain products are fast for any number of rows
  Floats x_, dx_, zl_;          // rows of leaves
  Floats zi_, both_, dboth_;    // rows of inner nodes; both: [h_left, h_right]
  Floats c_, m_, h_, dh_, dc_;  // states: leaves, then inner nodes
  Floats tops_, dtops_, logits_;
};

void TreeLSTM::forward(const Schedule& plan, const Share& share) {
  const int64_t n = n_, first = share.first_leaf;
  if (share.leaves == 0) return;
  sgemm('N', 'N', share.leaves, 3 * n, n, x_ + first * n, n, wt_, 3 * n, 0, zl_ + first * 3 * n, 3 * n);
  for (int64_t r = first; r < first + share.leaves; ++r) {
    HWY_DYNAMIC_DISPATCH(Leaf)(zl_ + r * 3 * n, b_.value, c_ + r * n, m_ + r * n, h_ + r * n, n);
  }
  for (size_t level = 0; level + 1 < share.heights.size(); ++level) {
    const int64_t from = share.heights[level], to = share.heights[level + 1];
    if (from == to) break;
    for (int64_t r = from; r < to; ++r) {
      const auto row = static_cast<size_t>(r);
      std::copy_n(h_ + plan.left[row] * n, n, both_ + r * 2 * n);
      std::copy_n(h_ + plan.right[row] * n, n, both_ + r * 2 * n + n);
    }
    sgemm('N', 'N', to - from, 5 * n, 2 * n, both_ + from * 2 * n, 2 * n, ut_, 5 * n, 0, zi_ + from * 5 * n,
          5 * n);
    for (int64_t r = from; r < to; ++r) {
      const auto row = static_cast<size_t>(r);
      const int64_t at = (plan.leaves + r) * n;
      HWY_DYNAMIC_DISPATCH(Inner)
      (zi_ + r * 5 * n, b_.value, c_ + plan.left[row] * n, c_ + plan.right[row] * n, c_ + at, m_ + at,
       h_ + at, n);
    }
  }
}

double TreeLSTM::output(const Forest& f, const Schedule& plan) {
  const int64_t n = n_, trees = s_.trees, classes = s_.classes;
  for (int64_t t = 0; t < trees; ++t)
    std::copy_n(h_ + plan.roots[static_cast<size_t>(t)] * n, n, tops_ + t * n);
  sgemm('N', 'T', trees, classes, n, tops_, n, wo_.value, n, 0, logits_, classes);
  bo_.gradient.zero();
  const float scale = 1 / static_cast<float>(trees);
  const double loss = cross_entropy(logits_, bo_.value, f.labels.data(), trees, classes, scale, bo_.gradient);
  sgemm('T', 'N', classes, n, trees, logits_, classes, tops_, n, 0, wo_.gradient, n);
  sgemm('N', 'N', trees, n, classes, logits_, classes, wo_.value, n, 0, dtops_, n);
  for (int64_t t = 0; t < trees; ++t) {  // every other node gets its dh and dc from its one parent
    const int64_t at = plan.roots[static_cast<size_t>(t)] * n;
    std::copy_n(dtops_ + t * n, n, dh_ + at);
    std::fill_n(dc_ + at, n, 0.f);
  }
  return loss * static_cast<double>(scale);
}

void TreeLSTM::backward(const Schedule& plan, const Share& share, float* db) {
  const int64_t n = n_, first = share.first_leaf;
  if (share.leaves == 0) return;
  for (size_t level = share.heights.size() - 1; level-- > 0;) {
    const int64_t from = share.heights[level], to = share.heights[level + 1];
    if (from == to) continue;
    for (int64_t r = from; r < to; ++r) {
      const int64_t at = (plan.leaves + r) * n, left = plan.left[static_cast<size_t>(r)] * n,
                    right = plan.right[static_cast<size_t>(r)] * n;
      HWY_DYNAMIC_DISPATCH(InnerBack)
      (zi_ + r * 5 * n, m_ + at, c_ + left, c_ + right, dh_ + at, dc_ + at, dc_ + left, dc_ + right, db, n);
    }
    sgemm('N', 'N', to - from, 2 * n, 5 * n, zi_ + from * 5 * n, 5 * n, u_.value, 2 * n, 0,
          dboth_ + from * 2 * n, 2 * n);
    for (int64_t r = from; r < to; ++r) {
      const auto row = static_cast<size_t>(r);
      std::copy_n(dboth_ + r * 2 * n, n, dh_ + plan.left[row] * n);
      std::copy_n(dboth_ + r * 2 * n + n, n, dh_ + plan.right[row] * n);
    }
  }
  for (int64_t r = first; r < first + share.leaves; ++r) {
    HWY_DYNAMIC_DISPATCH(LeafBack)(zl_ + r * 3 * n, m_ + r * n, dh_ + r * n, dc_ + r * n, db, n);
  }
  sgemm('N', 'N', share.leaves, n, 3 * n, zl_ + first * 3 * n, 3 * n, w_.value, n, 0, dx_ + first * n, n);
}

}  // namespace
}  // namespace expert

std::unique_ptr<Stepper> hand_tree(const TreeSizes& sizes, const Weights& weights) {
  return std::make_unique<expert::TreeLSTM>(sizes, weights);
}

}  // namespace reel::bench
#endif
