// W7 by hand: hoisted input projections, one product for the two readers of the decoder's state (its gates
// and attention's query), fused gates, attention as two fused kernels, one exponential a logit.
#include <memory>
#include <mutex>

#include "benchmarks/hand/parameters.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/hand/seq2seq_kernels.h"
#include "benchmarks/tree_attention_workloads.h"

namespace reel::bench {
namespace expert {

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
      for (int64_t r = at; r < t * s_.batch + end; ++r) gru(row(g, r, nullptr, 3), n_);
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
      for (int64_t r = at; r < last; ++r) attend(attention(r));
      from_context.multiply(context_ + at * n_, n_, 0, zc, 3 * n_);
      for (int64_t r = at; r < last; ++r) gru(row(g, r, zc + (r - at) * 3 * n_, 4), n_);
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
        gru_back(back, n_);
        add(g.dh + r * n_, back.dh, n_);
      }
      sgemm('N', 'N', rows, n_, 3 * n_, g.zx + at * 3 * n_, 3 * n_, g.w.value + n_, 2 * n_, 0, dcontext, n_);
      for (int64_t r = at; r < last; ++r) {
        const int64_t b = r % s_.batch;
        attend_back(attention(r), {dcontext + (r - at) * n_, dkeys_ + b * n_,
                                   encoder_.dh + (s_.batch + b) * n_, g.zh + r * 4 * n_ + 3 * n_, dv, room});
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
        gru_back(back, n_);
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
