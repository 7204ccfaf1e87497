// What a run of an example is made of: flags, progress, metrics, the result line.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "examples/common/flags.h"
#include "examples/common/metrics.h"
#include "examples/common/progress.h"
#include "examples/common/result.h"
#include "examples/common/text_file.h"
#include "tests/scratch.h"

namespace fs = std::filesystem;
using namespace reel;
using namespace reel::examples;
using namespace reel::scratch;

namespace {

// Sends a standard stream into a file for a while.
class Redirected {
 public:
  Redirected(int stream, const std::string& path, int flags = O_CREAT | O_TRUNC)
      : Redirected(stream, ::open(path.c_str(), O_RDWR | flags, 0644)) {}
  Redirected(int stream, int file) : stream_(stream), kept_(::dup(stream)) {
    std::fflush(nullptr);
    ::dup2(file, stream);
    ::close(file);
  }
  ~Redirected() {
    std::fflush(nullptr);
    ::dup2(kept_, stream_);
    ::close(kept_);
  }

 private:
  int stream_, kept_;
};

struct Outcome {
  int status;
  std::string out, err;
};

// An example called `demo` with these words on its command line.
Outcome run_demo(std::vector<const char*> words, const std::function<int()>& body, CommonFlags& common) {
  const Folder folder;
  words.insert(words.begin(), "demo");
  int status = -1;
  {
    const Redirected out(1, folder / "out"), err(2, folder / "err");
    Flags flags("demo", "Shows.");
    std::string model = "lstm";
    flags.choice("--model", model, "the cell", {"rnn", "lstm"});
    add_common(flags, common);
    status = run_main(static_cast<int>(words.size()), words.data(), flags, body);
  }
  return {status, get(folder / "out"), get(folder / "err")};
}

Outcome run_demo(
    std::vector<const char*> words, const std::function<int()>& body = [] { return 0; }) {
  CommonFlags common{.steps = 300, .epochs = unlimited, .batch = 32, .hidden = 128, .lr = 2e-3};
  return run_demo(std::move(words), body, common);
}

}  // namespace

TEST_CASE("flags: defaults, values, and what is not there") {
  CommonFlags common{.steps = 300, .epochs = unlimited, .lr = 0.1};
  const Outcome run = run_demo(
      {"--steps", "7", "--lr=1e-3", "--seed", "18446744073709551615", "--data", "x", "--steps", "010"},
      [] { return 0; }, common);
  CHECK(run.status == 0);
  CHECK(common.steps == 10);  // decimal, and the last one counts
  CHECK(common.epochs == unlimited);
  CHECK(common.lr == 1e-3);
  CHECK(common.seed == ~std::uint64_t{0});
  CHECK(common.data == std::vector<std::string>{"x"});
  CHECK(common.out == "out/demo");
  CHECK(run_demo({"--layers", "2"}).err == "demo: --layers is not a flag. (--help lists the flags.)\n");
}

TEST_CASE("flags: --help") {
  for (const char* word : {"--help", "-h"}) {
    const Outcome run = run_demo({word}, [] { return 5; });
    CHECK(run.status == 0);
    struct Default {
      std::string flag, value;
    };
    for (const Default& d : {Default{"--hidden N", "128"},
                             {"--lr X", "0.002"},
                             {"--model rnn|lstm", "lstm"},
                             {"--out PATH", "out/demo"}}) {
      CAPTURE(run.out);
      CAPTURE(d.flag);
      const bool shown = run.out == Contains(d.flag + "=" + d.value) ||       // CLI11 2.3
                         run.out == Contains(d.flag + " [" + d.value + "]");  // 2.4
      CHECK(shown);
    }
  }
}

TEST_CASE("flags: what is wrong ends with status 2 and a sentence") {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{"--hiden", "5"}, "--hiden is not a flag; did you mean --hidden?"},
      {{"--log_every=5"}, "--log_every is not a flag"},  // this demo has none
      {{"--step", "5"}, "did you mean --steps?"},
      {{"-hidden", "5"}, "-hidden is not a flag; did you mean --hidden?"},
      {{"--zzzzzzz"}, "--zzzzzzz is not a flag. ("},
      {{"file.txt"}, "does not know what to do with \"file.txt\""},
      {{"--data", "a", "b"}, "--data wants one value (PATH)."},
      {{"--hidden", "99999999999"}, "--hidden wants a whole number from 1 to 65536, not \"99999999999\""},
      {{"--hidden", "99999999999999999999999"}, "--hidden wants a whole number from 1"},
      {{"--hidden", "12x"}, "not \"12x\""},
      {{"--hidden"}, "--hidden wants one value (N)."},
      {{"--data"}, "--data wants one value (PATH)."},
      {{"--batch", "-3"}, "--batch wants a whole number from 1"},
      {{"--steps", "0"}, "--steps wants a whole number from 1"},
      {{"--lr", "nan"}, "--lr wants a number from 0 to 1000, not \"nan\""},
      {{"--lr", "inf"}, "--lr wants"},
      {{"--lr", "-1"}, "--lr wants"},
      {{"--seed", "-1"}, "--seed wants"},
      {{"--threads", "4.5"}, "--threads wants"},
      {{"--dtype", "f16"}, "--dtype wants one of f32, bf16, f64, not \"f16\""},
      {{"--out", ""}, "--out wants a path"},
      {{"--save", "/nowhere/at/all.safetensors"}, "--save wants a file in a folder that exists"},
  };
  for (const auto& wrong : cases) {
    const auto& [words, sentence] = wrong;
    INFO(wrong.first.front());
    const Outcome run = run_demo(words, [] { return 5; });
    CHECK(run.status == 2);
    CHECK(run.err == Contains(sentence));
    CHECK(run.err.starts_with("demo: "));
    CHECK(std::ranges::count(run.err, '\n') == 1);
  }
}

TEST_CASE("run_main: what is thrown becomes a sentence and status 1") {
  Outcome run = run_demo({}, []() -> int { fail("{} is missing.", "a.txt"); });
  CHECK(run.status == 1);
  CHECK(run.err == "demo: a.txt is missing.\n");
  run = run_demo({}, []() -> int { throw std::bad_alloc(); });
  CHECK(run.status == 1);
  CHECK(run.err == Contains("memory"));
  run = run_demo({}, []() -> int { throw std::runtime_error("oh"); });
  CHECK(run.err == "demo: oh\n");
  CHECK(run_demo({}, [] { return 130; }).status == 130);
  run = run_demo({}, []() -> int { throw WrongFlag("--a wants --b."); });
  CHECK(run.status == 2);
  CHECK(run.err == "demo: --a wants --b. (--help lists the flags.)\n");
}

TEST_CASE("progress: what a line says, and what goes first where it is narrow") {
  const ProgressState state{.step = 1240,
                            .total = 3000,
                            .seconds = 62,
                            .loss = 1.8342,
                            .speed = 45210,
                            .steps_per_second = 20,
                            .unit = "chars/s"};
  CHECK(progress_line(state) == "step 1240/3000  loss 1.8342  45.2k chars/s  1:28 left");
  CHECK(progress_bar(state, 70, false) ==
        "=======------------  1240/3000  loss 1.8342  1:28 left  45.2k chars/s");
  CHECK(progress_bar(state, 60, false) == "===------  1240/3000  loss 1.8342  1:28 left  45.2k chars/s");
  CHECK(progress_bar(state, 45, false) == "1240/3000  loss 1.8342  1:28 left");
  CHECK(progress_bar(state, 10, false) == "1240/3000");
  for (int width = -1; width < 200; ++width) {
    CHECK(progress_bar(state, width, false).size() <= static_cast<std::size_t>(std::max(0, width - 1)));
  }
  ProgressState timed{.step = 5, .seconds = 30, .budget = 120, .loss = NAN, .unit = "tokens/s"};
  CHECK(progress_line(timed) == "step 5  loss nan  0.00 tokens/s  1:30 left");
  CHECK(progress_bar(timed, 200, true).starts_with("━━━━━━━─"));
  timed.budget = 0;
  CHECK(progress_bar(timed, 200, true).starts_with("step 5  loss nan  0:30"));
  timed.finished = true;
  CHECK(progress_line(timed) == "step 5  loss nan  0.00 tokens/s  in 0:30");
}

TEST_CASE("progress: plain lines come seldom, the last one always") {
  const Folder folder;
  {
    const Redirected err(2, folder / "err");
    Progress progress(1000, "chars/s", 100);
    for (long step = 1; step <= 1000; ++step) progress.update(step, 2.0, 10);
    progress.hide();
  }
  const std::string text = get(folder / "err");
  const std::vector<std::string_view> seen = lines(text);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].starts_with("step 100/1000  loss 2.0000"));
  CHECK(seen[1].starts_with("step 1000/1000  loss 2.0000"));
  CHECK(text.find('\r') == text.npos);
}

TEST_CASE("progress: one line redrawn on a terminal, within its width") {
  int screen = -1, terminal = -1;
  const winsize size{.ws_row = 24, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
  if (::openpty(&screen, &terminal, nullptr, nullptr, &size) != 0) {
    MESSAGE("skipped: no pseudo-terminal here");
    return;
  }
  ::setenv("TERM", "xterm", 1);
  {
    const Redirected err(2, terminal);
    Progress progress(10, "chars/s");
    progress.update(1, 1.5, 10);
    progress.hide();
    progress.update(10, 1.25, 10);
    progress.finish();
    progress.finish();
    std::string seen;  // what is written arrives in pieces, a little later
    pollfd arriving{screen, POLLIN, 0};
    while (::poll(&arriving, 1, seen.find('\n') == seen.npos ? 5000 : 50) > 0) {
      char piece[4096];
      const ssize_t count = ::read(screen, piece, sizeof piece);
      if (count <= 0) break;
      seen.append(piece, static_cast<std::size_t>(count));
    }
    CHECK(seen.starts_with("\r"));
    CHECK(seen == Contains("10/10  loss 1.2500"));
    CHECK(std::ranges::count(seen, '\n') == 1);  // after the last line only
    CHECK(seen.ends_with("\x1b[K\r\n"));
    for (std::size_t at = 0; at < seen.size();) {
      const std::size_t end = std::min(seen.find('\r', at), seen.size());
      CHECK(utf8_chars(std::string_view(seen).substr(at, end - at)).size() <
            40 + 3);  // \x1b[K takes no column
      at = end + 1;
    }
  }
  ::close(screen);
}

TEST_CASE("progress: a time budget runs out") {
  const Folder folder;
  const Redirected err(2, folder / "err");
  const Progress unlimited_time(10, "x/s"), short_time(0, "x/s", 0, 0.03 / 60);
  CHECK(!short_time.out_of_time());
  ::usleep(40'000);
  CHECK(short_time.out_of_time());
  CHECK(!unlimited_time.out_of_time());
}

TEST_CASE("metrics: one whole JSON object a line, at once; appended on resume") {
  const Folder folder;
  const std::string out = folder / "deep/run";
  Metrics metrics(out);
  metrics.log({{"step", 1L}, {"loss", 0.1}, {"note", "a\"b\xff"}});
  metrics.log({{"step", 2}, {"loss", NAN}, {"worst", -INFINITY}, {"f", 1.0f / 3}});
  const std::string text = get(metrics.path());
  REQUIRE(lines(text).size() == 2);
  CHECK(lines(text)[0] == "{\"step\":1,\"loss\":0.1,\"note\":\"a\\\"b\xef\xbf\xbd\"}");
  const auto second = nlohmann::json::parse(lines(text)[1]);
  CHECK(second["loss"].is_null());
  CHECK(second["worst"].is_null());
  CHECK(second["f"].get<float>() == 1.0f / 3);

  put(metrics.path(), "{\"step\":1}\n{\"step\":2,\"lo");  // killed while writing
  Metrics(out, true).log({{"step", 3}});
  CHECK(get(metrics.path()) == "{\"step\":1}\n{\"step\":3}\n");
  Metrics(out).log({{"step", 4}});
  CHECK(get(metrics.path()) == "{\"step\":4}\n");

  put(metrics.path(), "{\"step\":1}\n{}\nnone\n{\"step\":2}\n{\"step\":3}\n");  // killed after its checkpoint
  Metrics resumed(out, true);
  resumed.keep_through(2);
  resumed.log({{"step", 3}, {"again", 1}});
  CHECK(get(metrics.path()) == "{\"step\":1}\n{}\nnone\n{\"step\":2}\n{\"step\":3,\"again\":1}\n");
}

TEST_CASE("metrics: errors name the file") {
  const Folder folder;
  put(folder / "file", "x");
  CHECK(message_of([&] { Metrics(folder / "file"); }) ==
        Contains("/file could not be made: Not a directory"));
  fs::create_directories(folder / "taken/metrics.jsonl");
  CHECK(message_of([&] { Metrics(folder / "taken"); }) ==
        Contains("metrics.jsonl could not be written: Is a dir"));
  fs::create_directory(folder / "full");
  fs::create_symlink("/dev/full", folder / "full/metrics.jsonl");
  CHECK(message_of([&] {
          Metrics(folder / "full").log({{"step", 1}});
        }) == Contains("metrics.jsonl could not be written: No space left on device"));
}

TEST_CASE("result: keys in order, numbers a person would write, one word a value") {
  CHECK(result_line({{"loss", 1.23456789}, {"chars_per_s", 45210.4}, {"n", 20000}, {"tokens", 1234567.8}}) ==
        "result loss=1.23457 chars_per_s=45210.4 n=20000 tokens=1234568");
  CHECK(result_line({{"a", NAN}, {"b", -INFINITY}, {"c", 1e-7}, {"d", 0.0}, {"e", 1e20}, {"f", -2.5e6}}) ==
        "result a=nan b=-inf c=1e-07 d=0 e=1e+20 f=-2500000");
  CHECK(result_line({{"file", "a b%\n"}, {"name", std::string("é")}}) == "result file=a%20b%25%0A name=é");
  const Redirected out(1, "/dev/full", 0);
  CHECK(message_of([] { print_result({{"a", 1}}); }) == "The result could not be written to stdout.");
}
