// What comes from outside while a program runs: signals, and streams that are full, closed or unread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/flags.h"
#include "examples/common/interrupt.h"
#include "examples/common/metrics.h"
#include "examples/common/progress.h"
#include "examples/common/say.h"
#include "examples/common/training_loop.h"
#include "reel.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;
using namespace reel::scratch;

TEST_CASE("run_main: output that cannot be written is told, and a reader that went away is not") {
  const auto status_of = [](int out, int err) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(out, 1);
      if (err >= 0) ::dup2(err, 2);
      const char* words[] = {"demo"};
      Flags flags("demo", "Shows.");
      ::_exit(run_main(1, words, flags, [] {
        for (int k = 0; k < 3; ++k) say("{}\n", std::string(10000, 'x'));
        Progress(0, "x/s").update(1, 1.0, 1);
        return interrupted() ? 5 : 0;
      }));
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  };
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  const Folder folder;
  const int log = ::open((folder / "log").c_str(), O_RDWR | O_CREAT, 0644);
  const int full = ::open("/dev/full", O_WRONLY);
  int status = status_of(ends[1], log);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 128 + SIGPIPE);
  CHECK(get(folder / "log").find("demo:") == std::string::npos);
  status = status_of(full, log);
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(get(folder / "log") == Contains("demo: Standard output could not be written."));
  status = status_of(log, full);  // progress that nobody can read
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  for (const int file : {ends[1], log, full}) ::close(file);
}

TEST_CASE("run_main: a stream that is closed does not become a file") {
  const Folder folder;
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open("/dev/null", O_WRONLY), 2);
    ::close(1);
    const char* words[] = {"demo"};
    Flags flags("demo", "Shows.");
    ::_exit(run_main(1, words, flags, [&] {
      Metrics metrics(folder / "out");
      say("not for the file\n");
      return 0;
    }));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(get(folder / "out/metrics.jsonl").empty());
}

TEST_CASE("a path as a shell wants it") {
  for (const char* plain : {"out/names/checkpoint.safetensors", "/tmp/a_b-c.1", "a@b%c+d=e:f,g"}) {
    CHECK(shell_word(plain) == plain);
  }
  for (const std::string text : {"my runs/a", "it's", "", "a$b", "a;b", "*", "~", "two\nlines", "-x 'y'"}) {
    CAPTURE(text);
    const std::string command = "printf '%s|' " + shell_word(text);
    FILE* shell = ::popen(command.c_str(), "r");
    REQUIRE(shell != nullptr);
    std::string back(100, '\0');
    back.resize(std::fread(back.data(), 1, back.size(), shell));
    CHECK(::pclose(shell) == 0);
    CHECK(back == text + "|");
  }
}

#if !defined(__SANITIZE_THREAD__)  // which forbids a thread in a forked child
TEST_CASE("after Ctrl-C a program says how to go on, blanks in the folder's name or not") {
  const Folder folder;
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open((folder / "log").c_str(), O_WRONLY | O_CREAT, 0644), 2);
    catch_interrupts();
    set_num_threads(1);
    nn::Linear model({}, 1, 1);
    const CommonFlags common{
        .out = folder / "my runs", .steps = 1000000, .lr = 0.1, .log_every = 1, .task = "echo"};
    TrainingLoop loop("demo", common, model, {});
    const bool done = loop.run([&](long step) {
      if (step == 2) ::kill(::getpid(), SIGINT);
      return TrainingLoop::Step{sum(model(ones({1, 1}))), 1, {}};
    });
    ::_exit(done ? 0 : TrainingLoop::interrupted_status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
  const std::string out = "'" + folder / "my runs";
  CHECK(get(folder / "log") == Contains("go on with the same flags and --task echo --out " + out +
                                        "' --resume " + out + "/checkpoint.safetensors'\n"));
  CHECK(std::filesystem::exists(folder / "my runs/checkpoint.safetensors"));
}

// oneDNN's kernels keep an address of the heap in the stack pointer: no handler may run on top of it.
TEST_CASE("interrupt: signals leave the heap alone while matrices are multiplied") {
  const pid_t child = ::fork();
  if (child == 0) {
    catch_interrupts();
    const pid_t sender = ::fork();
    if (sender == 0) {
      const auto start = std::chrono::steady_clock::now();  // all within the time that counts as one wish
      while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(200)) {
        ::kill(::getppid(), SIGINT);
        ::usleep(50);
      }
      ::_exit(0);
    }
    set_num_threads(1);
    const Tensor a = normal({512, 512}), b = normal({512, 512});
    for (int k = 0; k < 50; ++k) {
      std::vector<Tensor> kept;
      for (int j = 0; j < 4; ++j) {
        kept.push_back(matmul(a, b));
        eval({kept.back()});
      }
    }
    ::_exit(interrupted() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  // On a busy machine the last signals may come late enough to count as a second wish; a crash they never
  // are.
  CHECK((WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGINT));
}

TEST_CASE("interrupt: the first signal sets the flag, the second ends the program") {
  for (const auto& [first, second] : {std::pair{SIGINT, SIGINT}, {SIGTERM, SIGINT}, {SIGINT, SIGTERM}}) {
    const pid_t child = ::fork();
    if (child == 0) {
      catch_interrupts();
      if (interrupted()) ::_exit(1);
      ::kill(::getpid(), first);
      for (int k = 0; k < 5000 && !interrupted(); ++k) ::usleep(1000);
      if (!interrupted()) ::_exit(2);
      ::kill(::getpid(), first);  // at once: the same wish, sent twice
      ::usleep(400'000);
      ::kill(::getpid(), second);
      ::sleep(5);
      ::_exit(3);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == second);
  }
}
#endif
