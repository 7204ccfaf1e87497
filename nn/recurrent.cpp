#include "nn/recurrent.h"

namespace reel::nn {

namespace {

void check_probability(const char* name, double p) {
  if (!(p >= 0 && p < 1)) fail("[Recurrent] {} {}: want 0 <= p < 1", name, p);
}

Tensor dropout_mask(double p, const Tensor& like) { return dropout(full(like.shape(), 1, like.dtype()), p); }

}  // namespace

RecurrentBase::RecurrentBase(Member at, const RecurrentOptions& options)
    : Module(std::move(at)), options_(options) {
  if (options.num_layers < 1) fail("[Recurrent] num_layers {}: want at least 1", options.num_layers);
  check_probability("dropout", options.dropout);
  check_probability("recurrent_dropout", options.recurrent_dropout);
  for (const double p : options.zoneout) check_probability("zoneout", p);
}

void RecurrentBase::draw_masks(Steps& steps, std::span<Tensor* const> state) const {
  const std::vector<double>& rates = options_.zoneout;
  if (rates.size() > state.size()) {
    fail("[Recurrent] {} rates of zoneout for a state of {} parts: want at most one each", rates.size(),
         state.size());
  }
  if (training() && options_.recurrent_dropout > 0) {
    steps.drop = dropout_mask(options_.recurrent_dropout, *state[0]);
  }
  if (rates.empty()) return;
  for (size_t t = 0; t < steps.x.size(); ++t) {
    std::vector<Tensor> keep;
    for (size_t k = 0; k < rates.size(); ++k) {
      const DType dtype = state[k]->dtype();
      keep.push_back(training() ? bernoulli(state[k]->shape(), rates[k], dtype)
                                : full({1, 1}, rates[k], dtype));
    }
    steps.keep.push_back(std::move(keep));
  }
}

Steps RecurrentBase::dropped_between(const Steps& steps) const {
  Steps in = steps;
  if (!training() || options_.dropout == 0) return in;
  const Tensor mask = options_.variational ? dropout_mask(options_.dropout, steps.x[0]) : Tensor();
  for (Tensor& x : in.x) x = mask.defined() ? x * mask : dropout(x, options_.dropout);
  return in;
}

Tensor RecurrentBase::merged(const Tensor& forward, const Tensor& backward) const {
  return options_.merge == Merge::sum ? forward + backward : concat({forward, backward}, -1);
}

void RecurrentBase::add_residual(const Steps& steps, std::vector<Tensor>& outputs) const {
  if (steps.x[0].size(1) != outputs[0].size(1)) return;
  for (size_t t = 0; t < outputs.size(); ++t) outputs[t] = outputs[t] + steps.x[t];
}

}  // namespace reel::nn
