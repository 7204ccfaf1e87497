// separation: tells two sources apart that are alike in every frame, by how they move
// Subject: Speech and pictures
#include <fmt/format.h>

#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/separation/mixture.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{.steps = 1000, .batch = 32, .hidden = 64, .lr = 5e-3, .log_every = 20};
  long length = 40;

  void declare(Flags& flags) {
    add_common(flags, common, 0);
    flags.whole("--length", length, "frames of a mixture", 2, 10000);
  }
};

struct Batch {
  Tensor heard, first;  // [length, batch, bands]

  Batch(const Settings& s, uint64_t from) {
    std::vector<std::vector<double>> mixtures, sources;
    std::vector<size_t> rows;
    for (long k = 0; k < s.common.batch; ++k) {
      Mixture mixture = make_mixture(s.length, s.common.seed, from + static_cast<uint64_t>(k));
      rows.push_back(rows.size());
      mixtures.push_back(std::move(mixture.heard));
      sources.push_back(std::move(mixture.first));
    }
    heard = padded(mixtures, rows, bands).x;
    first = padded(sources, rows, bands).x;
  }
};

// The first source is what a mask, 0 to 1 in each band, lets through of what is heard.
struct Separator : nn::Module {
  Separator(nn::Member at, bool memory, int64_t hidden)
      : nn::Module(std::move(at)),
        remembers(memory),
        features({this, "features"}, bands, hidden),
        lstm({this, "lstm"}, hidden, hidden),
        mask({this, "mask"}, hidden, bands) {}

  Tensor operator()(const Tensor& heard) const {
    const Tensor seen = relu(features(heard));
    return heard * sigmoid(mask(remembers ? lstm(seen).output : seen));
  }

  bool remembers;
  nn::Linear features;
  nn::LSTM lstm;
  nn::Linear mask;
};

struct Separators : nn::Module {
  Separator lstm, alone;
  explicit Separators(int64_t hidden)
      : lstm({this, "lstm"}, true, hidden), alone({this, "alone"}, false, hidden) {}
};

// The first mixture of a batch, bands upwards over time.
void draw(const Tensor& frames, const std::string& title, const std::string& path) {
  const Tensor one = flip(transpose(select(frames, 1, 0), 0, 1), {0});
  HeatMap map{
      .title = title, .row_label = "band", .column_label = "frame", .value_label = "", .low = 0, .high = 1};
  for (int64_t band = one.size(0); band > 0; --band) map.rows.push_back(std::to_string(band));
  for (int64_t t = 1; t <= one.size(1); ++t) map.columns.push_back(std::to_string(t));
  map.values = one.to_vector<double>();
  write_svg(path, heat_map(map));
}

int run(const Settings& s) {
  Separators separators(s.common.hidden);
  TrainingLoop loop("separation", s.common, separators,
                    {.clip_norm = 1,
                     .decay = true,
                     .unit = "mixtures/s",
                     .title = "Separation: mean squared error",
                     .y_label = "error",
                     .log_y = true,
                     .same = {{"--length", std::to_string(s.length)}}});
  const bool done = loop.run([&](long step) {
    const Batch batch(s, static_cast<uint64_t>(step * s.common.batch));
    const Tensor with = mse_loss(separators.lstm(batch.heard), batch.first);
    const Tensor without = mse_loss(separators.alone(batch.heard), batch.first);
    const Tensor loss = with + without;
    return TrainingLoop::Step{
        loss, static_cast<double>(s.common.batch), {{"LSTM", with}, {"feed-forward", without}}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish();

  const NoGrad no_grad;
  const Batch test(s, uint64_t{1} << 40);
  const Tensor with = separators.lstm(test.heard), without = separators.alone(test.heard);
  const auto ratio = [&](const Tensor& estimate) {
    return distortion_ratio(test.first.to_vector<double>(), estimate.to_vector<double>());
  };
  const double before = ratio(test.heard), lstm = ratio(with), alone = ratio(without);
  say("signal to distortion: {:.1f} dB as heard, {:.1f} dB by the feed-forward net, {:.1f} dB by the LSTM\n",
      before, alone, lstm);
  draw(test.heard, "What is heard", s.common.out + "/heard.svg");
  draw(test.first, "The source that climbs", s.common.out + "/source.svg");
  draw(with, "What the LSTM's mask lets through", s.common.out + "/lstm.svg");
  draw(without, "What the feed-forward net's mask lets through", s.common.out + "/alone.svg");
  say("pictures {0}/heard.svg, {0}/source.svg, {0}/lstm.svg, {0}/alone.svg\n", s.common.out);
  print_result({{"sdr_heard", before}, {"sdr_alone", alone}, {"sdr", lstm}, {"sdr_gain", lstm - before}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(argc, argv, "separation",
                               "Separates two sources that differ only in how they move.", run);
}
