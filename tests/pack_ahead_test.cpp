// Weights that are packed while a new structure is planned.
#include <doctest/doctest.h>

#include "reel.h"
#include "tests/random_program.h"

using namespace reel;

namespace {

// Steps of ever new lengths; between them the weights move, in place or to other memory.
tests::Rows trained(int threads, bool replaced) {
  set_num_threads(threads);
  manual_seed(3);
  nn::LSTM lstm({}, 20, 100);
  nn::RNN square_weights({}, 100, 192);
  Tensors parameters = lstm.parameters();
  for (const Tensor& p : square_weights.parameters()) parameters.push_back(p);
  optim::SGD optimizer(parameters, {.lr = 0.5});
  tests::Rows values;
  for (int64_t step = 0; step < 6; ++step) {
    optimizer.zero_grad();
    const Tensor loss = mean(square(square_weights(lstm(normal({3 + step, 8, 20})).output).output));
    loss.backward();
    values.push_back({loss.item()});
    for (const Tensor& p : parameters) values.push_back(p.grad().to_vector<double>());
    optimizer.step();
    if (replaced && step == 2) {
      nn::LSTM other({}, 20, 100);
      lstm.load_state_dict(other.state_dict());
    }
  }
  set_num_threads(0);
  return values;
}

}  // namespace

TEST_CASE("packed ahead: new structures read the weights of their step, not those of the last one") {
  for (const bool replaced : {false, true}) {
    tests::Rows want;
    {
      const Eager eager;
      want = trained(1, replaced);
    }
    for (const int threads : {1, 2, 4}) CHECK(tests::distance(trained(threads, replaced), want) < 1e-4);
  }
}
