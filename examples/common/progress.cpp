// Owns the wording of progress, when a line is due, and the terminal it is drawn on.
#include "examples/common/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "examples/common/say.h"

namespace reel::examples {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr auto between_lines = std::chrono::seconds(2);
constexpr auto between_redraws = std::chrono::milliseconds(100);
constexpr double speed_memory = 5;  // seconds over which the shown speed is averaged

std::string duration(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "-:--";
  const auto total = std::lround(seconds);
  const long hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest)
                   : fmt::format("{}:{:02}", minutes, rest);
}

// Three digits: 0.52, 45.2k, 1.31M.
std::string compact(double x) {
  if (!std::isfinite(x)) return "-";
  constexpr std::string_view suffixes = " kMGT";
  std::size_t thousands = 0;
  while (std::abs(x) >= 999.5 && thousands + 1 < suffixes.size()) x /= 1000, ++thousands;
  const int decimals = std::abs(x) >= 99.95 ? 0 : std::abs(x) >= 9.995 ? 1 : 2;
  std::string text = fmt::format("{:.{}f}", x, decimals);
  if (thousands > 0) text += suffixes[thousands];
  return text;
}

std::string loss_text(double loss) {
  const bool fixed = !std::isfinite(loss) || (std::abs(loss) < 1e4 && (std::abs(loss) >= 1e-3 || loss == 0));
  return fixed ? fmt::format("loss {:.4f}", loss) : fmt::format("loss {:.3e}", loss);
}

bool bounded(const ProgressState& s) { return s.total > 0 || s.budget > 0; }

double done_part(const ProgressState& s) {
  const double of_steps = s.total > 0 ? static_cast<double>(s.step) / static_cast<double>(s.total) : 0;
  const double of_time = s.budget > 0 ? s.seconds / s.budget : 0;
  return std::clamp(std::max(of_steps, of_time), 0.0, 1.0);
}

std::string time_text(const ProgressState& s) {
  if (s.finished) return "in " + duration(s.seconds);
  if (!bounded(s)) return duration(s.seconds);
  double left = INFINITY;
  if (s.total > 0) left = static_cast<double>(std::max(0L, s.total - s.step)) / s.steps_per_second;
  if (s.budget > 0) left = std::fmin(left, std::max(0.0, s.budget - s.seconds));
  return duration(left) + " left";
}

// What a line says, most wanted first.
std::vector<std::string> pieces(const ProgressState& s) {
  const std::string count =
      s.total > 0 ? fmt::format("{}/{}", s.step, s.total) : fmt::format("step {}", s.step);
  return {count, loss_text(s.loss), time_text(s), fmt::format("{} {}", compact(s.speed), s.unit)};
}

bool terminal_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale = value;
    return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

bool draws_on_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) != 0 && (kind == nullptr || std::string_view(kind) != "dumb");
}

int terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_bar(const ProgressState& state, int width, bool utf8) {
  constexpr std::size_t widest_bar = 30, narrowest_bar = 8;
  const std::size_t room =
      static_cast<std::size_t>(std::max(width, 1)) - 1;  // the last column makes some wrap
  std::string text;
  for (const std::string& piece : pieces(state)) {
    const std::string longer = text.empty() ? piece : text + "  " + piece;
    if (longer.size() > room) return text;
    text = longer;
  }
  if (!bounded(state) || room < text.size() + 2 + narrowest_bar) return text;

  const std::size_t length = std::min(widest_bar, room - text.size() - 2);
  const auto full = static_cast<std::size_t>(done_part(state) * static_cast<double>(length));
  std::string bar;
  for (std::size_t i = 0; i < length; ++i) bar += i < full ? (utf8 ? "━" : "=") : (utf8 ? "─" : "-");
  return bar + "  " + text;
}

std::string progress_line(const ProgressState& state) {
  std::vector<std::string> parts = pieces(state);
  if (state.total > 0) parts.front() = "step " + parts.front();
  return fmt::format("{}  {}  {}  {}", parts[0], parts[1], parts[3], parts[2]);
}

Progress::Progress(long total_steps, std::string unit, long log_every, double minutes)
    : log_every_(log_every), terminal_(draws_on_terminal()), utf8_(terminal_is_utf8()), start_(Clock::now()) {
  state_.total = std::max(0L, total_steps);
  state_.budget = std::max(0.0, minutes * 60);
  state_.unit = std::move(unit);
  last_measured_ = start_;
  last_drawn_ = start_ - between_lines;  // the first line comes at once
}

Progress::~Progress() { finish(); }

double Progress::seconds() const { return std::max(1e-9, Seconds(Clock::now() - start_).count()); }

bool Progress::out_of_time() const { return state_.budget > 0 && seconds() >= state_.budget; }

void Progress::update(long step, double loss, double units) {
  steps_since_ += any_ ? std::max(0L, step - state_.step) : 1;
  units_since_ += units;
  total_units_ += units;
  state_.step = step;
  state_.loss = loss;
  any_ = true;
  drawn_latest_ = false;

  const auto now = Clock::now();
  const bool asked_for = terminal_ || log_every_ <= 0 || step % log_every_ == 0;
  if (!asked_for || now - last_drawn_ < (terminal_ ? Clock::duration(between_redraws) : between_lines))
    return;
  measure(now);
  draw(now);
}

// Speeds fade into each other, so that they follow a change but do not flicker.
void Progress::measure(Clock::time_point now) {
  const double passed = Seconds(now - last_measured_).count();
  if (passed <= 0 || steps_since_ == 0) return;
  const double fresh = state_.steps_per_second == 0 ? 1 : 1 - std::exp(-passed / speed_memory);
  state_.speed += fresh * (units_since_ / passed - state_.speed);
  state_.steps_per_second += fresh * (static_cast<double>(steps_since_) / passed - state_.steps_per_second);
  units_since_ = 0;
  steps_since_ = 0;
  last_measured_ = now;
}

void Progress::draw(Clock::time_point now) {
  state_.seconds = Seconds(now - start_).count();
  if (terminal_) {
    say_err("\r{}\x1b[K", progress_bar(state_, terminal_width(), utf8_));
  } else {
    say_err("{}\n", progress_line(state_));
  }
  last_drawn_ = now;
  bar_on_screen_ = terminal_;
  drawn_latest_ = true;
}

void Progress::hide() {
  if (!bar_on_screen_) return;
  write_err("\r\x1b[K");
  bar_on_screen_ = false;
  last_drawn_ = Clock::time_point{};  // back with the next update
}

void Progress::finish() {
  if (state_.finished || !any_) return;
  state_.finished = true;
  if (terminal_ || !drawn_latest_) {
    state_.speed = speed();
    draw(Clock::now());
  }
  if (terminal_) write_err("\n");
}

}  // namespace reel::examples
