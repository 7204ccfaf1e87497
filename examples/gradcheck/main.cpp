// gradcheck: checks every op's gradients, kernels and errors, and prints a table
// Subject: The engine itself
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/op_check.h"
#include "examples/common/flags.h"
#include "examples/common/result.h"
#include "examples/common/say.h"

namespace reel::examples {

namespace {

void print_row(const Op& op, const OpReport& r) {
  const auto error = [&](double x) { return op.vjp ? fmt::format("{:.1e}", x) : std::string("-"); };
  say("{:<24} {:>7} {:>8} {:>9} {:>9} {:>9.1e} {:>9.1e} {:>6}  {}\n", op.name, r.samples, r.checks,
      error(r.first), error(r.second), r.kernel, r.planned, r.kinks, r.problems.empty() ? "ok" : "WRONG");
  for (const std::string& sentence : r.problems) say("    {}\n", sentence);
}

int check_ops(const std::string& only, bool thorough) {
  const auto is_it = [&](const Op* op) { return only.empty() || op->name == only; };
  if (std::ranges::none_of(registry(), is_it)) {
    std::string names;
    for (const Op* op : registry()) names += fmt::format(" {}", op->name);
    throw WrongFlag(fmt::format("there is no op named '{}': want one of{}.", only, names));
  }
  const auto start = std::chrono::steady_clock::now();
  say("{:<24} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>6}\n", "op", "samples", "checks", "1st order",
      "2nd order", "f32-f64", "plan-eager", "kinks");
  OpReport all;
  long ops = 0;
  for (const Op* op : registry()) {
    if (!is_it(op)) continue;
    if (output_closed()) break;
    const OpReport r = thorough ? check(*op, 0) : check(*op);
    print_row(*op, r);
    ++ops;
    all.samples += r.samples;
    all.checks += r.checks;
    all.first = std::max(all.first, r.first);
    all.second = std::max(all.second, r.second);
    all.kernel = std::max(all.kernel, r.kernel);
    all.problems.insert(all.problems.end(), r.problems.begin(), r.problems.end());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  print_result({{"ops", ops},
                {"samples", all.samples},
                {"checks", all.checks},
                {"first", all.first},
                {"second", all.second},
                {"kernel", all.kernel},
                {"wrong", static_cast<long>(all.problems.size())},
                {"seconds", seconds.count()}});
  return all.problems.empty() ? 0 : 1;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  Flags flags("gradcheck",
              "Checks each op on its samples: first and second derivatives in f64 against finite "
              "differences, the f32 kernel against the f64 reference, planned against eager, bad input.");
  std::string op;
  bool thorough = false;
  flags.text("--op", op, "only this op");
  flags.toggle("--thorough", thorough, "differentiate by every element, instead of 60 of each input");
  return run_main(argc, argv, flags, [&] { return check_ops(op, thorough); });
}
