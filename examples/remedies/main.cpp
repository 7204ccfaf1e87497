// remedies: clipping, weight decay, dropout, leaky units, gates, clocks and skips against a long delay
// Subject: Gradients through time
#include <fmt/format.h>

#include <type_traits>

#include "examples/common/confusion.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/sequence_network.h"
#include "examples/common/training_loop.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 4000, .batch = 32, .hidden = 16, .lr = 0.5, .log_every = 20};
  long delay = 40;
  double gain = 1.5, leak = 0.98;

  void declare(Flags& flags) {
    add_common(flags, common, 0);
    flags.whole("--delay", delay, "steps of noise between the symbol and the question", 4, 1000);
    flags.number("--gain", gain, "of the RNN's initial U, orthogonal", 0, 10);
    flags.number("--leak", leak, "of leaky units: the share that stays", 0, 1);
  }
};

constexpr int64_t symbols = 4;
constexpr int beginnings = 3;  // of each contender, with other initial weights

struct Contender {
  std::string name;
  std::function<std::unique_ptr<SequenceNetwork>(nn::Member)> make;
  std::function<void(const std::vector<Tensor>&)> remedy = [](const auto&) {};  // on the gradients
  std::vector<std::unique_ptr<SequenceNetwork>> networks = {};
};

struct Contenders : nn::Module {
  std::vector<Contender> all;

  explicit Contenders(const Settings& s) {
    using Parameters = std::vector<Tensor>;
    using nn::RNNCell, std::type_identity;
    const int64_t hidden = s.common.hidden;
    const double leak = s.leak;
    const auto network = [=]<class Layers>(type_identity<Layers>, const nn::CellOptions& cell,
                                           double dropout = 0) {
      return [=](nn::Member at) -> std::unique_ptr<SequenceNetwork> {
        return std::make_unique<Network<Layers>>(at, symbols + 1, hidden, symbols,
                                                 nn::RecurrentOptions{.cell = cell}, dropout);
      };
    };
    const type_identity<nn::RNN> rnn;
    const nn::CellOptions plain{.bias = nn::Bias::one, .init = [gain = s.gain](const Shape& shape) {
                                  return shape.rank() == 1 ? zeros(shape) : nn::init::orthogonal(gain)(shape);
                                }};
    all.push_back({"plain", network(rnn, plain)});
    all.push_back(
        {"clip_elements", network(rnn, plain), [](const Parameters& p) { optim::clip_grad_value(p, 0.1); }});
    all.push_back(
        {"clip_L1", network(rnn, plain), [](const Parameters& p) { optim::clip_grad_norm(p, 1, 1); }});
    all.push_back(
        {"clip_L2", network(rnn, plain), [](const Parameters& p) { optim::clip_grad_norm(p, 1, 2); }});
    all.push_back({"weight_decay", network(rnn, plain), [](const Parameters& parameters) {
                     for (Tensor p : parameters) p.set_grad(p.grad() + 1e-3 * detach(p));
                   }});
    all.push_back({"dropout", network(rnn, plain, 0.3)});
    // Cells around the RNN's, whose options come after the layers'.
    const auto around = [=]<class Cell>(type_identity<Cell>, const auto& options) {
      return [=](nn::Member at) -> std::unique_ptr<SequenceNetwork> {
        return std::make_unique<Network<nn::Recurrent<Cell>>>(at, symbols + 1, hidden, symbols,
                                                              nn::RecurrentOptions{}, 0.0, options);
      };
    };
    all.push_back({"leaky", around(type_identity<nn::Leaky<RNNCell>>(), nn::LeakOptions{.alpha = {leak}})});
    all.push_back({"GRU", network(type_identity<nn::GRU>(), open_update_gate(hidden, 3))});
    // Its gates keep the gradient alive, and do not keep it small.
    all.push_back({"LSTM_clipped", network(type_identity<nn::LSTM>(), open_forget_gate(hidden, 3)),
                   [](const Parameters& p) { optim::clip_grad_norm(p, 1, 2); }});
    all.push_back({"clocks", around(type_identity<nn::Clocked<RNNCell>>(),
                                    nn::ClockOptions{.periods = {1, 4, 16, 64}})});
    all.push_back(
        {"skip", around(type_identity<nn::SkipThroughTime<RNNCell>>(), nn::SkipOptions{.steps = 10})});
    for (Contender& c : all) {
      for (int k = 0; k < beginnings; ++k) {
        c.networks.push_back(c.make({this, fmt::format("{}_{}", c.name, k)}));
      }
    }
  }
};

// One of four symbols, then noise; at the end the network is to say which symbol it was.
struct Question {
  Tensor x;       // [1 + delay, batch, symbols + 1]
  Tensor answer;  // [batch]

  Question(long delay, int64_t batch) {
    answer = to(4.0 * uniform({batch}), DType::i64);
    const Tensor symbol = unsqueeze(concat({one_hot(answer, symbols), zeros({batch, 1})}, 1), 0);
    const Tensor noise = concat({zeros({delay, batch, symbols}), normal({delay, batch, 1})}, 2);
    x = concat({symbol, noise}, 0);
  }
};

Tensor last_logits(const SequenceNetwork& network, const Question& q) { return select(network(q.x), 0, -1); }

// The share of right answers, over all beginnings.
double score(const Contender& contender, long delay) {
  const Question q(delay, 300);
  const auto truth = q.answer.to_vector<int64_t>();
  double sum = 0;
  for (const auto& network : contender.networks) {
    sum += accuracy(argmax(last_logits(*network, q), -1).to_vector<int64_t>(), truth);
  }
  return sum / beginnings;
}

int run(const Settings& s) {
  Contenders contenders(s);
  TrainingLoop loop("remedies", s.common, contenders,
                    {.optimizer = "sgd",
                     .on_gradients =
                         [&] {
                           for (const Contender& c : contenders.all) {
                             for (const auto& network : c.networks) c.remedy(network->parameters());
                           }
                         },
                     .decay = true,
                     .title = "Remedies: loss (guessing: 1.39)",
                     .y_label = "nats",
                     .same = {{"--delay", std::to_string(s.delay)}}});
  const bool done = loop.run([&](long step) {
    const Question q((step % 4 + 1) * s.delay / 4, s.common.batch);  // shorter delays among the long ones
    TrainingLoop::Step now{zeros({}), static_cast<double>(s.common.batch), {}};
    for (const Contender& c : contenders.all) {
      Tensor losses = zeros({});
      for (const auto& network : c.networks)
        losses = losses + cross_entropy(last_logits(*network, q), q.answer);
      now.loss = now.loss + losses;
      now.parts.emplace_back(c.name, losses / static_cast<double>(beginnings));
    }
    return now;
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish();

  const NoGrad no_grad;
  contenders.eval();
  HeatMap map{.title = "Which remedy bridges which delay",
              .row_label = "",
              .column_label = "delay",
              .value_label = "accuracy",
              .low = 0.25,
              .high = 1};
  for (long part = 1; part <= 6; ++part) map.columns.push_back(std::to_string(part * s.delay / 4));
  std::vector<Field> results;
  for (const Contender& c : contenders.all) {
    map.rows.push_back(c.name);
    for (long part = 1; part <= 6; ++part) map.values.push_back(score(c, part * s.delay / 4));
    const double at_delay = map.values[map.values.size() - 3];
    say("{:<14} answers {:.1f} % after {} steps\n", c.name, 100 * at_delay, s.delay);
    results.emplace_back(c.name, at_delay);
  }
  write_svg(s.common.out + "/remedies.svg", heat_map(map));
  say("picture {}/remedies.svg\n", s.common.out);
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "remedies",
      "Compares what helps an RNN to remember a symbol through a long stretch of noise.", run);
}
