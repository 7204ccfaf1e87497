// Every op, by its own samples: derivatives of first and second order, kernels, planned against eager, bad
// input.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "core/op_check.h"

using namespace reel;

TEST_CASE("ops: every op holds on all its samples") {
  for (const Op* op : registry()) {
    const OpReport r = check(*op);
    INFO(op->name);
    for (const std::string& sentence : r.problems) FAIL_CHECK(sentence);
    CHECK_FALSE(op->doc.empty());
    if (op->kind == Kind::source) continue;
    CHECK(r.samples >= (op->name == "detach" ? 1 : 3));
  }
}

TEST_CASE("ops: every op in the sources is registered") {
  size_t defined = 0;
  for (const char* folder : {"core", "ops", "tests"}) {  // readme_test.cpp defines one
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(REEL_SOURCE_DIR) / folder)) {
      if (entry.path().extension() != ".cpp") continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);)
        defined += line.starts_with("const Op ") && line.ends_with("_op{");
    }
  }
  CHECK(defined > 60);
  CHECK(registry().size() == defined);
}
