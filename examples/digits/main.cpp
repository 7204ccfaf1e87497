// digits: tells spoken words apart, and shows what it believes while it listens
// Subject: Speech and pictures
#include <fmt/format.h>

#include <algorithm>

#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/sequence_network.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/mfcc.h"
#include "examples/digits/recordings.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = unlimited, .batch = 32, .hidden = unlimited, .lr = 1e-2, .log_every = 10};
  std::string task = "all";

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.choice("--task", task, "two words; \"one\" against \"one two\"; ten digits (with --data)",
                 {"all", "two", "flip", "digits"});
  }
  // Each task has its own folder when all are learnt, and what it needs unless flags say otherwise.
  CommonFlags of(const std::string& name, long steps, long hidden) const {
    CommonFlags own = common;
    if (task == "all") own.out += "/" + name, own.task = name;
    if (own.steps == unlimited) own.steps = steps;
    if (own.hidden == unlimited) own.hidden = hidden;
    return own;
  }
};

// Sounds as features, frame by frame, and the class of each.
struct Sounds {
  std::vector<Frames> frames;
  std::vector<int64_t> labels;

  void add(const Sound& sound, int64_t label) {
    frames.push_back(with_deltas(mfcc(sound)));
    labels.push_back(label);
  }
};

struct Data {
  Sounds train, test;
  std::vector<std::string> classes;

  // Features in units of their deviation over the training sounds.
  void scale() {
    for (const Sounds* sounds : {&train, &test}) {
      for (size_t label = 0; label < classes.size(); ++label) {
        if (std::ranges::count(sounds->labels, static_cast<int64_t>(label)) > 0) continue;
        fail("no recording of \"{}\" is for {}: want takes 0 to 4 for the test, and others", classes[label],
             sounds == &train ? "training" : "the test");
      }
    }
    const Scale scale = Scale::of(train.frames);
    for (Sounds* sounds : {&train, &test}) {
      for (Frames& frames : sounds->frames) scale.apply(frames);
    }
  }
  std::string checksum() const {
    std::string text;
    for (const Sounds* sounds : {&train, &test}) {
      for (const Frames& f : sounds->frames) text += fmt::format("{} {};", f.count(), f.values[0]);
    }
    return text_checksum(text);
  }
};

using Results = std::vector<Field>;

// An LSTM whose outputs at every frame are pooled: the class of a sound is that of its mean output.
struct Listener {
  Listener(const CommonFlags& common, size_t classes, bool bidirectional, double dropout)
      : network({}, features, common.hidden, static_cast<int64_t>(classes), {.bidirectional = bidirectional},
                dropout) {}
  static constexpr int64_t features = 26;  // 13 coefficients and their slopes

  Tensor pooled(const Sounds& sounds, const std::vector<size_t>& rows) const {  // [batch, classes]
    std::vector<std::vector<double>> values, share;
    std::vector<size_t> all;
    for (const size_t row : rows) {
      all.push_back(all.size());
      values.push_back(sounds.frames[row].values);
      const auto count = static_cast<size_t>(sounds.frames[row].count());
      share.emplace_back(count, 1 / static_cast<double>(count));
    }
    const Padded x = padded(values, all, features);
    return sum(network(x.x, {.lengths = x.lengths}) * padded(share, all, 1).x, 0);
  }

  // P(class | frames so far), one for each frame.
  std::vector<std::vector<double>> beliefs(const Frames& frames) const {
    const Tensor outputs =
        network(to(Tensor::from(frames.values, {frames.count(), 1, features}), default_dtype()));
    std::vector<std::vector<double>> all;
    for (int64_t t = 1; t <= frames.count(); ++t) {
      all.push_back(softmax(mean(slice(outputs, 0, 0, t), {0, 1}), -1).to_vector<double>());
    }
    return all;
  }

  double accuracy(const Sounds& sounds) {
    const NoGrad no_grad;
    network.eval();
    double right = 0;
    for (const auto& rows : in_order(sounds.labels.size(), 50)) {
      const auto said = argmax(pooled(sounds, rows), -1).to_vector<int64_t>();
      for (size_t k = 0; k < rows.size(); ++k) right += said[k] == sounds.labels[rows[k]];
    }
    network.train();
    return right / static_cast<double>(sounds.labels.size());
  }

  Network<nn::LSTM> network;
};

// False where it was interrupted; else `results` say how long a pass took, if anybody asks.
bool train(Listener& listener, const CommonFlags& common, const Data& data, const std::string& title,
           Results* results = nullptr) {
  Batches batches(data.train.labels.size(), common.batch, common.seed);
  TrainingLoop loop("digits", common, listener.network,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "sounds/s",
                     .title = title + ": loss",
                     .y_label = "nats a sound",
                     .same = {{"sounds", data.checksum()}}});
  const bool done = loop.run([&](long step) {
    const auto& rows = batches.at(step);
    std::vector<int64_t> labels;
    for (const size_t row : rows) labels.push_back(data.train.labels[row]);
    const auto count = static_cast<int64_t>(labels.size());
    return TrainingLoop::Step{cross_entropy(listener.pooled(data.train, rows), Tensor::from(labels, {count})),
                              static_cast<double>(count),
                              {}};
  });
  if (done) loop.finish();
  if (results != nullptr) {
    results->emplace_back("epoch_s", loop.pass_seconds());
    results->emplace_back("epoch_cpu_s", loop.pass_cpu_seconds());
  }
  return done;
}

void draw(const Listener& listener, const Frames& frames, const std::vector<std::string>& classes,
          const std::string& title, const std::string& path) {
  const NoGrad no_grad;
  LineChart chart{.title = title, .x_label = "seconds", .y_label = "P(word | heard so far)", .series = {}};
  for (const std::string& name : classes) chart.series.push_back({name, {}, {}});
  const auto beliefs = listener.beliefs(frames);
  for (size_t t = 0; t < beliefs.size(); ++t) {
    for (size_t k = 0; k < classes.size(); ++k) {
      chart.series[k].x.push_back(0.01 * static_cast<double>(t));
      chart.series[k].y.push_back(beliefs[t][k]);
    }
  }
  write_svg(path, line_chart(chart));
  say("picture {}\n", path);
}

bool is_test(const Recording& r) { return r.take < 5; }  // the dataset's own split: takes 0 to 4

// --- "one" or "two", with three hidden units
bool two_words(const Settings& s, const std::vector<Recording>& recordings, Results& results) {
  Data data{.train = {}, .test = {}, .classes = {"one", "two"}};
  for (const Recording& r : recordings) {
    if (r.digit == 1 || r.digit == 2) (is_test(r) ? data.test : data.train).add(r.sound, r.digit - 1);
  }
  data.scale();
  const CommonFlags own = s.of("two", 300, 3);
  Listener listener(own, 2, false, 0);
  if (!train(listener, own, data, "Two words")) return false;
  for (const int64_t label : {0, 1}) {
    const auto at =
        static_cast<size_t>(std::ranges::find(data.test.labels, label) - data.test.labels.begin());
    const std::string& word = data.classes[static_cast<size_t>(label)];
    draw(listener, data.test.frames[at], data.classes, fmt::format("Hearing \"{}\"", word),
         fmt::format("{}/{}.svg", own.out, word));
  }
  results.emplace_back("two_words_accuracy", listener.accuracy(data.test));
  return true;
}

// --- "one" against "one two", with four hidden units: it says "one" first, and changes its mind
bool flip(const Settings& s, const std::vector<Recording>& recordings, Results& results) {
  Data data{.train = {}, .test = {}, .classes = {"one", "one two"}};
  Sound sample{};
  std::vector<int64_t> first_ends;  // of each test sound: the frames of its "one"
  for (const Recording& first : recordings) {
    if (first.digit != 1) continue;
    const auto second = std::ranges::find_if(recordings, [&](const Recording& r) {
      return r.digit == 2 && r.speaker == first.speaker && r.take == first.take;
    });
    Sounds& to = is_test(first) ? data.test : data.train;
    to.add(first.sound, 0);
    if (second == recordings.end()) continue;
    if (is_test(first)) first_ends.push_back(to.frames.back().count());
    to.add(joined(first.sound, second->sound), 1);
    if (first_ends.size() == 1) sample = joined(first.sound, second->sound);
  }
  data.scale();
  const CommonFlags own = s.of("flip", 600, 4);
  Listener listener(own, 2, false, 0);
  if (!train(listener, own, data, "\"one\" against \"one two\"")) return false;

  const NoGrad no_grad;
  double flips = 0;
  std::optional<size_t> shown;
  size_t pair = 0;
  for (size_t k = 0; k < data.test.labels.size(); ++k) {
    if (data.test.labels[k] == 0) continue;
    const auto beliefs = listener.beliefs(data.test.frames[k]);
    const bool flipped =
        beliefs[static_cast<size_t>(first_ends[pair++]) - 1][0] > 0.5 && beliefs.back()[1] > 0.5;
    flips += flipped;
    if (flipped && !shown) shown = k;
  }
  draw(listener, data.test.frames[shown.value_or(1)], data.classes, "Hearing \"one two\"",
       own.out + "/flip.svg");
  write_wav(own.out + "/one_two.wav", sample);
  results.emplace_back("one_two_accuracy", listener.accuracy(data.test));
  results.emplace_back("flips", flips / static_cast<double>(first_ends.size()));
  return true;
}

// --- ten digits
bool digits(const Settings& s, const std::vector<Recording>& recordings, Results& results) {
  Data data;
  for (int digit = 0; digit < 10; ++digit) data.classes.push_back(std::to_string(digit));
  for (const Recording& r : recordings) (is_test(r) ? data.test : data.train).add(r.sound, r.digit);
  data.scale();
  CommonFlags own = s.of("digits", 600, 96);
  Listener listener(own, 10, true, 0.3);
  say("{} sounds for training, {} for the test; {} parameters\n", data.train.labels.size(),
      data.test.labels.size(), listener.network.num_parameters());
  Results times;
  if (!train(listener, own, data, "Digits", &times)) return false;
  results.emplace_back("accuracy", listener.accuracy(data.test));
  results.insert(results.end(), times.begin(), times.end());
  return true;
}

int run(const Settings& s) {
  std::vector<Recording> recordings;
  if (!s.common.data.empty()) recordings = read_recordings(s.common.data[0]);
  for (uint64_t k = 0; s.common.data.empty() && k < 60; ++k) {
    for (const int64_t digit : {1, 2}) recordings.push_back(synthetic(s.common.seed, k, digit));
  }
  const auto skipped = [&](const char* task) { return s.task != "all" && s.task != task; };
  const bool ten = !s.common.data.empty() && !skipped("digits");
  Results results;
  const bool done = (skipped("two") || two_words(s, recordings, results)) &&
                    (skipped("flip") || flip(s, recordings, results)) &&
                    (!ten || digits(s, recordings, results));
  if (!done) return TrainingLoop::interrupted_status;
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "digits",
      "Learns spoken words from their MFCC. --data FOLDER: DIGIT_SPEAKER_TAKE.wav, as the Free Spoken "
      "Digit Dataset has them.",
      run, [](Settings& s, const Flags& flags) {
        want_one_task(s.task, flags);
        if (s.task == "digits" && s.common.data.empty())
          throw WrongFlag("--task digits wants --data FOLDER.");
      });
}
