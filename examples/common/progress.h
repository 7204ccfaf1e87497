// How far training is, on stderr: one line redrawn on a terminal, plain lines otherwise.
#pragma once

#include <chrono>
#include <string>

namespace reel::examples {

// What one line says. A total or budget of 0 is unknown.
struct ProgressState {
  long step = 0, total = 0;
  double seconds = 0, budget = 0;  // since the start; allowed in all
  double loss = 0;
  double speed = 0, steps_per_second = 0;
  std::string unit = {};  // of `speed`: "chars/s"
  bool finished = false;  // the time is then that taken, not that left
};

// Less than `width` columns; where it is narrow the bar goes first, then speed, time left and loss.
std::string progress_bar(const ProgressState& state, int width, bool utf8 = true);
std::string progress_line(const ProgressState& state);

class Progress {
 public:
  // total_steps 0: unknown, as under a time budget of `minutes`. Plain lines come every `log_every` steps (0:
  // any), at most one every two seconds.
  Progress(long total_steps, std::string unit, long log_every = 0, double minutes = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // After step number `step` (from 1), which took in `units` (characters, tokens, sentences). A resumed run
  // just starts at its own number.
  void update(long step, double loss, double units);
  bool out_of_time() const;                                  // the minutes are used up
  double seconds() const;                                    // since construction
  double speed() const { return total_units_ / seconds(); }  // units a second over the whole run
  void hide();    // before printing to stdout: takes the bar away until the next update
  void finish();  // draws the last state and ends the line; called by the destructor too

 private:
  using Clock = std::chrono::steady_clock;
  void measure(Clock::time_point now);
  void draw(Clock::time_point now);

  ProgressState state_;
  long log_every_;
  bool terminal_, utf8_;
  bool bar_on_screen_ = false, drawn_latest_ = false, any_ = false;
  double total_units_ = 0, units_since_ = 0;
  long steps_since_ = 0;
  Clock::time_point start_, last_drawn_, last_measured_;
};

}  // namespace reel::examples
