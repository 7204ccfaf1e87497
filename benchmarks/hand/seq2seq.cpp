// W7 by hand: hoisted input projections, one product for the two readers of the decoder's state (its gates
// and attention's query), fused gates, attention as two fused kernels, one exponential a logit.
#include <memory>
#include <mutex>

#include "benchmarks/hand/parameters.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/tree_attention_workloads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/seq2seq.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

#ifndef REEL_BENCH_SEQ2SEQ
#define REEL_BENCH_SEQ2SEQ
namespace reel::bench::expert {

// One row of one step of a GRU, gates in the order r, z, n.
struct GruRow {
  const float *zx, *zc, *zh;  // W x by words and by context (or null), and U h, without their biases; [3n]
  const float *bx, *bh;       // [3n]
  const float* h0;            // [n]
  float* gates;               // [4n]: r, z, candidate, U_n h + b_n
  float* h;                   // [n]
};
struct GruBack {
  const float *gates, *h0;
  float* dh;         // [n]: of h; becomes what reaches h0 past the products
  float *dzx, *dzh;  // [3n]
};
// One row's attention: keys and memory have a row for each position, `stride` apart.
struct Attention {
  int64_t n, positions, stride;
  const float *keys, *memory;
  const float *query, *v;  // [n]
  float* bent;             // tanh(keys + query), [positions, n]
  float* weights;          // [positions]
  float* context;          // [n]
};
struct AttentionBack {
  const float* dcontext;   // [n]
  float *dkeys, *dmemory;  // like keys and memory, added to
  float *dquery, *dv;      // [n]; dv is added to
  float* room;             // [positions]
};

}  // namespace reel::bench::expert
#endif

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

void Gru(const GruRow& row, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const auto x = [&](int64_t gate) HWY_ATTR {
      const V z = hn::Add(at.load(row.zx + gate * n), at.load(row.bx + gate * n));
      return row.zc == nullptr ? z : hn::Add(z, at.load(row.zc + gate * n));
    };
    const auto u = [&](int64_t gate)
                       HWY_ATTR { return hn::Add(at.load(row.zh + gate * n), at.load(row.bh + gate * n)); };
    const V r = sigmoid(hn::Add(x(0), u(0))), z = sigmoid(hn::Add(x(1), u(1))), un = u(2);
    const V candidate = tanh(hn::MulAdd(r, un, x(2)));
    at.store(r, row.gates);
    at.store(z, row.gates + n);
    at.store(candidate, row.gates + 2 * n);
    at.store(un, row.gates + 3 * n);
    at.store(hn::MulAdd(z, hn::Sub(at.load(row.h0), candidate), candidate), row.h);
  });
}

void GruBackward(const GruBack& b, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V r = at.load(b.gates), z = at.load(b.gates + n), candidate = at.load(b.gates + 2 * n),
            un = at.load(b.gates + 3 * n), dh = at.load(b.dh);
    const V dz = hn::Mul(hn::Mul(dh, hn::Sub(at.load(b.h0), candidate)), sigmoid_slope(z));
    const V dn = hn::Mul(hn::Mul(dh, one_minus(z)), tanh_slope(candidate));
    const V dr = hn::Mul(hn::Mul(dn, un), sigmoid_slope(r));
    at.store(dr, b.dzx);
    at.store(dz, b.dzx + n);
    at.store(dn, b.dzx + 2 * n);
    at.store(dr, b.dzh);
    at.store(dz, b.dzh + n);
    at.store(hn::Mul(dn, r), b.dzh + 2 * n);
    at.store(hn::Mul(dh, z), b.dh);
  });
}

void Attend(const Attention& a) {
  const int64_t n = a.n;
  float top = -1e30f;
  for (int64_t s = 0; s < a.positions; ++s) {
    V score = hn::Zero(D());
    each(n, [&](auto at) HWY_ATTR {
      const V bent = tanh(hn::Add(at.load(a.keys + s * a.stride), at.load(a.query)));
      at.store(bent, a.bent + s * n);
      score = hn::MulAdd(bent, at.load(a.v), score);
    });
    a.weights[s] = total(score);
    top = std::max(top, a.weights[s]);
  }
  each(a.positions, [&](auto at) HWY_ATTR {
    at.store(hn::Exp(D(), hn::Max(hn::Sub(at.load(a.weights), set(top)), set(-87))), a.weights);
  });
  float sum = 0;
  for (int64_t s = 0; s < a.positions; ++s) sum += a.weights[s];
  for (int64_t s = 0; s < a.positions; ++s) a.weights[s] /= sum;
  each(n, [&](auto at) HWY_ATTR {
    V c = hn::Zero(D());
    for (int64_t s = 0; s < a.positions; ++s)
      c = hn::MulAdd(set(a.weights[s]), at.load(a.memory + s * a.stride), c);
    at.store(c, a.context);
  });
}

void AttendBackward(const Attention& a, const AttentionBack& b) {
  const int64_t n = a.n;
  float mean = 0;
  for (int64_t s = 0; s < a.positions; ++s) {
    V dot = hn::Zero(D());
    each(n, [&](auto at)
                HWY_ATTR { dot = hn::MulAdd(at.load(b.dcontext), at.load(a.memory + s * a.stride), dot); });
    b.room[s] = total(dot);
    mean += b.room[s] * a.weights[s];
  }
  for (int64_t s = 0; s < a.positions; ++s) b.room[s] = a.weights[s] * (b.room[s] - mean);
  each(n, [&](auto at) HWY_ATTR {
    const V dc = at.load(b.dcontext), v = at.load(a.v);
    V dq = hn::Zero(D()), dv = at.load(b.dv);
    for (int64_t s = 0; s < a.positions; ++s) {
      const V de = set(b.room[s]), bent = at.load(a.bent + s * n);
      const V dk = hn::Mul(hn::Mul(de, v), tanh_slope(bent));
      dv = hn::MulAdd(de, bent, dv);
      dq = hn::Add(dq, dk);
      at.add(dk, b.dkeys + s * a.stride);
      at.add(hn::Mul(set(a.weights[s]), dc), b.dmemory + s * a.stride);
    }
    at.store(dv, b.dv);
    at.store(dq, b.dquery);
  });
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench {
namespace expert {

HWY_EXPORT(Gru);
HWY_EXPORT(GruBackward);
HWY_EXPORT(Attend);
HWY_EXPORT(AttendBackward);

namespace {

// A GRU whose states have 3 or 4 readers of n columns each: its gates, and attention's query.
struct Gated {
  Gated(Parameters& all, const std::string& name, const std::string& suffix, int64_t rows, int64_t batch,
        int64_t hidden, int64_t readers)
      : w(all[name + ".weight_ih" + suffix]),
        u(all[name + ".weight_hh" + suffix]),
        bw(all[name + ".bias_ih" + suffix]),
        bu(all[name + ".bias_hh" + suffix]),
        n(hidden),
        x(rows * n),
        zx(rows * 3 * n),
        zh(rows * readers * n),
        gates(rows * 4 * n),
        h((rows + batch) * n),
        dh((rows + batch) * n),
        dx(rows * n) {}
  Parameter &w, &u, &bw, &bu;
  int64_t n;
  Floats x, zx, zh, gates;  // zx and zh become their gradients
  Floats h, dh;             // of step t at t + 1
  Floats dx;                // of x, the words
};

class Seq2Seq : public Stepper {
 public:
  Seq2Seq(const Seq2SeqSizes& s, const Weights& weights)
      : s_(s),
        all_(weights),
        n_(s.hidden),
        in_(s.source * s.batch),
        out_(s.target * s.batch),
        source_(all_["source.weight"]),
        target_(all_["target.weight"]),
        wk_(all_["attention.key.weight"]),
        bk_(all_["attention.key.bias"]),
        wq_(all_["attention.query.weight"]),
        v_(all_["attention.score"]),
        wo_(all_["output.weight"]),
        bo_(all_["output.bias"]),
        encoder_(all_, "encoder", "_l0", in_, s.batch, n_, 3),
        decoder_(all_, "decoder", "", out_, s.batch, n_, 4),
        keys_(in_ * n_),
        dkeys_(in_ * n_),
        context_(out_ * n_),
        bent_(out_ * s.source * n_),
        weights_(out_ * s.source),
        readers_(4 * n_ * n_),
        logits_(out_ * s.words) {}

  double step(int64_t k) override {
    use_all_threads();
    const Pairs p = pairs(s_, k);
    encode(p);
    decode(p);
    const double loss = output(p);
    decode_back(p);
    encode_back(p);
    return loss;
  }
  Weights gradients() const override { return all_.gradients(); }

 private:
  void encode(const Pairs& p);
  void decode(const Pairs& p);
  double output(const Pairs& p);
  void decode_back(const Pairs& p);
  void encode_back(const Pairs& p);
  GruRow row(Gated& g, int64_t r, const float* zc, int64_t readers) {
    return {g.zx + r * 3 * n_, zc,           g.zh + r * readers * n_, g.bw.value,
            g.bu.value,        g.h + r * n_, g.gates + r * 4 * n_,    g.h + (r + s_.batch) * n_};
  }
  GruBack row_back(Gated& g, int64_t r, int64_t readers) {
    return {g.gates + r * 4 * n_, g.h + r * n_, g.dh + (r + s_.batch) * n_, g.zx + r * 3 * n_,
            g.zh + r * readers * n_};
  }
  Attention attention(int64_t r) {
    const int64_t b = r % s_.batch;
    return {n_,
            s_.source,
            s_.batch * n_,
            keys_ + b * n_,
            encoder_.h + (s_.batch + b) * n_,
            decoder_.zh + r * 4 * n_ + 3 * n_,
            v_.value,
            bent_ + r * s_.source * n_,
            weights_ + r * s_.source,
            context_ + r * n_};
  }
  void sum_rows(Parameter& bias, const float* rows, int64_t count, int64_t stride) {
    bias.gradient.zero();
    add_rows(bias.gradient, rows, count, stride, bias.shape[0]);
  }

  Seq2SeqSizes s_;
  Parameters all_;
  int64_t n_, in_, out_;  // rows of source and target
  Rows source_, target_;
  Parameter &wk_, &bk_, &wq_, &v_, &wo_, &bo_;
  Gated encoder_, decoder_;
  Floats keys_, dkeys_;    // [source, batch, n]
  Floats context_;         // [target, batch, n]
  Floats bent_, weights_;  // [target, batch, source, n] and without n
  Floats readers_;         // the decoder's U above W_q: what reads its state
  Floats logits_;
};

void Seq2Seq::encode(const Pairs& p) {
  Gated& g = encoder_;
  source_.gather(p.source, g.x, n_);
  matmul(in_, 3 * n_, n_, g.x, {n_, 1}, g.w.value, {1, n_}, g.zx, {3 * n_, 1});
  on_threads(s_.batch, [&](int64_t begin, int64_t end) {
    Packed u(n_, 3 * n_, true, n_);
    u.pack(g.u.value, end - begin);
    for (int64_t t = 0; t < s_.source; ++t) {
      const int64_t at = t * s_.batch + begin;
      u.multiply(g.h + at * n_, n_, 0, g.zh + at * 3 * n_, 3 * n_);
      for (int64_t r = at; r < t * s_.batch + end; ++r) HWY_DYNAMIC_DISPATCH(Gru)(row(g, r, nullptr, 3), n_);
    }
  });
  linear(in_, n_, n_, g.h + s_.batch * n_, wk_.value, bk_.value, false, keys_);
}

void Seq2Seq::decode(const Pairs& p) {
  Gated& g = decoder_;
  target_.gather(p.target_in, g.x, n_);
  matmul(out_, 3 * n_, n_, g.x, {n_, 1}, g.w.value, {1, 2 * n_}, g.zx, {3 * n_, 1});
  std::copy_n(g.u.value.data(), 3 * n_ * n_, readers_.data());
  std::copy_n(wq_.value.data(), n_ * n_, readers_.data() + 3 * n_ * n_);
  std::copy_n(encoder_.h + in_ * n_, s_.batch * n_, g.h.data());
  on_threads(s_.batch, [&](int64_t begin, int64_t end) {
    Packed read(n_, 4 * n_, true, n_), from_context(n_, 3 * n_, true, 2 * n_);
    read.pack(readers_, end - begin);
    from_context.pack(g.w.value + n_, end - begin);
    Floats zc((end - begin) * 3 * n_);
    for (int64_t t = 0; t < s_.target; ++t) {
      const int64_t at = t * s_.batch + begin, last = t * s_.batch + end;
      read.multiply(g.h + at * n_, n_, 0, g.zh + at * 4 * n_, 4 * n_);
      for (int64_t r = at; r < last; ++r) HWY_DYNAMIC_DISPATCH(Attend)(attention(r));
      from_context.multiply(context_ + at * n_, n_, 0, zc, 3 * n_);
      for (int64_t r = at; r < last; ++r) HWY_DYNAMIC_DISPATCH(Gru)(row(g, r, zc + (r - at) * 3 * n_, 4), n_);
    }
  });
}

double Seq2Seq::output(const Pairs& p) {
  const float* h = decoder_.h + s_.batch * n_;
  float* dh = decoder_.dh + s_.batch * n_;
  const float scale = 1 / static_cast<float>(out_);
  double loss = 0;
  bo_.gradient.zero();
  std::mutex merging;
  on_threads(out_, [&](int64_t begin, int64_t end) {
    const int64_t words = s_.words, count = end - begin;
    Floats dbias(words);
    float* logits = logits_ + begin * words;
    sgemm('N', 'T', count, words, n_, h + begin * n_, n_, wo_.value, n_, 0, logits, words);
    const double part = cross_entropy(logits, bo_.value, p.target.data() + begin, count, words, scale, dbias);
    sgemm('N', 'N', count, n_, words, logits, words, wo_.value, n_, 0, dh + begin * n_, n_);
    const std::lock_guard lock(merging);
    loss += part;
    add(bo_.gradient, dbias, words);
  });
  on_threads(s_.words, [&](int64_t begin, int64_t end) {
    sgemm('T', 'N', end - begin, n_, out_, logits_ + begin, s_.words, h, n_, 0, wo_.gradient + begin * n_,
          n_);
  });
  return loss * static_cast<double>(scale);
}

void Seq2Seq::decode_back(const Pairs& p) {
  Gated& g = decoder_;
  dkeys_.zero();
  encoder_.dh.zero();
  v_.gradient.zero();
  std::mutex merging;
  on_threads(s_.batch, [&](int64_t begin, int64_t end) {
    Floats dv(n_), dcontext((end - begin) * n_), room(s_.source + 16);
    std::fill(g.dh + begin * n_, g.dh + end * n_, 0.f);
    for (int64_t t = s_.target; t-- > 0;) {
      const int64_t at = t * s_.batch + begin, last = t * s_.batch + end, rows = end - begin;
      for (int64_t r = at; r < last; ++r) {
        const GruBack back = row_back(g, r, 4);
        HWY_DYNAMIC_DISPATCH(GruBackward)(back, n_);
        add(g.dh + r * n_, back.dh, n_);
      }
      sgemm('N', 'N', rows, n_, 3 * n_, g.zx + at * 3 * n_, 3 * n_, g.w.value + n_, 2 * n_, 0, dcontext, n_);
      for (int64_t r = at; r < last; ++r) {
        const int64_t b = r % s_.batch;
        HWY_DYNAMIC_DISPATCH(AttendBackward)
        (attention(r), {dcontext + (r - at) * n_, dkeys_ + b * n_, encoder_.dh + (s_.batch + b) * n_,
                        g.zh + r * 4 * n_ + 3 * n_, dv, room});
      }
      sgemm('N', 'N', rows, n_, 4 * n_, g.zh + at * 4 * n_, 4 * n_, readers_, n_, 1, g.dh + at * n_, n_);
    }
    const std::lock_guard lock(merging);
    add(v_.gradient, dv, n_);
  });
  weight_gradient(3 * n_, n_, out_, g.zx, 3 * n_, g.x, n_, g.w.gradient, 2 * n_);
  weight_gradient(3 * n_, n_, out_, g.zx, 3 * n_, context_, n_, g.w.gradient + n_, 2 * n_);
  weight_gradient(3 * n_, n_, out_, g.zh, 4 * n_, g.h, n_, g.u.gradient, n_);
  weight_gradient(n_, n_, out_, g.zh + 3 * n_, 4 * n_, g.h, n_, wq_.gradient, n_);
  sum_rows(g.bw, g.zx, out_, 3 * n_);
  sum_rows(g.bu, g.zh, out_, 4 * n_);
  sgemm('N', 'N', out_, n_, 3 * n_, g.zx, 3 * n_, g.w.value, 2 * n_, 0, g.dx, n_);
  target_.clear();
  target_.scatter(p.target_in, g.dx);
}

void Seq2Seq::encode_back(const Pairs& p) {
  Gated& g = encoder_;
  const float* memory = g.h + s_.batch * n_;
  weight_gradient(n_, n_, in_, dkeys_, n_, memory, n_, wk_.gradient, n_);
  sum_rows(bk_, dkeys_, in_, n_);
  sgemm('N', 'N', in_, n_, n_, dkeys_, n_, wk_.value, n_, 1, g.dh + s_.batch * n_, n_);
  add(g.dh + in_ * n_, decoder_.dh, s_.batch * n_);  // the decoder started from the last state
  on_threads(s_.batch, [&](int64_t begin, int64_t end) {
    for (int64_t t = s_.source; t-- > 0;) {
      const int64_t at = t * s_.batch + begin;
      for (int64_t r = at; r < t * s_.batch + end; ++r) {
        const GruBack back = row_back(g, r, 3);
        HWY_DYNAMIC_DISPATCH(GruBackward)(back, n_);
        add(g.dh + r * n_, back.dh, n_);
      }
      if (t == 0) break;
      sgemm('N', 'N', end - begin, n_, 3 * n_, g.zh + at * 3 * n_, 3 * n_, g.u.value, n_, 1, g.dh + at * n_,
            n_);
    }
  });
  weight_gradient(3 * n_, n_, in_, g.zx, 3 * n_, g.x, n_, g.w.gradient, n_);
  weight_gradient(3 * n_, n_, in_, g.zh, 3 * n_, g.h, n_, g.u.gradient, n_);
  sum_rows(g.bw, g.zx, in_, 3 * n_);
  sum_rows(g.bu, g.zh, in_, 3 * n_);
  sgemm('N', 'N', in_, n_, 3 * n_, g.zx, 3 * n_, g.w.value, n_, 0, g.dx, n_);
  source_.clear();
  source_.scatter(p.source, g.dx);
}

}  // namespace
}  // namespace expert

std::unique_ptr<Stepper> hand_seq2seq(const Seq2SeqSizes& sizes, const Weights& weights) {
  return std::make_unique<expert::Seq2Seq>(sizes, weights);
}

}  // namespace reel::bench
#endif
