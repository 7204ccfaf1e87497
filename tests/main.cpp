// The test program: says which oneDNN it runs on, then runs doctest's cases.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "core/kernels/dnnl.h"

int main(int argc, char** argv) {
  const std::string runs = reel::dnnl_wall::version(), compiled = reel::dnnl_wall::compiled_version();
  std::printf("oneDNN %s, headers %s\n", runs.c_str(), compiled.c_str());
  const auto minor = [](const std::string& version) { return version.substr(0, version.rfind('.')); };
  if (minor(runs) != minor(compiled)) {
    std::fputs("the oneDNN that was loaded is not the one whose headers were compiled in\n", stderr);
    return 1;
  }
  return doctest::Context(argc, argv).run();
}
