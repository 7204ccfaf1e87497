// The command line of an example: the flags all examples share, range checks, hints, and what ends the
// program.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace CLI {
class App;
}

namespace reel::examples {

// The flag is there, and says nothing unless given: steps and epochs then bound nothing, other numbers are
// those of the task.
inline constexpr long unlimited = -1;

// An example sets the defaults of what it has: CommonFlags common{.steps = 3000, .batch = 32, .lr = 2e-3}.
// A number left at 0 is a flag the example does not have.
struct CommonFlags {
  std::vector<std::string> data = {};
  std::string out = {};  // "out/NAME" unless set
  std::uint64_t seed = 1;
  long steps = 0;
  long epochs = 0;
  long batch = 0;
  long hidden = 0;
  long layers = 0;
  double lr = 0;
  int threads = 0;  // 0: all cores
  std::string dtype = "f32";
  long log_every = 0;
  std::string load = {}, save = {}, resume = {};
  std::string task = {};  // no flag: the one being learnt, where a program learns several in turn
};

// What only shows after the flags were read, as one that wants another: ends the program with status 2.
struct WrongFlag : Error {
  using Error::Error;
};

// Each declaration takes the variable holding the default; it is set when the flag is given. A value out of
// range ends the program with status 2 and a sentence.
class Flags {
 public:
  Flags(std::string name, const std::string& about);
  ~Flags();

  void whole(const std::string& flag, long& value, const std::string& help, long least, long most);
  void number(const std::string& flag, double& value, const std::string& help, double least, double most);
  void choice(const std::string& flag, std::string& value, const std::string& help,
              const std::vector<std::string>& choices);
  void text(const std::string& flag, std::string& value, const std::string& help);
  // `least` to `most` words after one flag: --data SRC TGT.
  void texts(const std::string& flag, std::vector<std::string>& values, const std::string& help, int least,
             int most);
  void toggle(const std::string& flag, bool& value, const std::string& help);

  bool given(const std::string& flag) const;  // on this command line
  const std::string& name() const { return name_; }
  CLI::App& app() { return *app_; }

  // The status to exit with, when the program ends here: 0 after --help, 2 after a wrong flag.
  std::optional<int> parse(int argc, const char* const* argv);

 private:
  std::string name_;
  std::unique_ptr<CLI::App> app_;
};

// --data takes up to `data_files` paths; with 0 the example reads none.
void add_common(Flags& flags, CommonFlags& common, int data_files = 1);

// Parses, runs, and turns what is thrown into "NAME: sentence" on stderr and status 1.
int run_main(int argc, const char* const* argv, Flags& flags, const std::function<int()>& body);

}  // namespace reel::examples
