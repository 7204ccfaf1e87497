// forecast: continues a chaotic series, with the hidden state as its memory or with the last output alone
// Subject: Recurrent networks
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/dice.h"
#include "examples/forecast/series.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 4000, .batch = 32, .hidden = 48, .lr = 5e-3, .log_every = 10};
  long context = 60, horizon = 100;
  std::string column;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.text("--column", column, "of --data's table; by default the last one");
    flags.whole("--context", context, "values it reads before it goes on by itself", 2, 100000);
    flags.whole("--horizon", horizon, "values it then forecasts", 1, 100000);
  }
};

// In training the next value is predicted at every step from the true ones (teacher forcing); a forecast
// reads the model's own outputs. x [time, batch, 1].
struct Forecaster : nn::Module {
  using nn::Module::Module;
  virtual Tensor next_values(const Tensor& x) const = 0;                       // after each x_t
  virtual Tensor continued(const Tensor& context, int64_t horizon) const = 0;  // [horizon, batch, 1]
};

// Hidden recurrence: x_(t+1) = x_t + V h_t + c.
struct Hidden : Forecaster {
  Hidden(nn::Member at, int64_t hidden)
      : Forecaster(std::move(at)), lstm({this, "lstm"}, 1, hidden), output({this, "output"}, hidden, 1) {}

  Tensor next_values(const Tensor& x) const override { return x + output(lstm(x).output); }
  Tensor continued(const Tensor& context, int64_t horizon) const override {
    auto [h, state] = lstm(context);
    const int64_t time = context.size(0);
    Tensor x = slice(context, 0, time - 1, time) + output(slice(h, 0, time - 1, time));
    Tensors all{x};
    while (static_cast<int64_t>(all.size()) < horizon) {
      auto [now, next] = lstm(x, std::move(state));
      x = x + output(now);
      state = std::move(next);
      all.push_back(x);
    }
    return concat(all, 0);
  }

  nn::LSTM lstm;
  nn::Linear output;
};

// Output recurrence: all that a step knows of the past is the value before.
struct Output : Forecaster {
  Output(nn::Member at, int64_t hidden)
      : Forecaster(std::move(at)), cell({this, "cell"}, 1, hidden, {}, {.size = 1}) {}

  Tensor next_values(const Tensor& x) const override {
    nn::Steps steps = nn::steps_of(zeros({x.size(0) + 1, x.size(1), 1}));
    steps.target = nn::steps_of(x).x;  // step t + 1 sees x_t
    Tensors y = nn::unroll(cell, steps, cell.initial(x.size(1))).outputs;
    y.erase(y.begin());
    return stack(y, 0);
  }
  Tensor continued(const Tensor& context, int64_t horizon) const override {
    const Tensor last = select(context, 0, context.size(0) - 1);
    return stack(nn::unroll(cell, zeros({horizon, context.size(1), 1}), last).outputs, 0);
  }

  nn::JordanCell cell;
};

struct Forecasters : nn::Module {
  Hidden lstm;
  Output output;
  explicit Forecasters(int64_t hidden) : lstm({this, "lstm"}, hidden), output({this, "output"}, hidden) {}
  std::array<const Forecaster*, 2> all() const { return {&lstm, &output}; }
};
constexpr std::array names = {"LSTM", "output recurrence"};

// Stretches of a series side by side, [length, batch, 1].
Tensor stretches(const std::vector<double>& series, const std::vector<size_t>& begins, long length) {
  std::vector<double> values;
  for (size_t t = 0; t < static_cast<size_t>(length); ++t) {
    for (const size_t begin : begins) values.push_back(series[begin + t]);
  }
  return to(Tensor::from(values, {length, static_cast<int64_t>(begins.size()), 1}), default_dtype());
}

// Forecasts from up to 200 places of the test, and their errors: the root of the mean square at each step
// ahead, in units of the series' deviation.
struct Trial {
  Tensor context, truth;
  std::vector<Series> errors;

  Trial(const Forecasters& models, const std::vector<double>& test, const Settings& s) {
    const size_t last = test.size() - static_cast<size_t>(s.context + s.horizon);
    std::vector<size_t> begins;
    for (size_t begin = 0; begin <= last; begin += last / 200 + 1) begins.push_back(begin);
    const Tensor all = stretches(test, begins, s.context + s.horizon);
    context = slice(all, 0, 0, s.context);
    truth = slice(all, 0, s.context, s.context + s.horizon);
    for (size_t k = 0; k < 2; ++k) add(names[k], models.all()[k]->continued(context, s.horizon));
    add("as it is now", broadcast_to(slice(context, 0, s.context - 1, s.context), truth.shape()));
  }

 private:
  void add(const std::string& name, const Tensor& forecast) {
    Series series{name, {}, sqrt(mean(square(forecast - truth), {1, 2})).to_vector<double>()};
    for (size_t k = 1; k <= series.y.size(); ++k) series.x.push_back(static_cast<double>(k));
    errors.push_back(std::move(series));
  }
};

// One forecast of the middle of the test beside what came.
void draw(const Forecasters& models, const Trial& trial, const TimeSeries& series, const std::string& path) {
  const int64_t which = trial.context.size(1) / 2, past = trial.context.size(0);
  LineChart chart{.title = "What comes next?", .x_label = "steps from now", .y_label = "value"};
  const auto add = [&](const std::string& name, const Tensor& values, int64_t from) {
    Series line{name, {}, {}};
    for (const double value : select(values, 1, which).to_vector<double>()) {
      line.x.push_back(static_cast<double>(from++));
      line.y.push_back(series.mean + series.deviation * value);
    }
    chart.series.push_back(std::move(line));
  };
  const int64_t shown = std::min<int64_t>(past, trial.truth.size(0));
  add("the series", concat({slice(trial.context, 0, past - shown, past), trial.truth}, 0), 1 - shown);
  for (size_t k = 0; k < 2; ++k)
    add(names[k], models.all()[k]->continued(trial.context, trial.truth.size(0)), 1);
  write_svg(path, line_chart(chart));
}

int run(const Settings& s) {
  const bool own = !s.common.data.empty();
  const auto least = static_cast<size_t>(s.context + s.horizon);
  const TimeSeries series(own ? read_column(s.common.data[0], s.column)
                              : mackey_glass(std::max<size_t>(8000, 5 * least), s.common.seed),
                          least, own ? s.common.data[0] : "the made-up series");
  Forecasters models(s.common.hidden);
  TrainingLoop loop(
      "forecast", s.common, models,
      {.clip_norm = 1,
       .decay = true,
       .title = "Forecast: squared error of the next value",
       .y_label = "error",
       .log_y = true,
       .same = {{"--context", std::to_string(s.context)}, {"values", std::to_string(series.train.size())}}});
  say("{} values for training, {} for the test; {} parameters\n", series.train.size(), series.test.size(),
      models.num_parameters());
  const bool done = loop.run([&](long step) {
    Dice dice(s.common.seed, static_cast<uint64_t>(step));
    const auto places = static_cast<int64_t>(series.train.size()) - s.context;
    std::vector<size_t> begins;
    for (long k = 0; k < s.common.batch; ++k) begins.push_back(static_cast<size_t>(dice.below(places)));
    const Tensor all = stretches(series.train, begins, s.context + 1);
    const Tensor x = slice(all, 0, 0, s.context), next = slice(all, 0, 1, s.context + 1);
    Tensors each;
    for (const Forecaster* model : models.all()) each.push_back(mse_loss(model->next_values(x), next));
    return TrainingLoop::Step{
        each[0] + each[1], static_cast<double>(s.common.batch), {{names[0], each[0]}, {names[1], each[1]}}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish();

  const NoGrad no_grad;
  const Trial trial(models, series.test, s);
  write_svg(s.common.out + "/errors.svg", line_chart({.title = "How far ahead it sees",
                                                      .x_label = "steps ahead",
                                                      .y_label = "error (guessing the mean: 1)",
                                                      .series = trial.errors,
                                                      .log_y = true}));
  draw(models, trial, series, s.common.out + "/forecast.svg");
  say("error by steps ahead, guessing the mean: 1\n");
  const auto horizon = static_cast<size_t>(s.horizon);
  for (const Series& errors : trial.errors)
    say("  {:<18} {:.4f} after 1, {:.4f} after {}, {:.4f} after {}\n", errors.name, errors.y[0],
        errors.y[(horizon - 1) / 2], (horizon + 1) / 2, errors.y.back(), horizon);
  say("pictures {0}/forecast.svg and {0}/errors.svg\n", s.common.out);
  print_result({{"error_1", trial.errors[0].y[0]},
                {"error_half", trial.errors[0].y[(horizon - 1) / 2]},
                {"error_horizon", trial.errors[0].y.back()},
                {"error_horizon_output", trial.errors[1].y.back()},
                {"error_horizon_same", trial.errors[2].y.back()}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(argc, argv, "forecast",
                               "Continues a series of numbers. --data FILE: CSV or TSV with a header.", run);
}
