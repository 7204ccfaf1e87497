// remedies: clipping, weight decay, dropout, leaky units and gates against a long delay
#include <fmt/format.h>

#include "examples/common/interrupt.h"
#include "examples/common/result.h"
#include "examples/common/sequence_network.h"
#include "examples/common/training_loop.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 5000, .batch = 32, .hidden = 16, .lr = 0.5, .log_every = 20};
  long delay = 40;
  double gain = 1.5, leak = 0.98;

  void declare(Flags& flags) {
    add_common(flags, common, 0);
    flags.whole("--delay", delay, "steps of noise between the symbol and the question", 4, 1000);
    flags.number("--gain", gain, "of the RNN's initial U, orthogonal", 0, 10);
    flags.number("--leak", leak, "of leaky units: the share that stays", 0, 1);
  }
};

// h_t = a h_(t-1) + (1 - a) tanh(W x_t + U h_(t-1) + b)
double leak_share = 0;
class LeakyCell : public nn::RNNCell {
 public:
  using nn::RNNCell::RNNCell;
  Tensor operator()(const Tensor& x, const Tensor& h) const {
    return leak_share * h + (1 - leak_share) * nn::RNNCell::operator()(x, h);
  }
};

struct Contender {
  std::string name;
  std::unique_ptr<SequenceNetwork> network;
  std::function<void(const std::vector<Tensor>&)> remedy;  // on the gradients, before the update
};

constexpr int64_t symbols = 4;

struct Contenders : nn::Module {
  std::vector<Contender> all;

  explicit Contenders(const Settings& s) {
    using Parameters = std::vector<Tensor>;
    const auto nothing = [](const Parameters&) {};
    const int64_t hidden = s.common.hidden;
    const nn::RecurrentOptions plain{.cell = {.bias = nn::Bias::one, .init = [&](const Shape& shape) {
                                                return shape.rank() == 1
                                                           ? zeros(shape)
                                                           : nn::init::orthogonal(s.gain)(shape);
                                              }}};
    const auto rnn = [&](const std::string& name, auto remedy, double dropout = 0) {
      all.push_back({name,
                     std::make_unique<Network<nn::RNN>>(nn::Member{this, name}, symbols + 1, hidden, symbols,
                                                        plain, dropout),
                     remedy});
    };
    rnn("plain", nothing);
    rnn("clip_elements", [](const Parameters& p) { optim::clip_grad_value(p, 0.1); });
    rnn("clip_L1", [](const Parameters& p) { optim::clip_grad_norm(p, 1, 1); });
    rnn("clip_L2", [](const Parameters& p) { optim::clip_grad_norm(p, 1, 2); });
    rnn("weight_decay", [](const Parameters& parameters) {
      const NoGrad no_grad;
      for (Tensor p : parameters) p.set_grad(p.grad() + 1e-3 * detach(p));
    });
    rnn("dropout", nothing, 0.3);
    const auto gated = [&](const std::string& name, auto network) {
      all.push_back({name, std::move(network), nothing});
    };
    gated("leaky", std::make_unique<Network<nn::Recurrent<LeakyCell>>>(nn::Member{this, "leaky"}, symbols + 1,
                                                                       hidden, symbols));
    gated("GRU",
          std::make_unique<Network<nn::GRU>>(nn::Member{this, "GRU"}, symbols + 1, hidden, symbols,
                                             nn::RecurrentOptions{.cell = open_update_gate(hidden, 3)}));
    gated("LSTM",
          std::make_unique<Network<nn::LSTM>>(nn::Member{this, "LSTM"}, symbols + 1, hidden, symbols,
                                              nn::RecurrentOptions{.cell = open_forget_gate(hidden, 3)}));
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

int run(const Settings& s) {
  leak_share = s.leak;
  Contenders contenders(s);
  TrainingLoop loop("remedies", s.common, contenders,
                    {.optimizer = "sgd",
                     .on_gradients =
                         [&] {
                           for (const Contender& c : contenders.all) c.remedy(c.network->parameters());
                         },
                     .title = "Remedies: loss (guessing: 1.39)",
                     .y_label = "nats",
                     .same = {{"--delay", std::to_string(s.delay)}}});
  const bool done = loop.run([&](long step) {
    const Question q((step % 4 + 1) * s.delay / 4, s.common.batch);  // shorter delays among the long ones
    std::vector<Tensor> losses;
    for (const Contender& c : contenders.all)
      losses.push_back(cross_entropy(last_logits(*c.network, q), q.answer));
    const Tensor loss = sum(stack(losses, 0));
    TrainingLoop::Step now{loss, static_cast<double>(s.common.batch), {}};
    for (size_t k = 0; k < losses.size(); ++k) now.parts.emplace_back(contenders.all[k].name, losses[k]);
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
  std::vector<Field> results;
  for (const Contender& c : contenders.all) map.rows.push_back(c.name);
  for (long part = 1; part <= 6; ++part) map.columns.push_back(std::to_string(part * s.delay / 4));
  for (const Contender& c : contenders.all) {
    for (long part = 1; part <= 6; ++part) {
      const Question q(part * s.delay / 4, 500);
      const auto said = argmax(last_logits(*c.network, q), -1).to_vector<int64_t>();
      const auto truth = q.answer.to_vector<int64_t>();
      double right = 0;
      for (size_t k = 0; k < said.size(); ++k) right += said[k] == truth[k];
      map.values.push_back(right / static_cast<double>(said.size()));
      if (part == 4) results.emplace_back(c.name, map.values.back());
    }
    say("{:<14} answers {:.1f} % after {} steps\n", c.name, 100 * std::get<double>(results.back().value),
        s.delay);
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
  Flags flags("remedies", "Compares what helps an RNN to remember a symbol through a long stretch of noise.");
  Settings s;
  s.declare(flags);
  return run_main(argc, argv, flags, [&] {
    catch_interrupts();
    const auto precision = start_engine(s.common);
    return run(s);
  });
}
