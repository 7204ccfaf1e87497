#include "benchmarks/runner/peer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <sstream>

#include "core/error.h"

namespace reel::bench {

PeerProcess::PeerProcess(const std::string& script, int threads) : script_(script) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that ended shows as an answer that does not come
  int to[2], from[2];
  // Closed in other children: a second peer that held them open would keep the first from seeing the end.
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
    fail("no pipe to {}: {}", script, std::string(strerror(errno)));
  const std::string count = std::to_string(threads);
  pid_ = fork();
  if (pid_ < 0) fail("cannot start {}: {}", script, std::string(strerror(errno)));
  if (pid_ == 0) {
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    execlp("python3", "python3", script.c_str(), "--serve", "--threads", count.c_str(), nullptr);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  to_ = fdopen(to[1], "w");
  from_ = fdopen(from[0], "r");
}

PeerProcess::~PeerProcess() { stop(); }

void PeerProcess::stop() {
  if (pid_ < 0) return;
  std::fclose(to_);
  std::fclose(from_);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::vector<double> PeerProcess::ask(const std::string& workload, const std::string& mode,
                                     const std::string& dtype, int64_t steps) {
  if (pid_ < 0) return {};
  const std::string head = fmt::format("{} {} {}", workload, mode, dtype);
  fmt::print(to_, "{} {}\n", head, steps);
  std::fflush(to_);
  std::string line;
  int c;
  while ((c = std::fgetc(from_)) != EOF && c != '\n') line += static_cast<char>(c);
  if (c == EOF) {
    fmt::print(stderr,
               "{} ended without an answer to \"{}\" (is its framework installed?); going on without it\n",
               script_, head);
    stop();
    return {};
  }
  if (!line.starts_with(head)) {
    fmt::print(stderr, "{} answered \"{}\" to \"{}\"; going on without it\n", script_, line, head);
    stop();
    return {};
  }
  std::istringstream numbers(line.substr(head.size()));
  std::vector<double> times;
  for (double ms; numbers >> ms;) times.push_back(ms);
  return times;
}

namespace {

class PeerMode : public Contestant {
 public:
  PeerMode(std::shared_ptr<PeerProcess> process, std::string variant, std::string workload, std::string mode,
           std::string dtype)
      : Contestant(std::move(variant), std::move(dtype)),
        process_(std::move(process)),
        workload_(std::move(workload)),
        mode_(std::move(mode)) {}
  std::vector<double> run(int64_t steps) override { return process_->ask(workload_, mode_, dtype, steps); }

 private:
  const std::shared_ptr<PeerProcess> process_;
  const std::string workload_, mode_;
};

}  // namespace

std::unique_ptr<Contestant> peer_contestant(std::shared_ptr<PeerProcess> process, const std::string& name,
                                            const std::string& workload, const std::string& mode,
                                            const std::string& dtype) {
  return std::make_unique<PeerMode>(std::move(process), name + "-" + mode, workload, mode, dtype);
}

}  // namespace reel::bench
