#include "examples/common/training_loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>

#include "examples/common/interrupt.h"
#include "examples/common/say.h"

namespace reel::examples {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

long steps_of(const CommonFlags& common, const LoopOptions& options) {
  if (common.steps > 0) return common.steps;
  return common.epochs > 0 ? common.epochs * options.steps_per_epoch : 0;
}

}  // namespace

TrainingLoop::TrainingLoop(const std::string& name, const CommonFlags& common, nn::Module& model,
                           LoopOptions options)
    : name_(name),
      common_(common),
      model_(model),
      options_(std::move(options)),
      optimizer_(make_optimizer(options_.optimizer, model.named_parameters(), common.lr)),
      clock_(options_.steps_per_epoch),
      cpu_clock_(options_.steps_per_epoch),
      total_(steps_of(common, options_)) {
  const bool resumed = !common.resume.empty();
  if (!common.load.empty()) load_weights(common.load, model);
  if (resumed) go_on();
  // Last: a file that is refused above leaves --out as it was.
  metrics_ = std::make_unique<Metrics>(common.out, resumed);
  if (resumed) metrics_->keep_through(step_);
}

void TrainingLoop::go_on() {
  const Checkpoint from = load_checkpoint(common_.resume, model_, *optimizer_, options_.same);
  step_ = from.whole("step");
  loss_ = from.number("loss");
  if (options_.restore) options_.restore(from);
  restore_curves(from);
}

bool TrainingLoop::run(const std::function<Step(long)>& step) {
  Progress progress(total_, options_.unit, common_.log_every, options_.minutes);
  const auto over = [&] { return (total_ > 0 && step_ >= total_) || progress.out_of_time(); };
  Clock::time_point saved = Clock::now();
  while (!over() && !interrupted()) {
    const auto begin = Clock::now();
    const std::clock_t cpu_begin = std::clock();
    const Step now = step(step_);
    update(now);
    cpu_clock_.add(static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC);
    clock_.add(seconds_since(begin));
    progress.update(step_, loss_, now.units);
    const bool between = every_ > 0 && step_ % every_ == 0 && !over();
    if (between) {
      progress.hide();
      between_();
    }
    if (between || seconds_since(saved) >= options_.save_every) {
      checkpoint();
      saved = Clock::now();
    }
  }
  progress.finish();
  speed_ = progress.speed();
  const std::string path = checkpoint();
  if (!interrupted()) return true;
  const std::string task =
      common_.task.empty() ? "" : fmt::format("--task {} --out {} ", common_.task, shell_word(common_.out));
  say_err("{}: stopped after step {}; go on with the same flags and {}--resume {}\n", name_, step_, task,
          shell_word(path));
  return false;
}

void TrainingLoop::update(const Step& step) {
  optimizer_->zero_grad();
  step.loss.backward();
  const auto parameters = model_.parameters();
  norm_ = optim::clip_grad_norm(
      parameters, options_.clip_norm > 0 ? options_.clip_norm : std::numeric_limits<double>::max());
  if (options_.on_gradients) options_.on_gradients();
  if (options_.clip_value > 0) optim::clip_grad_value(parameters, options_.clip_value);
  loss_ = step.loss.item();
  ++step_;
  if (!std::isfinite(loss_) || !std::isfinite(norm_)) {
    fail("the loss at step {} is {} and its gradient's norm {}: want a smaller --lr", step_, loss_, norm_);
  }
  if (options_.decay && total_ > 0) {
    optimizer_->set_lr(common_.lr * (1 - static_cast<double>(step_ - 1) / static_cast<double>(total_)));
  }
  optimizer_->step();
  const std::vector<Field> more = options_.after_step ? options_.after_step(loss_) : std::vector<Field>();
  if (step_ % common_.log_every != 0) return;
  std::vector<Field> fields{{"step", step_}, {"loss", loss_}, {"grad_norm", norm_}};
  for (const auto& [name, part] : step.parts) fields.emplace_back(name, part.item());
  fields.insert(fields.end(), more.begin(), more.end());
  metrics_->log(fields);
  if (step.parts.empty()) add_to_curve(options_.curve, options_.loss_scale * loss_);
  for (const auto& [name, part] : step.parts) add_to_curve(name, options_.loss_scale * part.item());
}

void TrainingLoop::add_to_curve(const std::string& name, double value) {
  auto curve = std::ranges::find(curves_, name, &Series::name);
  if (curve == curves_.end()) curve = curves_.insert(curves_.end(), Series{.name = name, .x = {}, .y = {}});
  curve->x.push_back(static_cast<double>(step_));
  curve->y.push_back(value);
}

// As tensors "curve.0000.NAME" [x and y, points], in the order of the picture's colours.
void TrainingLoop::keep_curves(Checkpoint& checkpoint) const {
  for (size_t k = 0; k < curves_.size(); ++k) {
    std::vector<double> points = curves_[k].x;
    points.insert(points.end(), curves_[k].y.begin(), curves_[k].y.end());
    checkpoint.tensors.emplace_back(fmt::format("curve.{:04}.{}", k, curves_[k].name),
                                    Tensor::from(points, {2, static_cast<int64_t>(curves_[k].x.size())}));
  }
}

void TrainingLoop::restore_curves(const Checkpoint& checkpoint) {
  const size_t prefix = std::string("curve.0000.").size();
  for (const auto& [name, points] : checkpoint.tensors) {
    if (!name.starts_with("curve.") || name.size() < prefix) continue;
    if (points.shape().rank() != 2 || points.size(0) != 2) {
      fail("{}: '{}' has shape {}: want [2, points]", checkpoint.path, name, points.shape());
    }
    const std::vector<double> values = points.to_vector<double>();
    const auto middle = values.begin() + points.size(1);
    curves_.push_back({name.substr(prefix), {values.begin(), middle}, {middle, values.end()}});
  }
}

void TrainingLoop::every(long steps, std::function<void()> between) {
  every_ = steps;
  between_ = std::move(between);
}

std::string TrainingLoop::checkpoint() {
  Checkpoint extra{.text = options_.same};
  extra.text["step"] = std::to_string(step_);
  extra.text["loss"] = fmt::format("{}", loss_);
  if (options_.keep) options_.keep(extra);
  keep_curves(extra);
  const std::string path = common_.out + "/checkpoint.safetensors";
  save_checkpoint(path, model_, *optimizer_, extra);
  return path;
}

void TrainingLoop::finish(const std::map<std::string, std::string>& about) {
  const std::string path = common_.save.empty() ? common_.out + "/model.safetensors" : common_.save;
  save_weights(path, model_, about);
  write_svg(common_.out + "/loss.svg", line_chart({.title = options_.title,
                                                   .x_label = "step",
                                                   .y_label = options_.y_label,
                                                   .series = curves_,
                                                   .log_y = options_.log_y}));
  say("model {}, picture {}/loss.svg\n", path, common_.out);
}

}  // namespace reel::examples
