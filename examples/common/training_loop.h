// The loop around a step of training: progress, metrics, clipping, checkpoints and --resume, Ctrl-C, the
// picture of the loss. An example says what a step's loss is.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "examples/common/checkpoint.h"
#include "examples/common/flags.h"
#include "examples/common/metrics.h"
#include "examples/common/optimizer.h"
#include "examples/common/pass_clock.h"
#include "examples/common/progress.h"
#include "examples/common/svg.h"

namespace reel::examples {

struct LoopOptions {
  std::string optimizer = "adam";
  double clip_norm = 0, clip_value = 0;     // bounds on the gradient, 0: none
  std::function<void()> on_gradients = {};  // does something of its own with them, before the update
  // Sees the loss after each update, and adds to the lines of metrics.jsonl.
  std::function<std::vector<Field>(double)> after_step = {};
  bool decay = false;        // the learning rate falls linearly to 0 over the run
  long steps_per_epoch = 0;  // for --epochs and pass_seconds()
  double minutes = 0;        // 0: no limit
  double save_every = 20;    // seconds between checkpoints
  std::string unit = "sequences/s";
  std::string title = "Training: loss", y_label = "loss", curve = "";  // of the picture
  bool log_y = false;
  double loss_scale = 1;  // of the picture's curves
  // What must be as it was for a resumed run to go on where the other one stopped.
  std::map<std::string, std::string> same = {};
  // What a checkpoint holds beside model and optimiser, and back.
  std::function<void(Checkpoint&)> keep = {};
  std::function<void(const Checkpoint&)> restore = {};
};

class TrainingLoop {
 public:
  // Takes the weights of --load, or goes on from --resume; then the folder --out is made, and its metrics
  // begun.
  TrainingLoop(const std::string& name, const CommonFlags& common, nn::Module& model, LoopOptions options);

  struct Step {
    Tensor loss;
    double units = 1;         // taken in, for the speed
    NamedTensors parts = {};  // that it is the sum of: for metrics.jsonl, and as the picture's curves
  };
  // Calls `step` with 0, 1, 2, .. (or from where the resumed run stopped) until the steps, epochs or minutes
  // are over. Saves checkpoints on the way and a last one. False after Ctrl-C, and then says where; the
  // program is to end with interrupted_status.
  bool run(const std::function<Step(long)>& step);
  static constexpr int interrupted_status = 130;

  // Every so many steps, and not after the last one; the progress bar is hidden meanwhile. A checkpoint
  // follows.
  void every(long steps, std::function<void()> between);
  void add_to_curve(const std::string& name, double value);  // of the picture, at this step

  // Saves the model and the picture of the loss, and says where.
  void finish(const std::map<std::string, std::string>& about = {});

  long step() const { return step_; }      // updates made
  long total() const { return total_; }    // 0: unknown
  double loss() const { return loss_; }    // the last one
  double speed() const { return speed_; }  // units a second
  double pass_seconds() const { return clock_.seconds(); }
  // Of the processor, by all threads: what other programs on the machine disturb little.
  double pass_cpu_seconds() const { return cpu_clock_.seconds(); }
  optim::Optimizer& optimizer() { return *optimizer_; }
  Metrics& metrics() { return *metrics_; }
  std::string checkpoint();  // saves; returns the path

 private:
  void go_on();  // from --resume
  void update(const Step& step);
  void keep_curves(Checkpoint& checkpoint) const;
  void restore_curves(const Checkpoint& checkpoint);

  std::string name_;
  CommonFlags common_;
  nn::Module& model_;
  LoopOptions options_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<Metrics> metrics_;
  PassClock clock_, cpu_clock_;
  std::function<void()> between_;
  long every_ = 0, step_ = 0, total_ = 0;
  double loss_ = 0, norm_ = 0, speed_ = 0;
  std::vector<Series> curves_;
};

}  // namespace reel::examples
