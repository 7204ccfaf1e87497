// The loop around a step of training: a resumed run ends where the uninterrupted one does.
#include "examples/common/training_loop.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "reel.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using scratch::Contains;
using scratch::message_of;

namespace {

// Noise on its way through a linear layer; the random generator is part of what is resumed.
struct Run {
  nn::Linear model{{}, 3, 2};
  CommonFlags common;
  long first = -1, seen = 0;  // its first step, and how often something was done between steps
  std::vector<double> weights;

  // Ends by an exception at step `killed`, if any.
  Run(const std::string& out, long steps, const std::string& resume = "", const LoopOptions& options = {},
      long killed = -1) {
    manual_seed(5);
    nn::init::fill(model.weight, nn::init::normal(0, 1));
    nn::init::fill(model.bias, nn::init::constant(0));
    common = {.out = out, .steps = steps, .lr = 0.1, .log_every = 2, .resume = resume};
    TrainingLoop loop("test", common, model, options);
    loop.every(5, [&] { ++seen; });
    first = loop.step();
    const bool done = loop.run([&](long step) {
      if (step == killed) fail("killed");
      const Tensor x = normal({4, 3});
      return TrainingLoop::Step{mse_loss(model(x), slice(x, 1, 0, 2)), 4, {}};
    });
    REQUIRE(done);
    loop.finish({{"about", "x"}});
    weights = model.weight.to_vector<double>();
  }
};

}  // namespace

TEST_CASE("a run equals one that was killed and resumed, to the bit") {
  const scratch::Folder folder;
  for (const bool decay : {false, true}) {
    const LoopOptions options{.clip_norm = 1, .decay = decay};
    const Run whole(folder / "whole", 20, "", options);
    CHECK(whole.seen == 3);
    CHECK(message_of([&] { Run(folder / "part", 20, "", options, 12); }) == "killed");
    const Run rest(folder / "part", 20, folder / "part/checkpoint.safetensors", options);
    CHECK(rest.first == 10);
    CHECK(rest.seen == 1);
    CHECK(rest.weights == whole.weights);
    for (const char* file : {"/metrics.jsonl", "/loss.svg"}) {
      CHECK(scratch::get(folder / "part" + file) == scratch::get(folder / "whole" + file));
    }
  }
  const std::string metrics = scratch::get(folder / "whole/metrics.jsonl");
  CHECK(std::ranges::count(metrics, '\n') == 10);
  CHECK(metrics == Contains("{\"step\":2,\"loss\":"));
  CHECK(std::filesystem::exists(folder / "whole/model.safetensors"));
  CHECK(scratch::get(folder / "whole/loss.svg") == Contains("<svg"));
}

TEST_CASE("checkpoints come by the clock too, and change nothing") {
  const scratch::Folder folder;
  const Run whole(folder / "whole", 9);
  const LoopOptions often{.save_every = 0};
  CHECK(message_of([&] { Run(folder / "part", 9, "", often, 4); }) == "killed");
  const Run rest(folder / "part", 9, folder / "part/checkpoint.safetensors", often);
  CHECK(rest.first == 4);
  CHECK(rest.weights == whole.weights);
}

TEST_CASE("a checkpoint of other flags, a loss that is no number: refused with a sentence") {
  const scratch::Folder folder;
  Run(folder / "a", 3, "", {.same = {{"--delay", "2"}}});
  const std::string checkpoint = folder / "a/checkpoint.safetensors";
  CHECK(message_of([&] {
          Run(folder / "a", 3, checkpoint, {.same = {{"--delay", "3"}}});
        }) == Contains("the checkpoint's --delay is 2 and this run's 3"));
  nn::Linear model({}, 1, 1);
  const CommonFlags common{.out = folder / "b", .steps = 3, .lr = 0.1, .log_every = 1};
  TrainingLoop loop("test", common, model, {});
  CHECK(message_of([&] {
          loop.run([&](long) { return TrainingLoop::Step{sum(model(ones({1, 1})) / 0.0), 1, {}}; });
        }) == Contains("the loss at step 1 is"));
}

TEST_CASE("clipping and a hook see the gradients before the update") {
  const scratch::Folder folder;
  nn::Linear model({}, 2, 1, false);
  model.weight.assign(zeros({1, 2}));
  const CommonFlags common{.out = folder / "c", .steps = 1, .lr = 1, .log_every = 1};
  double before = 0;
  TrainingLoop loop("test", common, model, {.optimizer = "sgd", .clip_value = 0.5, .on_gradients = [&] {
                                              before = model.weight.grad().to_vector<double>()[0];
                                            }});
  loop.run([&](long) { return TrainingLoop::Step{sum(model(full({1, 2}, 3))), 1, {}}; });
  CHECK(before == 3);
  CHECK(model.weight.to_vector<double>() == std::vector<double>{-0.5, -0.5});
}

TEST_CASE("a falling learning rate goes from its full value to almost 0") {
  const scratch::Folder folder;
  nn::Linear model({}, 1, 1, false);
  model.weight.assign(zeros({1, 1}));
  const CommonFlags common{.out = folder / "d", .steps = 4, .lr = 1, .log_every = 1};
  TrainingLoop loop("test", common, model, {.optimizer = "sgd", .decay = true});
  loop.run([&](long) { return TrainingLoop::Step{sum(model(ones({1, 1}))), 1, {}}; });
  CHECK(model.weight.item() == -(1 + 0.75 + 0.5 + 0.25));
}

TEST_CASE("parts of a loss come into the metrics and the picture") {
  const scratch::Folder folder;
  nn::Linear model({}, 1, 1, false);
  const CommonFlags common{.out = folder / "e", .steps = 2, .lr = 0.1, .log_every = 1};
  TrainingLoop loop("test", common, model, {.after_step = [](double) {
                      return std::vector<Field>{{"more", 7}};
                    }});
  loop.run([&](long) {
    const Tensor a = sum(model(ones({1, 1}))) * 0.0 + 2.0, b = a + 1.0;
    return TrainingLoop::Step{a + b, 1, {{"first part", a}, {"second", b}}};
  });
  loop.finish();
  CHECK(scratch::get(folder / "e/metrics.jsonl") == Contains(R"("first part":2.0,"second":3.0,"more":7})"));
  CHECK(scratch::get(folder / "e/loss.svg") == Contains("first part"));
}

TEST_CASE(
    "what a pass takes is the median of the whole ones, and before the first is over what it would take") {
  PassClock clock(3);
  CHECK(std::isnan(clock.seconds()));
  for (const double seconds : {1, 2}) clock.add(seconds);
  CHECK(clock.seconds() == 4.5);
  for (const double seconds : {3, 50, 50, 50, 2, 2, 3, 1000}) clock.add(seconds);
  CHECK(clock.seconds() == 7);  // of 6, 150 and 7; the last pass is not over
  for (const double seconds : {1, 1}) clock.add(seconds);
  CHECK(clock.seconds() == 78.5);
  CHECK(std::isnan(PassClock(0).seconds()));
}

TEST_CASE("a file that --load or --resume refuses leaves --out as it was, or not made at all") {
  const scratch::Folder folder;
  Run(folder / "old", 4);
  const std::string metrics = scratch::get(folder / "old/metrics.jsonl");
  scratch::put(folder / "broken", "no weights");
  const LoopOptions refuses{.restore = [](const Checkpoint&) { fail("not mine"); }};
  const auto start = [&](const std::string& out, const std::string& load, const std::string& resume) {
    nn::Linear model({}, 3, 2);
    const CommonFlags common{
        .out = out, .steps = 4, .lr = 0.1, .log_every = 2, .load = load, .resume = resume};
    return message_of([&] { TrainingLoop("test", common, model, refuses); });
  };
  for (const char* out : {"old", "new"}) {
    for (const char* file : {"missing", "broken"}) {
      CHECK(start(folder / out, folder / file, "") == Contains(folder / file));
      CHECK(start(folder / out, "", folder / file) == Contains(folder / file));
    }
    CHECK(start(folder / out, "", folder / "old/checkpoint.safetensors") == Contains("not mine"));
  }
  CHECK(scratch::get(folder / "old/metrics.jsonl") == metrics);
  CHECK_FALSE(std::filesystem::exists(folder / "new"));
}
