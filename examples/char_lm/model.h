// The character model: one-hot characters, recurrent layers, a linear output. Written once for RNN, GRU and
// LSTM.
#pragma once

#include <cmath>
#include <random>

#include "examples/char_lm/text.h"
#include "examples/common/interrupt.h"
#include "reel.h"

namespace reel::examples {

template <class Layers>
struct CharModel : nn::Module {
  using States = std::vector<typename Layers::State>;

  // `kind` names the parameters: rnn.weight_ih_l0, output.weight. One bias a gate, as the lectures write it.
  CharModel(const std::string& kind, int64_t characters, const nn::RecurrentOptions& options, int64_t hidden)
      : recurrent({this, kind}, characters, hidden, options), output({this, "output"}, hidden, characters) {}

  struct Prediction {
    Tensor logits;  // [time, batch, characters]
    States states;
  };
  Prediction operator()(const Tensor& ids, const States& states) const {  // ids [time, batch]
    auto [h, last] = recurrent(one_hot(ids, output.weight.size(0)), states);
    return {output(h), std::move(last)};
  }

  Layers recurrent;
  nn::Linear output;
};

template <class States>
States carried(States states) {
  for (auto& state : states) state = nn::detached(state);
  return states;
}

// Draws the next character from softmax(logits / temperature); temperature 0 takes the likeliest.
inline int64_t draw(const std::vector<double>& logits, double temperature, std::mt19937_64& random) {
  for (const double x : logits) {
    if (!std::isfinite(x))
      fail("the model predicts a logit of {}: want weights trained with a smaller --lr", x);
  }
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature == 0) return best - logits.begin();
  std::vector<double> weights;
  for (double x : logits) weights.push_back(std::exp((x - *best) / temperature));
  return std::discrete_distribution<int64_t>(weights.begin(), weights.end())(random);
}

// Lets the model read the prompt and then write `length` characters, each one fed back as the next input;
// less when interrupted.
template <class Layers>
std::string write(CharModel<Layers>& model, const Characters& characters, const std::string& prompt,
                  int64_t length, double temperature, uint64_t seed) {
  const NoGrad no_grad;
  const bool training = model.training();
  model.eval();
  std::mt19937_64 random(seed);
  auto states = model.recurrent.initial(1);
  std::vector<int64_t> input = characters.encode(prompt, "--prompt");
  std::string text = prompt;
  for (int64_t i = 0; i < length && !interrupted(); ++i) {
    const auto count = static_cast<int64_t>(input.size());
    auto [logits, next] = model(Tensor::from(input, {count, 1}), states);
    const int64_t id =
        draw(select(select(logits, 0, -1), 0, 0).template to_vector<double>(), temperature, random);
    text += characters[id];
    input = {id};
    states = std::move(next);
  }
  model.train(training);
  return text;
}

}  // namespace reel::examples
