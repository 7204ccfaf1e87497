// char_lm: learns a text character by character with an RNN, GRU or LSTM, and writes like it
#include <fmt/format.h>

#include <filesystem>

#include "examples/char_lm/model.h"
#include "examples/char_lm/settings.h"
#include "examples/common/checkpoint.h"
#include "examples/common/interrupt.h"
#include "examples/common/metrics.h"
#include "examples/common/optimizer.h"
#include "examples/common/progress.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/common/text_file.h"

namespace reel::examples {

namespace {

// A text that every Debian machine has, or the project's own.
std::string default_text() {
  for (const char* path : {"/usr/share/common-licenses/GPL-3", REEL_SOURCE_DIR "/README.md"}) {
    if (std::filesystem::exists(path)) return path;
  }
  fail("no text to learn: want --data FILE");
}

// What a sample begins with.
std::string prompt_of(const Settings& s, const Characters& characters, const std::string& otherwise) {
  try {
    check_utf8(s.prompt, "--prompt");
    characters.encode(s.prompt, "--prompt");
  } catch (const Error& e) {
    throw WrongFlag(e.what());
  }
  return s.prompt.empty() ? otherwise : s.prompt;
}

nn::RecurrentOptions layers_of(const Settings& s) {
  nn::RecurrentOptions options{.num_layers = s.common.layers, .dropout = s.dropout};
  options.cell.bias = s.biases == 2 ? nn::Bias::two : nn::Bias::one;
  if (s.init > 0) {
    options.cell.init = [init = s.init](const Shape& shape) {
      return shape.rank() == 1 ? zeros(shape) : normal(shape, 0, init);
    };
  }
  return options;
}

template <class Layers>
class Training {
 public:
  Training(const Settings& s, const std::string& path, const std::string& text)
      : s_(s),
        characters_(text),
        ids_(characters_.encode(text, path)),
        checksum_(text_checksum(text)),
        prompt_(prompt_of(s, characters_, characters_[ids_[0]])),
        train_at_(static_cast<size_t>(static_cast<double>(ids_.size()) * (1 - s.valid) + 1e-9)),
        streams_({ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(train_at_)}, s.common.batch, s.seq,
                 path),
        model_(s.model, characters_.size(), layers_of(s), s.common.hidden),
        metrics_(s.common.out, !s.common.resume.empty()) {
    if (s.init > 0) {
      nn::init::fill(model_.output.weight, nn::init::normal(0, s.init));
      nn::init::fill(model_.output.bias, nn::init::constant(0));
    }
    if (!s.common.load.empty()) load_weights(s.common.load, model_);
    optimizer_ = make_optimizer(s.optimizer, model_.named_parameters(), s.common.lr);
    smooth_ = std::log(static_cast<double>(characters_.size())) * (s.loss == "sum" ? chars_per_step() : 1);
    if (!s.common.resume.empty()) resume();
  }

  int run() {
    say("{} characters, {} different; {} parameters\n", ids_.size(), characters_.size(),
        model_.num_parameters());
    Progress progress(s_.common.steps, "chars/s", s_.common.log_every);
    while (step_ < s_.common.steps && !interrupted()) {
      const double loss = one_step();
      progress.update(step_, loss, chars_per_step());
      if (step_ % s_.common.log_every == 0) {
        metrics_.log({{"step", step_}, {"loss", loss}, {"smooth_loss", smooth_}, {"grad_norm", norm_}});
        record(loss);
      }
      if (s_.sample_every > 0 && step_ % s_.sample_every == 0 && step_ < s_.common.steps) {
        progress.hide();
        show_sample(loss);
        checkpoint();
      }
    }
    progress.finish();
    if (interrupted()) return stop();
    return finish(progress.speed());
  }

 private:
  double chars_per_step() const { return static_cast<double>(s_.common.batch * s_.seq); }

  Tensor loss_of(const Streams::Chunk& chunk) {
    auto [logits, states] = model_(chunk.inputs, states_);
    states_ = carried(std::move(states));
    return cross_entropy(logits, chunk.targets,
                         {.reduction = s_.loss == "sum" ? Reduction::sum : Reduction::mean});
  }

  double one_step() {
    const int64_t at = step_ % streams_.chunks();
    if (at == 0) states_ = model_.recurrent.initial(s_.common.batch);
    const Tensor loss = loss_of(streams_.chunk(at));
    optimizer_->zero_grad();
    loss.backward();
    const auto parameters = model_.parameters();
    norm_ = optim::clip_grad_norm(parameters,
                                  s_.clip_norm > 0 ? s_.clip_norm : std::numeric_limits<double>::max());
    if (s_.clip_value > 0) optim::clip_grad_value(parameters, s_.clip_value);
    const double value = loss.item();
    ++step_;
    if (!std::isfinite(value) || !std::isfinite(norm_)) {
      fail("the loss at step {} is {} and its gradient's norm {}: want a smaller --lr, or --clip-norm", step_,
           value, norm_);
    }
    optimizer_->step();
    smooth_ = 0.999 * smooth_ + 0.001 * value;
    return value;
  }

  // Nats a character over the end of the text, read in streams as in training.
  double validate() {
    const std::vector<int64_t> held_out(ids_.begin() + static_cast<std::ptrdiff_t>(train_at_), ids_.end());
    if (static_cast<int64_t>(held_out.size()) <= s_.seq * s_.common.batch) {
      say_err("char_lm: no validation: {} characters are kept for it, and --seq times --batch is {}\n",
              held_out.size(), s_.seq * s_.common.batch);
      return NAN;
    }
    const Streams streams(held_out, s_.common.batch, s_.seq, "the validation text");
    const NoGrad no_grad;
    model_.eval();
    auto states = model_.recurrent.initial(s_.common.batch);
    double total = 0;
    for (int64_t k = 0; k < streams.chunks(); ++k) {
      const Streams::Chunk chunk = streams.chunk(k);
      auto [logits, next] = model_(chunk.inputs, states);
      total += cross_entropy(logits, chunk.targets).item();
      states = std::move(next);
    }
    model_.train();
    return total / static_cast<double>(streams.chunks());
  }

  void show_sample(double loss) {
    say("--- step {}, loss {:.3f}\n{}\n---\n", step_, loss,
        write(model_, characters_, prompt_, s_.sample, s_.temperature,
              s_.common.seed + static_cast<uint64_t>(step_)));
  }

  void record(double loss) {
    curve_.x.push_back(static_cast<double>(step_));
    curve_.y.push_back(s_.loss == "sum" ? loss / chars_per_step() : loss);
  }

  std::map<std::string, std::string> about() const {
    return {{"characters", characters_.joined()}, {"model", s_.model}};
  }

  // What must be as it was for a resumed run to go on where the other one stopped.
  std::map<std::string, std::string> same() const {
    auto text = about();
    text["text checksum"] = checksum_;
    text["--batch"] = std::to_string(s_.common.batch);
    text["--seq"] = std::to_string(s_.seq);
    text["--valid"] = fmt::format("{}", s_.valid);
    text["--loss"] = s_.loss;
    return text;
  }

  void resume() {
    const Checkpoint from = load_checkpoint(s_.common.resume, model_, *optimizer_, same());
    step_ = from.whole("step");
    smooth_ = from.number("smooth_loss");
    states_ = model_.recurrent.initial(s_.common.batch);
    size_t k = 0;
    for (auto& state : states_) {
      for (Tensor* part : nn::parts(state)) *part = from.tensor(fmt::format("state.{:04}", k++), *part);
    }
    metrics_.keep_through(step_);
  }

  std::string checkpoint() {
    if (states_.empty()) states_ = model_.recurrent.initial(s_.common.batch);
    Checkpoint extra{.text = same()};
    extra.text["step"] = std::to_string(step_);
    extra.text["smooth_loss"] = fmt::format("{}", smooth_);
    for (auto& state : states_) {
      for (Tensor* part : nn::parts(state)) {
        extra.tensors.emplace_back(fmt::format("state.{:04}", extra.tensors.size()), *part);
      }
    }
    const std::string path = s_.common.out + "/checkpoint.safetensors";
    save_checkpoint(path, model_, *optimizer_, extra);
    return path;
  }

  int stop() {
    const std::string path = checkpoint();
    say_err("char_lm: stopped after step {}; go on with --resume {}\n", step_, path);
    return 130;
  }

  int finish(double speed) {
    const double loss =
        curve_.y.empty() ? smooth_ : curve_.y.back() * (s_.loss == "sum" ? chars_per_step() : 1);
    show_sample(loss);
    const double val_loss = validate();
    checkpoint();
    const std::string path = s_.common.save.empty() ? s_.common.out + "/model.safetensors" : s_.common.save;
    save_weights(path, model_, about());
    curve_.name = s_.model;
    write_svg(s_.common.out + "/loss.svg", line_chart({.title = "Character model: loss",
                                                       .x_label = "step",
                                                       .y_label = "nats a character",
                                                       .series = {curve_}}));
    metrics_.log({{"step", step_}, {"val_loss", val_loss}});
    say("model {}\n", path);
    print_result({{"loss", loss}, {"smooth_loss", smooth_}, {"val_loss", val_loss}, {"chars_per_s", speed}});
    return 0;
  }

  const Settings& s_;
  Characters characters_;
  std::vector<int64_t> ids_;
  std::string checksum_, prompt_;
  size_t train_at_;
  Streams streams_;
  CharModel<Layers> model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Metrics metrics_;
  typename CharModel<Layers>::States states_;
  long step_ = 0;
  double smooth_ = 0, norm_ = 0;
  Series curve_;
};

// The lecture's first example: four letters, "hell" -> "ello".
template <class Layers>
void hello(const Settings& s) {
  const Characters characters("hello");
  CharModel<Layers> model(s.model, characters.size(), {.cell = {.bias = nn::Bias::one}}, 8);
  optim::Adam adam(model.parameters(), {.lr = 0.05});
  const Streams streams(characters.encode("hello", "hello"), 1, 4, "hello");
  double value = 0;
  for (int step = 0; step < 100; ++step) {
    const Streams::Chunk chunk = streams.chunk(0);
    const Tensor loss = cross_entropy(model(chunk.inputs, {}).logits, chunk.targets);
    adam.zero_grad();
    loss.backward();
    adam.step();
    value = loss.item();
  }
  say("\"hello\", learnt in 100 steps to a loss of {:.4f}; from \"h\" it writes \"{}\"\n\n", value,
      write(model, characters, "h", 4, 0, 1));
}

template <class Layers>
int generate(const Settings& s) {
  const SafetensorsFile file = load_safetensors(s.common.load);
  const auto known = file.metadata.find("characters");
  if (known == file.metadata.end())
    fail("{}: no characters in its metadata: want a model that char_lm saved", s.common.load);
  const Characters characters(known->second);
  const auto [hidden, layers] = recurrent_in(file, s.common.load, s.model);
  const Shape output = matrix_in(file, s.common.load, "output.weight");
  if (output[0] != characters.size() || output[1] != hidden) {
    fail("{}: 'output.weight' has shape {}: want {}, for {} characters", s.common.load, output,
         Shape{characters.size(), hidden}, characters.size());
  }
  Settings own = s;  // the sizes are the file's
  own.common.layers = layers;
  own.biases = file.tensors.contains(s.model + ".bias_hh_l0") ? 2 : 1;
  CharModel<Layers> model(s.model, characters.size(), layers_of(own), hidden);
  load_weights(s.common.load, model);
  const std::string prompt = prompt_of(s, characters, characters[0]);
  say("{}\n", write(model, characters, prompt, s.generate, s.temperature, s.common.seed));
  if (interrupted()) return 130;
  print_result({{"generated", s.generate}});
  return 0;
}

template <class Layers>
int run(const Settings& s) {
  if (s.generate > 0) return generate<Layers>(s);
  if (s.common.data.empty()) hello<Layers>(s);
  const std::string path = s.common.data.empty() ? default_text() : s.common.data[0];
  const std::string text = read_text(path);
  check_utf8(text, path);
  return Training<Layers>(s, path, text).run();
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  Flags flags("char_lm", "Learns a text character by character and samples from it.");
  Settings s;
  s.declare(flags);
  return run_main(argc, argv, flags, [&] {
    if (s.clip_value > 0 && !flags.given("--clip-norm")) s.clip_norm = 0;
    if (s.generate > 0 && s.common.load.empty())
      throw WrongFlag("--generate wants the model's file: --load FILE.");
    catch_interrupts();
    const auto precision = start_engine(s.common);
    if (s.generate > 0) {
      const auto about = reel::load_safetensors(s.common.load).metadata;
      if (const auto kind = about.find("model"); kind != about.end()) s.model = kind->second;
    }
    if (s.model == "rnn") return run<reel::nn::RNN>(s);
    if (s.model == "gru") return run<reel::nn::GRU>(s);
    return run<reel::nn::LSTM>(s);
  });
}
