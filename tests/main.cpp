// The test program: says which oneDNN it runs on, then runs doctest's cases.
#define DOCTEST_CONFIG_IMPLEMENT
#include <dnnl.h>
#include <doctest/doctest.h>

#include <cstdio>

int main(int argc, char** argv) {
  const dnnl_version_t* runtime = dnnl_version();
  std::printf("oneDNN %d.%d.%d, headers %d.%d.%d\n", runtime->major, runtime->minor, runtime->patch,
              DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
  if (runtime->major != DNNL_VERSION_MAJOR || runtime->minor != DNNL_VERSION_MINOR) {
    std::fputs("the oneDNN that was loaded is not the one whose headers were compiled in\n", stderr);
    return 1;
  }
  return doctest::Context(argc, argv).run();
}
