// rows: an LSTM reads pictures row by row, and films frame by frame; beside a net that sees them whole
// Subject: Speech and pictures
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "examples/common/confusion.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/rows/pictures.h"
#include "reel.h"

namespace reel::examples {

namespace {

using Results = std::vector<Field>;

struct Settings {
  CommonFlags common{.steps = unlimited, .batch = 64, .hidden = 128, .lr = 2e-3, .log_every = 20};
  std::string task = "all";

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.choice("--task", task,
                 "pictures row by row, or at once by a feed-forward net; films frame by frame",
                 {"all", "rows", "whole", "film"});
  }
  CommonFlags of(const std::string& name, long steps, long hidden) const {
    CommonFlags own = common;
    if (task == "all") own.out += "/" + name, own.task = name;
    if (own.steps == unlimited) own.steps = steps;
    own.hidden = std::min(own.hidden, hidden);
    return own;
  }
};

// --- pictures, row by row or whole
struct Classifier : nn::Module {
  virtual Tensor operator()(const Tensor& rows) const = 0;  // [height, batch, width] -> [batch, classes]
};

struct RowReader : Classifier {
  RowReader(int64_t width, int64_t hidden, int64_t classes)
      : lstm({this, "lstm"}, width, hidden), output({this, "output"}, hidden, classes) {}

  Tensor every_row(const Tensor& rows) const {
    return output(lstm(rows).output);
  }  // [height, batch, classes]
  Tensor operator()(const Tensor& rows) const override {
    return output(lstm(rows).state.back().h);
  }  // after the last one

  nn::LSTM lstm;
  nn::Linear output;
};

struct FeedForward : Classifier {
  FeedForward(int64_t pixels, int64_t units, int64_t classes)
      : hidden({this, "hidden"}, pixels, units), output({this, "output"}, units, classes) {}

  Tensor operator()(const Tensor& rows) const override {
    return output(relu(hidden(reshape(transpose(rows, 0, 1), {rows.size(1), -1}))));
  }

  nn::Linear hidden, output;
};

// [height, batch, width], 0 to 1.
Tensor rows_of(const LabelledPictures& pictures, const std::vector<size_t>& which) {
  std::vector<float> values;
  const auto h = static_cast<size_t>(pictures.height), w = static_cast<size_t>(pictures.width);
  for (size_t y = 0; y < h; ++y) {
    for (const size_t k : which) {
      for (size_t x = 0; x < w; ++x)
        values.push_back(static_cast<float>(pictures.pixels[(k * h + y) * w + x]) / 255);
    }
  }
  return to(Tensor::from(values, {pictures.height, static_cast<int64_t>(which.size()), pictures.width}),
            default_dtype());
}

Tensor labels_of(const LabelledPictures& pictures, const std::vector<size_t>& which) {
  std::vector<int64_t> labels;
  for (const size_t k : which) labels.push_back(pictures.labels[k]);
  return Tensor::from(labels, {static_cast<int64_t>(labels.size())});
}

std::vector<int64_t> guesses(const Classifier& reader, const LabelledPictures& pictures) {
  const NoGrad no_grad;
  std::vector<int64_t> all;
  for (const auto& which : in_order(pictures.labels.size(), 500)) {
    const auto said = argmax(reader(rows_of(pictures, which)), -1).to_vector<int64_t>();
    all.insert(all.end(), said.begin(), said.end());
  }
  return all;
}

// What the reader would say if the picture ended here, row by row.
void draw_belief(const RowReader& reader, const PictureSet& set, size_t picture, const std::string& path) {
  const NoGrad no_grad;
  const Tensor p = softmax(select(reader.every_row(rows_of(set.test, {picture})), 1, 0), -1);
  HeatMap map{.title = "Reading a picture of: " + set.classes[static_cast<size_t>(set.test.labels[picture])],
              .row_label = "",
              .column_label = "rows read",
              .value_label = "P(class | rows so far)",
              .rows = set.classes,
              .low = 0,
              .high = 1};
  for (int64_t row = 1; row <= set.test.height; ++row) map.columns.push_back(std::to_string(row));
  map.values = transpose(p, 0, 1).to_vector<double>();
  write_svg(path, heat_map(map));
}

// How fast it went; nothing after Ctrl-C.
struct Speed {
  double pictures_per_s, epoch_s, epoch_cpu_s;
};
std::optional<Speed> learn(Classifier& model, const CommonFlags& own, const PictureSet& set,
                           const std::string& title) {
  Batches batches(set.train.labels.size(), own.batch, own.seed);
  TrainingLoop loop("rows", own, model,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "pictures/s",
                     .title = title,
                     .y_label = "nats a picture",
                     .same = {{"pictures", std::to_string(set.train.count)}}});
  const bool done = loop.run([&](long step) {
    const auto& which = batches.at(step);
    return TrainingLoop::Step{cross_entropy(model(rows_of(set.train, which)), labels_of(set.train, which)),
                              static_cast<double>(which.size()),
                              {}};
  });
  if (!done) return {};
  loop.finish();
  return Speed{loop.speed(), loop.pass_seconds(), loop.pass_cpu_seconds()};
}

bool read_rows(const Settings& s, const PictureSet& set, long steps, Results& results) {
  const CommonFlags own = s.of("rows", steps, 128);
  RowReader reader(set.train.width, own.hidden, static_cast<int64_t>(set.classes.size()));
  const auto speed = learn(reader, own, set, "Pictures by rows: loss");
  if (!speed) return false;
  const auto said = guesses(reader, set.test);
  write_svg(own.out + "/confusion.svg",
            heat_map(confusion("What is taken for what", set.classes, said, set.test.labels)));
  draw_belief(reader, set, 0, own.out + "/belief.svg");
  say("pictures {0}/confusion.svg and {0}/belief.svg\n", own.out);
  results.emplace_back("accuracy", accuracy(said, set.test.labels));
  results.emplace_back("pictures_per_s", speed->pictures_per_s);
  results.emplace_back("epoch_s", speed->epoch_s);
  results.emplace_back("epoch_cpu_s", speed->epoch_cpu_s);
  return true;
}

bool see_whole(const Settings& s, const PictureSet& set, long steps, Results& results) {
  const CommonFlags own = s.of("whole", steps, 128);
  FeedForward net(set.train.height * set.train.width, own.hidden, static_cast<int64_t>(set.classes.size()));
  if (!learn(net, own, set, "Pictures at once: loss")) return false;
  results.emplace_back("accuracy_whole", accuracy(guesses(net, set.test), set.test.labels));
  return true;
}

// --- films, frame by frame: with an LSTM behind each frame's features, and without
struct Watcher : nn::Module {
  Watcher(nn::Member at, bool memory, int64_t pixels, int64_t hidden, int64_t classes)
      : nn::Module(std::move(at)),
        remembers(memory),
        features({this, "features"}, pixels, hidden),
        lstm({this, "lstm"}, hidden, hidden),
        output({this, "output"}, hidden, classes) {}

  Tensor operator()(const Tensor& frames) const {  // [length, batch, pixels] -> [length, batch, classes]
    const Tensor seen = relu(features(frames));
    return output(remembers ? lstm(seen).output : seen);
  }

  bool remembers;
  nn::Linear features;
  nn::LSTM lstm;
  nn::Linear output;
};

struct Watchers : nn::Module {
  Watcher lstm, alone;
  Watchers(int64_t pixels, int64_t hidden, int64_t classes)
      : lstm({this, "lstm"}, true, pixels, hidden, classes),
        alone({this, "alone"}, false, pixels, hidden, classes) {}
};

constexpr int64_t film_length = 15;

struct Films {
  Tensor frames, labels;  // [length, batch, pixels], [length, batch]

  Films(const LabelledPictures& pictures, uint64_t seed, uint64_t from, long count) {
    std::vector<std::vector<double>> all;
    std::vector<std::vector<int64_t>> truth;
    std::vector<size_t> rows;
    for (long k = 0; k < count; ++k) {
      Film film = make_film(pictures, film_length, seed, from + static_cast<uint64_t>(k));
      rows.push_back(static_cast<size_t>(k));
      all.push_back(std::move(film.frames));
      truth.push_back(std::move(film.labels));
    }
    frames = padded(all, rows, pictures.height * pictures.width).x;
    labels = padded(truth, rows).x;
  }
};

void draw_film(const Watchers& watchers, const Films& films, const PictureSet& set, const std::string& path) {
  const auto truth = select(films.labels, 1, 0).to_vector<int64_t>();
  LineChart chart{.title = "A film: how sure of the right label, frame by frame",
                  .x_label = "frame",
                  .y_label = "P(right label)",
                  .series = {{"with an LSTM", {}, {}}, {"each frame alone", {}, {}}}};
  const Tensor frames = slice(films.frames, 1, 0, 1);
  size_t which = 0;
  for (const Watcher* watcher : {&watchers.lstm, &watchers.alone}) {
    const auto p = softmax(watcher->operator()(frames), -1).to_vector<double>();
    for (size_t t = 0; t < truth.size(); ++t) {
      chart.series[which].x.push_back(static_cast<double>(t + 1));
      chart.series[which].y.push_back(p[t * set.classes.size() + static_cast<size_t>(truth[t])]);
    }
    ++which;
  }
  std::string scenes;
  for (size_t t = 0; t < truth.size(); ++t) {
    if (t == 0 || truth[t] != truth[t - 1]) scenes += " " + set.classes[static_cast<size_t>(truth[t])];
  }
  write_svg(path, line_chart(chart));
  say("the film of {} shows:{}\n", path, scenes);
}

bool watch_films(const Settings& s, const PictureSet& set, long steps, Results& results) {
  const CommonFlags own = s.of("film", steps, 64);
  Watchers watchers(set.train.height * set.train.width, own.hidden, static_cast<int64_t>(set.classes.size()));
  TrainingLoop loop("rows", own, watchers,
                    {.clip_norm = 1,
                     .decay = true,
                     .unit = "films/s",
                     .title = "Films: loss",
                     .y_label = "nats a frame",
                     .same = {{"pictures", std::to_string(set.train.count)}}});
  const bool done = loop.run([&](long step) {
    const Films films(set.train, own.seed, static_cast<uint64_t>(step * own.batch), own.batch);
    const Tensor with = cross_entropy(watchers.lstm(films.frames), films.labels);
    const Tensor without = cross_entropy(watchers.alone(films.frames), films.labels);
    const Tensor loss = with + without;
    return TrainingLoop::Step{
        loss, static_cast<double>(own.batch), {{"with an LSTM", with}, {"each frame alone", without}}};
  });
  if (!done) return false;
  loop.finish();

  const NoGrad no_grad;
  const Films films(set.test, own.seed, uint64_t{1} << 40, 400);
  const auto truth = films.labels.to_vector<int64_t>();
  const auto right = [&](const Watcher& watcher) {
    return accuracy(argmax(watcher(films.frames), -1).to_vector<int64_t>(), truth);
  };
  draw_film(watchers, films, set, own.out + "/film.svg");
  results.emplace_back("frame_accuracy", right(watchers.lstm));
  results.emplace_back("frame_accuracy_alone", right(watchers.alone));
  return true;
}

int run(const Settings& s) {
  const bool own = !s.common.data.empty();
  const PictureSet set = own ? fashion_mnist(s.common.data[0]) : drawn_shapes(s.common.seed, 4000, 1000);
  say("{} pictures of {}x{} for training, {} for the test, {} classes\n", set.train.count, set.train.height,
      set.train.width, set.test.count, set.classes.size());
  Results results;
  const auto skipped = [&](const char* task) { return s.task != "all" && s.task != task; };
  const long steps = own ? 6000 : 600;
  const bool done = (skipped("rows") || read_rows(s, set, steps, results)) &&
                    (skipped("whole") || see_whole(s, set, steps, results)) &&
                    (skipped("film") || watch_films(s, set, own ? 1500 : 600, results));
  if (!done) return TrainingLoop::interrupted_status;
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "rows",
      "Reads drawn shapes row by row and films of them frame by frame. --data FOLDER: Fashion-MNIST, as the "
      "Debian package dataset-fashion-mnist has it in /usr/share/datasets/fashion-mnist.",
      run, [](Settings& s, const Flags& flags) { want_one_task(s.task, flags); });
}
