// Owns the thread that receives SIGINT, SIGTERM and SIGHUP.
//
// A thread, not a handler: oneDNN's kernels for matrix products keep an address of the heap in the stack
// pointer (its issue 4845, mended in 3.11), and a handler called meanwhile writes its frame over the heap.
#include "examples/common/interrupt.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "examples/common/say.h"

namespace reel::examples {
namespace {

using Clock = std::chrono::steady_clock;

// timeout(1) signals a program and then its group, which is one wish, not two.
constexpr auto same_press = std::chrono::milliseconds(300);

std::atomic<bool> flag{false};

void receive(const sigset_t& signals) {
  Clock::time_point first;
  for (int signal = 0; sigwait(&signals, &signal) == 0;) {
    if (!flag) {
      first = Clock::now();
      flag = true;
    } else if (Clock::now() - first > same_press) {
      std::signal(signal, SIG_DFL);
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      std::raise(signal);
    }
  }
}

bool ignored(int signal) {  // as nohup leaves SIGHUP
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

void catch_interrupts() {
  flag = false;
  static std::atomic<bool> receiving{false};
  if (receiving.exchange(true)) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  if (!ignored(SIGHUP)) sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // threads started from here on inherit it
  std::thread(receive, signals).detach();
}

bool interrupted() { return flag || output_closed(); }

}  // namespace reel::examples
