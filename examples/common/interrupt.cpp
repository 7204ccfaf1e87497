// Owns the handler of SIGINT and SIGTERM.
#include "examples/common/interrupt.h"

#include <atomic>
#include <csignal>
#include <ctime>

namespace reel::examples {
namespace {

constexpr long same_press =
    300;  // ms: timeout(1) signals a program and then its group, which is one wish, not two

std::atomic<bool> flag{false};
std::atomic<long> first_at{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<long>::is_always_lock_free);

long milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

void on_signal(int signal) {
  if (!flag) {
    first_at = milliseconds();
    flag = true;
  } else if (milliseconds() - first_at > same_press) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void catch_interrupts() {
  flag = false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a write to a file goes on
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGINT);  // one handler at a time
  sigaddset(&action.sa_mask, SIGTERM);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return flag; }

}  // namespace reel::examples
