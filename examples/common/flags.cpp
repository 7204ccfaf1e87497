// Owns the reading of a command line: values and their ranges, what a wrong one is told, and the exit status.
#include "examples/common/flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <limits>
#include <new>
#include <numeric>
#include <utility>

#include "examples/common/say.h"

namespace reel::examples {
namespace {

constexpr long most_steps = 1'000'000'000'000;

[[noreturn]] void wrong(const std::string& flag, const std::string& wants, const std::string& given) {
  throw CLI::ValidationError(fmt::format("{} wants {}, not \"{}\".", flag, wants, given),
                             CLI::ExitCodes::ValidationError);
}

// All of `text` as a number; a plus sign and blanks are no part of one. Out of range counts as no number.
template <class T>
std::optional<T> parsed(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <class T>
T parsed_within(const std::string& flag, const std::string& kind, const std::string& text, T least, T most) {
  const std::optional<T> value = parsed<T>(text);
  if (value && *value >= least && *value <= most) return *value;  // NaN is within nothing
  wrong(flag, fmt::format("{} from {} to {}", kind, least, most), text);
}

// An option whose one word goes through `read`; the default is only for --help.
CLI::Option* declare(CLI::App& app, const std::string& flag, const std::string& type,
                     const std::string& preset, const std::string& help,
                     const std::function<void(const std::string&)>& read) {
  CLI::Option* option = app.add_option_function<std::string>(flag, read, help);
  return option->type_name(type)->default_str(preset)->take_last();
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances of a's first i letters to each beginning of b
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The flag somebody may have meant; empty when none is near.
std::string nearest_flag(const CLI::App& app, const std::string& typed) {
  if (typed.size() > 64) return "";
  const std::string word = typed.substr(std::min(typed.find_first_not_of('-'), typed.size()));
  std::string nearest;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const bool begins = word.size() >= 2 && name.starts_with(word);
      const std::size_t distance = begins ? 1 : edit_distance(word, name);
      if (distance < least && distance < name.size()) least = distance, nearest = "--" + name;
    }
  }
  return nearest;
}

std::string about_unknown(const CLI::App& app, const std::string& word) {
  if (!word.starts_with('-')) return fmt::format("does not know what to do with \"{}\".", word);
  const std::string flag = word.substr(0, word.find('='));
  const std::string near = nearest_flag(app, flag);
  return fmt::format("{} is not a flag{}", flag, near.empty() ? "." : "; did you mean " + near + "?");
}

// CLI11 says "--hidden: 1 required N missing".
std::string about_count(const CLI::App& app, const std::string& message) {
  const std::string flag = message.substr(0, message.find(':'));
  const CLI::Option* option = app.get_option_no_throw(flag);
  if (option == nullptr) return message;
  const int least = option->get_items_expected_min(), most = option->get_items_expected_max();
  return fmt::format("{} wants {} ({}).", flag,
                     most == 1 ? "one value" : fmt::format("{} to {} values", least, most),
                     option->get_type_name());
}

}  // namespace

Flags::Flags(std::string name, const std::string& about)
    : name_(std::move(name)), app_(std::make_unique<CLI::App>(about, name_)) {
  app_->allow_extras();                                 // told apart in parse(), with a hint
  app_->set_help_flag("--help", "print this and end");  // no -h, which would take -hidden for help
  app_->get_formatter()->column_width(34);
}

Flags::~Flags() = default;

void Flags::whole(const std::string& flag, long& value, const std::string& help, long least, long most) {
  const std::string preset = value == unlimited ? "" : std::to_string(value);
  declare(*app_, flag, "N", preset, help, [=, &value](const std::string& text) {
    value = parsed_within<long>(flag, "a whole number", text, least, most);
  });
}

void Flags::number(const std::string& flag, double& value, const std::string& help, double least,
                   double most) {
  const std::string preset = value == unlimited ? "" : fmt::format("{}", value);
  declare(*app_, flag, "X", preset, help, [=, &value](const std::string& text) {
    value = parsed_within<double>(flag, "a number", text, least, most);
  });
}

void Flags::choice(const std::string& flag, std::string& value, const std::string& help,
                   const std::vector<std::string>& choices) {
  declare(*app_, flag, fmt::format("{}", fmt::join(choices, "|")), value, help,
          [=, &value](const std::string& text) {
            if (std::ranges::find(choices, text) == choices.end()) {
              wrong(flag, fmt::format("one of {}", fmt::join(choices, ", ")), text);
            }
            value = text;
          });
}

void Flags::text(const std::string& flag, std::string& value, const std::string& help) {
  declare(*app_, flag, "TEXT", value, help, [&value](const std::string& text) { value = text; });
}

void Flags::texts(const std::string& flag, std::vector<std::string>& values, const std::string& help,
                  int least, int most) {
  app_->add_option(flag, values, help)->type_name("PATH")->expected(least, most);
}

void Flags::toggle(const std::string& flag, bool& value, const std::string& help) {
  app_->add_flag(flag, value, help);
}

bool Flags::given(const std::string& flag) const { return app_->count(flag) > 0; }

std::optional<int> Flags::parse(int argc, const char* const* argv) {
  std::string complaint;
  try {
    app_->parse(argc, argv);
    const std::vector<std::string> unknown = app_->remaining();
    if (unknown.empty()) return std::nullopt;
    if (unknown.front() == "-h") throw CLI::CallForHelp();
    complaint = about_unknown(*app_, unknown.front());
  } catch (const CLI::CallForHelp&) {
    say("{}", app_->help());
    return 0;
  } catch (const CLI::ArgumentMismatch& error) {
    complaint = about_count(*app_, error.what());
  } catch (const CLI::ParseError& error) {
    complaint = error.what();
  }
  say_err("{}: {} (--help lists the flags.)\n", name_, complaint);
  return 2;
}

void add_common(Flags& flags, CommonFlags& common, int data_files) {
  CLI::OptionDefaults* defaults = flags.app().option_defaults();
  const std::string own_group = defaults->get_group();
  defaults->group("Common to all examples");
  if (common.out.empty()) common.out = "out/" + flags.name();

  const auto size = [&](const std::string& flag, long& value, const std::string& help, long most) {
    if (value != 0) flags.whole(flag, value, help, 1, most);
  };
  const auto path = [&](const std::string& flag, std::string& value, const std::string& help) {
    declare(flags.app(), flag, "PATH", value, help, [=, &value](const std::string& text) {
      if (text.empty()) wrong(flag, "a path", text);
      const std::filesystem::path folder = std::filesystem::path(text).parent_path();
      std::error_code error;  // better told now than after hours of training
      if (flag == "--save" && !folder.empty() && !std::filesystem::is_directory(folder, error)) {
        wrong(flag, "a file in a folder that exists", text);
      }
      if (flag == "--save" && std::filesystem::is_directory(text, error)) {
        wrong(flag, "a file, and this is a folder", text);
      }
      value = text;
    });
  };

  if (data_files > 0) flags.texts("--data", common.data, "what to learn from", 1, data_files);
  path("--out", common.out, "folder for metrics, model and pictures");
  size("--steps", common.steps, "parameter updates", most_steps);
  size("--epochs", common.epochs, "passes over the data", 1'000'000);
  size("--batch", common.batch, "sequences an update", 1 << 20);
  size("--hidden", common.hidden, "units of a layer", 1 << 16);
  size("--layers", common.layers, "layers", 256);
  if (common.lr != 0) flags.number("--lr", common.lr, "learning rate", 0, 1000);
  declare(flags.app(), "--seed", "N", std::to_string(common.seed), "of all that is random",
          [&](const std::string& text) {
            common.seed = parsed_within<std::uint64_t>("--seed", "a whole number", text, 0,
                                                       std::numeric_limits<std::uint64_t>::max());
          });
  declare(flags.app(), "--threads", "N", std::to_string(common.threads), "0: all cores",
          [&](const std::string& text) {
            common.threads = parsed_within<int>("--threads", "a whole number", text, 0, 1024);
          });
  flags.choice("--dtype", common.dtype, "of the computation", {"f32", "bf16", "f64"});
  size("--log-every", common.log_every, "steps between lines of metrics.jsonl", most_steps);
  path("--load", common.load, "start from these weights (safetensors)");
  path("--save", common.save, "where the trained weights go");
  path("--resume", common.resume, "go on from what an earlier run saved");
  defaults->group(own_group);
}

int run_main(int argc, const char* const* argv, Flags& flags, const std::function<int()>& body) {
  secure_streams();
  const auto failed = [&](const std::string& sentence, int status = 1) {
    say_err("{}: {}\n", flags.name(), sentence);
    return status;
  };
  try {
    const std::optional<int> ended = flags.parse(argc, argv);
    const int status = ended ? *ended : body();
    if (output_closed()) return 128 + SIGPIPE;  // quietly, as programs end whose reader has gone
    if (output_failed()) return failed("Standard output could not be written.");
    return status;
  } catch (const WrongFlag& error) {
    return failed(fmt::format("{} (--help lists the flags.)", error.what()), 2);
  } catch (const std::bad_alloc&) {
    return failed("The memory of this machine is not enough; a smaller --batch or --hidden needs less.");
  } catch (const std::exception& error) {
    return failed(error.what());
  }
}

}  // namespace reel::examples
