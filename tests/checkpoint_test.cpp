// Checkpoints and weights: what is saved comes back, and what does not fit is refused by name, changing
// nothing.
#include "examples/common/checkpoint.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "examples/common/optimizer.h"
#include "nn/layers.h"
#include "ops/ops.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using namespace reel::scratch;

namespace {

struct Model : nn::Module {
  nn::Linear linear{{this, "linear"}, 3, 2};
};

void train(Model& model, optim::Optimizer& optimizer) {
  optimizer.zero_grad();
  sum(model.linear(ones({4, 3}))).backward();
  optimizer.step();
}

}  // namespace

TEST_CASE("checkpoint: training goes on as if it had not stopped") {
  const Folder folder;
  const std::string path = folder / "checkpoint";
  Model model, other;
  const auto adam = make_optimizer("adam", model.named_parameters(), 0.1);
  const auto fresh = make_optimizer("adam", other.named_parameters(), 0.5);
  train(model, *adam);
  save_checkpoint(path, model, *adam, {.tensors = {{"state", full({2}, 7)}}, .text = {{"step", "1"}}});
  const Checkpoint from = load_checkpoint(path, other, *fresh, {{"step", "1"}});
  CHECK(from.whole("step") == 1);
  CHECK(from.tensor("state", zeros({2})).to_vector<double>() == std::vector<double>{7, 7});
  train(model, *adam);
  train(other, *fresh);
  CHECK(other.linear.weight.to_vector<double>() == model.linear.weight.to_vector<double>());
}

TEST_CASE("checkpoint: what does not fit is refused, and nothing changes") {
  const Folder folder;
  const std::string path = folder / "checkpoint", weights = folder / "weights";
  Model model;
  const auto sgd = make_optimizer("sgd", model.named_parameters(), 0.1);
  save_checkpoint(
      path, model, *sgd,
      {.tensors = {{"state", zeros({2})}}, .text = {{"step", "-1"}, {"--batch", "4"}, {"text", "a\n"}}});
  save_weights(weights, model, {{"kind", "demo"}});
  const auto resume = [&](const std::map<std::string, std::string>& same) {
    return message_of([&] { load_checkpoint(path, model, *sgd, same); });
  };
  CHECK(resume({{"--batch", "4"}}) == "nothing was thrown");
  CHECK(resume({{"--batch", "5"}}) == Contains("checkpoint: the checkpoint's --batch is 4 and this run's 5"));
  CHECK(resume({{"text", "b"}}) == Contains("the checkpoint's text is not this run's"));
  CHECK(resume({{"model", "rnn"}}) == Contains("the checkpoint has no 'model'"));
  CHECK(message_of([&] { load_checkpoint(weights, model, *sgd); }) == Contains("want a checkpoint"));
  CHECK(message_of([&] { load_weights(path, model); }) == Contains("want the weights of a model"));
  CHECK(load_weights(weights, model).at("kind") == "demo");

  const Checkpoint from = load_checkpoint(path, model, *sgd);
  CHECK(message_of([&] { from.whole("step"); }) ==
        Contains("checkpoint: the checkpoint's step is -1: want 0"));
  CHECK(message_of([&] { from.number("text"); }) == Contains("want a number"));
  CHECK(message_of([&] { from.tensor("state", zeros({3})); }) ==
        Contains("'state' is f32 [2]: want f32 [3]"));
  CHECK(message_of([&] { from.tensor("none", zeros({3})); }) == Contains("has no tensor 'none'"));
}

TEST_CASE("checkpoint: weights are finite, and their sizes are those of matrices that are there") {
  const Folder folder;
  const std::string path = folder / "weights";
  Model model;
  const auto before = model.linear.weight.to_vector<double>();
  save_safetensors(path, {{"linear.weight", full({2, 3}, NAN)}, {"linear.bias", zeros({2})}});
  CHECK(message_of([&] { load_weights(path, model); }) ==
        Contains("weights: 'linear.weight' holds a NaN or an infinity"));
  CHECK(model.linear.weight.to_vector<double>() == before);

  const auto sizes = [&](const NamedTensors& tensors) {
    save_safetensors(path, tensors);
    return message_of([&] {
      const RecurrentSizes found = recurrent_in(load_safetensors(path), path, "rnn");
      fail("{} x {}", found.layers, found.hidden);
    });
  };
  CHECK(sizes({{"rnn.weight_hh_l0", zeros({6, 2})}, {"rnn.weight_hh_l1", zeros({6, 2})}}) == "2 x 2");
  CHECK(sizes({{"rnn.weight_hh_l1", zeros({6, 2})}}) == Contains("'rnn.weight_hh_l0' is missing"));
  CHECK(sizes({{"rnn.weight_hh_l0", zeros({0, 1'000'000'000})}}) == Contains("want a matrix"));
  CHECK(sizes({{"rnn.weight_hh_l0", zeros({3, 60'000})}}) == Contains("want [gates * 60000, 60000]"));
  CHECK(sizes({{"rnn.weight_hh_l0", zeros({6, 2})}, {"rnn.weight_hh_l1", zeros({4})}}) ==
        Contains("_l1' has shape"));
}
