// A rival that runs in another process, so that its rounds can alternate with ours. It is a program
//   python3 SCRIPT --serve --threads N
// which reads lines "W3 module f32 STEPS" and answers each with "W3 module f32 ms ms ..", the milliseconds of
// so many steps (scaled to a batch of 50 steps in W9, of 625 leaves in W5); without any where it has no such
// mode. The first step of a mode, compilation included, is the first that is asked for.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/runner/contestant.h"

namespace reel::bench {

class PeerProcess {
 public:
  PeerProcess(const std::string& script, int threads);  // a program that does not start answers nothing
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  std::vector<double> ask(const std::string& workload, const std::string& mode, const std::string& dtype,
                          int64_t steps);

 private:
  void stop();
  const std::string script_;
  int pid_ = -1;
  std::FILE *to_ = nullptr, *from_ = nullptr;
};

// "torch-module" of the process.
std::unique_ptr<Contestant> peer_contestant(std::shared_ptr<PeerProcess> process, const std::string& name,
                                            const std::string& workload, const std::string& mode,
                                            const std::string& dtype);

}  // namespace reel::bench
