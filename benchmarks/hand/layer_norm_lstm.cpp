// W8 by hand: the input projection of all steps in one product, packed recurrent weights, a cell of two fused
// kernels, weight gradients of all steps in one product. Each thread takes its rows through the whole
// sequence.
#include <memory>
#include <mutex>

#include "benchmarks/hand/parameters.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/tree_attention_workloads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/layer_norm_lstm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

#ifndef REEL_BENCH_LAYER_NORM_LSTM
#define REEL_BENCH_LAYER_NORM_LSTM
namespace reel::bench::expert {

// One row of one step. Gates in the order i, f, g, o; all pointers to the row's first element.
struct Cell {
  int64_t n;                         // hidden
  const float *gain_x, *gain_h, *b;  // [4n]
  const float* peephole;             // [3n]
  const float *gain_c, *b_c;         // [n]
};
struct CellRow {
  const float *zx, *zh;  // W x and U h, [4n]
  const float* c0;       // [n]
  float* gates;          // [4n]: i, f, g, o after their functions
  float *c, *m, *h;      // [n]: the cell, tanh(LN(c)), the output
  Moments *of_zx, *of_zh, *of_c;
};
struct CellSums {  // gradients that all rows of a thread add to
  float *gain_x, *gain_h, *b, *peephole, *gain_c, *b_c;
};
struct CellBack {
  const float* dh;    // [n]
  float* dc;          // [n]: of this step's cell on entry, of the one before on return
  float *dzx, *dzh;   // [4n]; dzx may be where zx was, and dzh where zh was
  float* dz_of_word;  // [4n], added to instead of dzx where it is not null
  float* room;        // [4n]
};

}  // namespace reel::bench::expert
#endif

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

void Forward(const Cell& w, const CellRow& r) {
  const int64_t n = w.n;
  const Moments mx = *r.of_zx, mh = *r.of_zh;
  const V mean_x = set(mx.mean), inv_x = set(mx.inverse), mean_h = set(mh.mean), inv_h = set(mh.inverse);
  each(n, [&](auto at) HWY_ATTR {
    const auto z = [&](int64_t gate) HWY_ATTR {
      const int64_t k = gate * n;
      const V x = hn::Mul(hn::Sub(at.load(r.zx + k), mean_x), inv_x);
      const V h = hn::Mul(hn::Sub(at.load(r.zh + k), mean_h), inv_h);
      return hn::MulAdd(x, at.load(w.gain_x + k), hn::MulAdd(h, at.load(w.gain_h + k), at.load(w.b + k)));
    };
    const V c0 = at.load(r.c0);
    const V i = sigmoid(hn::MulAdd(at.load(w.peephole), c0, z(0)));
    const V f = sigmoid(hn::MulAdd(at.load(w.peephole + n), c0, z(1)));
    const V g = tanh(z(2));
    const V c = hn::MulAdd(f, c0, hn::Mul(i, g));
    const V o = sigmoid(hn::MulAdd(at.load(w.peephole + 2 * n), c, z(3)));
    at.store(i, r.gates);
    at.store(f, r.gates + n);
    at.store(g, r.gates + 2 * n);
    at.store(o, r.gates + 3 * n);
    at.store(c, r.c);
  });
  *r.of_c = moments(r.c, n);
  const V mean = set(r.of_c->mean), inverse = set(r.of_c->inverse);
  each(n, [&](auto at) HWY_ATTR {
    const V normal = hn::Mul(hn::Sub(at.load(r.c), mean), inverse);
    const V m = tanh(hn::MulAdd(normal, at.load(w.gain_c), at.load(w.b_c)));
    at.store(m, r.m);
    at.store(hn::Mul(at.load(r.gates + 3 * n), m), r.h);
  });
}

void Backward(const Cell& w, const CellRow& r, const CellSums& s, const CellBack& d) {
  const int64_t n = w.n;
  const V mean = set(r.of_c->mean), inverse = set(r.of_c->inverse);
  // Through h = o tanh(LN(c)): room[0, n) takes the gradient of LN's result times its gain.
  V s1 = hn::Zero(D()), s2 = s1;
  each(n, [&](auto at) HWY_ATTR {
    const V dh = at.load(d.dh), o = at.load(r.gates + 3 * n), m = at.load(r.m);
    const V normal = hn::Mul(hn::Sub(at.load(r.c), mean), inverse);
    const V dy = hn::Mul(hn::Mul(dh, o), tanh_slope(m));
    at.add(dy, s.b_c);
    at.add(hn::Mul(dy, normal), s.gain_c);
    const V scaled = hn::Mul(dy, at.load(w.gain_c));
    s1 = hn::Add(s1, scaled);
    s2 = hn::MulAdd(scaled, normal, s2);
    at.store(scaled, d.room);
  });
  const auto count = static_cast<float>(n);
  const V a = set(total(s1) / count), b = set(total(s2) / count);
  // Through the gates: room takes dz; sums for both layer norms of z on the way.
  const Moments mx = *r.of_zx, mh = *r.of_zh;
  const V mean_x = set(mx.mean), inv_x = set(mx.inverse), mean_h = set(mh.mean), inv_h = set(mh.inverse);
  V x1 = hn::Zero(D()), x2 = x1, h1 = x1, h2 = x1;
  each(n, [&](auto at) HWY_ATTR {
    const V i = at.load(r.gates), f = at.load(r.gates + n), g = at.load(r.gates + 2 * n),
            o = at.load(r.gates + 3 * n);
    const V c = at.load(r.c), c0 = at.load(r.c0);
    const V normal = hn::Mul(hn::Sub(c, mean), inverse);
    const V dzo = hn::Mul(hn::Mul(at.load(d.dh), at.load(r.m)), sigmoid_slope(o));
    V dc = hn::MulAdd(inverse, hn::Sub(at.load(d.room), hn::MulAdd(normal, b, a)), at.load(d.dc));
    dc = hn::MulAdd(dzo, at.load(w.peephole + 2 * n), dc);
    const V dzi = hn::Mul(hn::Mul(dc, g), sigmoid_slope(i));
    const V dzf = hn::Mul(hn::Mul(dc, c0), sigmoid_slope(f));
    const V dzg = hn::Mul(hn::Mul(dc, i), tanh_slope(g));
    at.add(hn::Mul(dzi, c0), s.peephole);
    at.add(hn::Mul(dzf, c0), s.peephole + n);
    at.add(hn::Mul(dzo, c), s.peephole + 2 * n);
    const V from_gates = hn::MulAdd(dzi, at.load(w.peephole), hn::Mul(dzf, at.load(w.peephole + n)));
    at.store(hn::MulAdd(dc, f, from_gates), d.dc);
    const auto gate = [&](V dz, int64_t which) HWY_ATTR {
      const int64_t k = which * n;
      // The next row lies a page further, where the hardware does not look ahead.
      for (const float* next : {r.zx, r.zh, static_cast<const float*>(r.gates)}) {
        __builtin_prefetch(next + k + 4 * n + at.i);
      }
      const V x = hn::Mul(hn::Sub(at.load(r.zx + k), mean_x), inv_x);
      const V h = hn::Mul(hn::Sub(at.load(r.zh + k), mean_h), inv_h);
      at.add(dz, s.b + k);
      at.add(hn::Mul(dz, x), s.gain_x + k);
      at.add(hn::Mul(dz, h), s.gain_h + k);
      const V dx = hn::Mul(dz, at.load(w.gain_x + k)), dh = hn::Mul(dz, at.load(w.gain_h + k));
      x1 = hn::Add(x1, dx);
      x2 = hn::MulAdd(dx, x, x2);
      h1 = hn::Add(h1, dh);
      h2 = hn::MulAdd(dh, h, h2);
      at.store(dz, d.room + k);
    };
    gate(dzi, 0);
    gate(dzf, 1);
    gate(dzg, 2);
    gate(dzo, 3);
  });
  const V ax = set(total(x1) / (4 * count)), bx = set(total(x2) / (4 * count));
  const V ah = set(total(h1) / (4 * count)), bh = set(total(h2) / (4 * count));
  each(4 * n, [&](auto at) HWY_ATTR {
    const V dz = at.load(d.room);
    const V h = hn::Mul(hn::Sub(at.load(r.zh), mean_h), inv_h);
    at.store(hn::Mul(inv_h, hn::Sub(hn::Mul(dz, at.load(w.gain_h)), hn::MulAdd(h, bh, ah))), d.dzh);
    if (d.dz_of_word != nullptr) {
      at.add(dz, d.dz_of_word);
    } else {
      const V x = hn::Mul(hn::Sub(at.load(r.zx), mean_x), inv_x);
      at.store(hn::Mul(inv_x, hn::Sub(hn::Mul(dz, at.load(w.gain_x)), hn::MulAdd(x, bx, ax))), d.dzx);
    }
  });
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench {
namespace expert {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

namespace {

struct Layer {
  Layer(const LayerNormSizes& s, Parameters& all, int64_t index, int64_t x_rows)
      : n(s.hidden),
        rows(s.steps * s.batch),
        batch(s.batch),
        weight_ih(get(all, "weight_ih", index)),
        weight_hh(get(all, "weight_hh", index)),
        bias(get(all, "bias", index)),
        gain_ih(get(all, "gain_ih", index)),
        gain_hh(get(all, "gain_hh", index)),
        peephole(get(all, "peephole", index)),
        gain_c(get(all, "gain_c", index)),
        bias_c(get(all, "bias_c", index)),
        to_gates(n, 4 * n, true, n),
        zx(x_rows * 4 * n),
        zh(rows * 4 * n),
        gates(rows * 4 * n),
        h((rows + batch) * n),
        c((rows + batch) * n),
        m(rows * n),
        dx(x_rows * n),
        of_zx(static_cast<size_t>(x_rows)),
        of_zh(static_cast<size_t>(rows)),
        of_c(static_cast<size_t>(rows)) {}

  static Parameter& get(Parameters& all, const char* what, int64_t index) {
    return all[fmt::format("lstm.{}_l{}", what, index)];
  }
  Cell cell() const {
    return {n, gain_ih.value, gain_hh.value, bias.value, peephole.value, gain_c.value, bias_c.value};
  }
  // Row r of all steps; the state before it lies one batch earlier, since h and c begin with the initial
  // state.
  CellRow row(int64_t r, int64_t x_row) {
    return {zx + x_row * 4 * n,
            zh + r * 4 * n,
            c + r * n,
            gates + r * 4 * n,
            c + (r + batch) * n,
            m + r * n,
            h + (r + batch) * n,
            &of_zx[static_cast<size_t>(x_row)],
            &of_zh[static_cast<size_t>(r)],
            &of_c[static_cast<size_t>(r)]};
  }

  int64_t n, rows, batch;
  Parameter &weight_ih, &weight_hh, &bias, &gain_ih, &gain_hh, &peephole, &gain_c, &bias_c;
  Packed to_gates;  // W_ih, for all rows
  Floats zx, zh, gates, h, c, m, dx;
  std::vector<Moments> of_zx, of_zh, of_c;
};

class LayerNormLSTM : public Stepper {
 public:
  LayerNormLSTM(const LayerNormSizes& s, bool commute, const Weights& weights)
      : s_(s),
        commute_(commute),
        all_(weights),
        words_(all_["words.weight"]),
        table_(words_),
        w_out_(all_["output.weight"]),
        b_out_(all_["output.bias"]),
        rows_(s.steps * s.batch),
        x_(rows_ * s.hidden),
        logits_(rows_ * s.words),
        dh_(rows_ * s.hidden) {
    for (int64_t l = 0; l < s.layers; ++l) {
      layers_.push_back(std::make_unique<Layer>(s, all_, l, l == 0 && commute ? s.words : rows_));
    }
  }

  double step(int64_t k) override {
    use_all_threads();
    const Text text = bench::text(s_, k);
    const float* x = x_;
    if (!commute_) table_.gather(text.in, x_, s_.hidden);
    for (const auto& layer : layers_) {
      forward(*layer, x, text);
      x = layer->h + s_.batch * s_.hidden;
    }
    const double loss = output(x, text);
    for (size_t l = layers_.size(); l-- > 0;) {
      const bool projected = l == 0 && commute_;
      const float* below = l > 0 ? layers_[l - 1]->h + s_.batch * s_.hidden : projected ? words_.value : x_;
      backward(*layers_[l], l + 1 < layers_.size() ? layers_[l + 1]->dx : dh_, below, text);
    }
    Layer& first = *layers_.front();
    if (commute_) {
      std::copy_n(first.dx.data(), s_.words * s_.hidden, words_.gradient.data());
    } else {
      table_.clear();
      table_.scatter(text.in, first.dx);
    }
    return loss;
  }
  Weights gradients() const override { return all_.gradients(); }

 private:
  bool by_word(const Layer& layer) const { return commute_ && &layer == layers_.front().get(); }

  void forward(Layer& l, const float* x, const Text& text) {
    const int64_t n = l.n, x_rows = by_word(l) ? s_.words : rows_;
    l.to_gates.pack(l.weight_ih.value, x_rows);
    l.to_gates.multiply(by_word(l) ? words_.value.data() : x, n, 0, l.zx, 4 * n);
    if (by_word(l)) {
      for (int64_t r = 0; r < x_rows; ++r) l.of_zx[static_cast<size_t>(r)] = moments(l.zx + r * 4 * n, 4 * n);
    }
    on_threads(s_.batch, [&](int64_t begin, int64_t end) {
      Packed recurrent(n, 4 * n, true, n);
      recurrent.pack(l.weight_hh.value, end - begin);
      std::fill(l.h + begin * n, l.h + end * n, 0.f);
      std::fill(l.c + begin * n, l.c + end * n, 0.f);
      const Cell cell = l.cell();
      for (int64_t t = 0; t < s_.steps; ++t) {
        const int64_t at = t * s_.batch + begin;
        recurrent.multiply(l.h + at * n, n, 0, l.zh + at * 4 * n, 4 * n);
        for (int64_t r = at; r < t * s_.batch + end; ++r) {
          const CellRow row = l.row(r, by_word(l) ? text.in[static_cast<size_t>(r)] : r);
          if (!by_word(l)) *row.of_zx = moments(row.zx, 4 * n);
          *row.of_zh = moments(row.zh, 4 * n);
          HWY_DYNAMIC_DISPATCH(Forward)(cell, row);
        }
      }
    });
  }

  double output(const float* h, const Text& text) {
    const int64_t n = s_.hidden, v = s_.words;
    const float scale = 1 / static_cast<float>(rows_);
    std::vector<double> loss(static_cast<size_t>(s_.batch), 0.0);
    std::vector<Floats> dbias(static_cast<size_t>(s_.batch));
    on_threads(s_.batch, [&](int64_t begin, int64_t end) {  // pieces of rows, not of the batch
      const int64_t from = begin * s_.steps, count = (end - begin) * s_.steps;
      float* logits = logits_ + from * v;
      matmul(count, v, n, h + from * n, {n, 1}, w_out_.value, {1, n}, logits, {v, 1});
      Floats& db = dbias[static_cast<size_t>(begin)] = Floats(v);
      loss[static_cast<size_t>(begin)] =
          cross_entropy(logits, b_out_.value, text.next.data() + from, count, v, scale, db);
      sgemm('N', 'N', count, n, v, logits, v, w_out_.value, n, 0, dh_ + from * n, n);
    });
    weight_gradient(v, n, rows_, logits_, v, h, n, w_out_.gradient, n);
    b_out_.gradient.zero();
    double sum = 0;
    for (size_t i = 0; i < loss.size(); ++i) {
      sum += loss[i];
      if (dbias[i].size() > 0) add(b_out_.gradient, dbias[i], v);
    }
    return sum * static_cast<double>(scale);
  }

  void backward(Layer& l, float* dh, const float* x, const Text& text) {
    const int64_t n = l.n, x_rows = by_word(l) ? s_.words : rows_;
    for (Parameter* p : {&l.bias, &l.gain_ih, &l.gain_hh, &l.peephole, &l.gain_c, &l.bias_c})
      p->gradient.zero();
    Floats dz_of_words(by_word(l) ? x_rows * 4 * n : 0);
    std::mutex merging;
    on_threads(s_.batch, [&](int64_t begin, int64_t end) {
      Floats room(4 * n), dc((end - begin) * n), dz(by_word(l) ? x_rows * 4 * n : 0);
      Floats gain_x(4 * n), gain_h(4 * n), bias(4 * n), peephole(3 * n), gain_c(n), bias_c(n);
      const CellSums to{gain_x, gain_h, bias, peephole, gain_c, bias_c};
      const Cell cell = l.cell();
      for (int64_t t = s_.steps; t-- > 0;) {
        const int64_t at = t * s_.batch + begin;
        for (int64_t r = at; r < t * s_.batch + end; ++r) {
          const int64_t x_row = by_word(l) ? text.in[static_cast<size_t>(r)] : r;
          HWY_DYNAMIC_DISPATCH(Backward)
          (cell, l.row(r, x_row), to,
           {dh + r * n, dc + (r - at) * n, l.zx + x_row * 4 * n, l.zh + r * 4 * n,
            by_word(l) ? dz + x_row * 4 * n : nullptr, room});
        }
        if (t == 0) break;
        sgemm('N', 'N', end - begin, n, 4 * n, l.zh + at * 4 * n, 4 * n, l.weight_hh.value, n, 1,
              dh + (at - s_.batch) * n, n);
      }
      const std::lock_guard lock(merging);
      add(l.gain_ih.gradient, to.gain_x, 4 * n);
      add(l.gain_hh.gradient, to.gain_h, 4 * n);
      add(l.bias.gradient, to.b, 4 * n);
      add(l.peephole.gradient, to.peephole, 3 * n);
      add(l.gain_c.gradient, to.gain_c, n);
      add(l.bias_c.gradient, to.b_c, n);
      if (by_word(l)) add(dz_of_words, dz, x_rows * 4 * n);
    });
    if (by_word(l)) {  // dz of each word through the one layer norm of its row, in place of the row
      Floats unused(4 * n);
      Floats d(x_rows * 4 * n);
      layer_norm_back(l.zx, dz_of_words, l.gain_ih.value, l.of_zx.data(), d, false, unused, nullptr, x_rows,
                      4 * n);
      std::copy_n(d.data(), x_rows * 4 * n, l.zx.data());
    }
    weight_gradient(4 * n, n, rows_, l.zh, 4 * n, l.h, n, l.weight_hh.gradient, n);
    weight_gradient(4 * n, n, x_rows, l.zx, 4 * n, x, n, l.weight_ih.gradient, n);
    sgemm('N', 'N', x_rows, n, 4 * n, l.zx, 4 * n, l.weight_ih.value, n, 0, l.dx, n);
  }

  LayerNormSizes s_;
  bool commute_;
  Parameters all_;
  Parameter& words_;
  Rows table_;
  Parameter &w_out_, &b_out_;
  int64_t rows_;
  Floats x_, logits_, dh_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace
}  // namespace expert

std::unique_ptr<Stepper> hand_layer_norm(const LayerNormSizes& sizes, bool commute, const Weights& weights) {
  return std::make_unique<expert::LayerNormLSTM>(sizes, commute, weights);
}

}  // namespace reel::bench
#endif
