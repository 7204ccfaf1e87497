// char_lm: learns a text character by character with an RNN, GRU or LSTM, and writes like it
// Subject: Language models
#include <fmt/format.h>

#include <algorithm>

#include "examples/char_lm/model.h"
#include "examples/char_lm/settings.h"
#include "examples/char_lm/tales.h"
#include "examples/char_lm/unit.h"
#include "examples/common/interrupt.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/text_file.h"
#include "examples/common/training_loop.h"

namespace reel::examples {

namespace {

std::string first_letter(std::string_view text) {  // that is no blank, if there is one
  const size_t at = text.find_first_not_of(" \t\r\n");
  return std::string(utf8_first(text.substr(at == text.npos ? 0 : at)));
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

// What is known of a text that we wrote.
struct Told {
  std::string prompt = {};  // how samples begin; by default with its first letter
  double least_loss = NAN;  // nats a character that no model can undercut
};

template <class Layers>
class Training {
 public:
  Training(const Settings& s, const std::string& path, const std::string& text, const Told& told = {})
      : s_(s),
        told_(told),
        characters_(text),
        ids_(characters_.encode(text, path)),
        checksum_(text_checksum(text)),
        prompt_(prompt_of(s, characters_, told.prompt.empty() ? first_letter(text) : told.prompt)),
        train_at_(static_cast<size_t>(static_cast<double>(ids_.size()) * (1 - s.valid) + 1e-9)),
        streams_({ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(train_at_)}, s.common.batch, s.seq,
                 path),
        model_(s.model, characters_.size(), layers_of(s), s.common.hidden) {
    if (s.init > 0) {
      nn::init::fill(model_.output.weight, nn::init::normal(0, s.init));
      nn::init::fill(model_.output.bias, nn::init::constant(0));
    }
    states_ = model_.recurrent.initial(s.common.batch);
    smooth_ = std::log(static_cast<double>(characters_.size())) * (s.loss == "sum" ? chars_per_step() : 1);
    loop_ = std::make_unique<TrainingLoop>("char_lm", s.common, model_, loop_options());
    if (s.sample_every > 0) loop_->every(s.sample_every, [&] { show_sample(); });
  }

  int run() {
    say("{} characters, {} different; {} parameters\n", ids_.size(), characters_.size(),
        model_.num_parameters());
    const bool done = loop_->run([&](long step) {
      return TrainingLoop::Step{loss_at(step), chars_per_step(), {}};
    });
    return done ? finish() : TrainingLoop::interrupted_status;
  }

 private:
  double chars_per_step() const { return static_cast<double>(s_.common.batch * s_.seq); }

  LoopOptions loop_options() {
    return {.optimizer = s_.optimizer,
            .clip_norm = s_.clip_norm,
            .clip_value = s_.clip_value,
            .after_step =
                [&](double loss) {
                  smooth_ = 0.999 * smooth_ + 0.001 * loss;
                  return std::vector<Field>{{"smooth_loss", smooth_}};
                },
            .unit = "chars/s",
            .title = fmt::format("Character model ({}): loss", s_.model),
            .y_label = "nats a character",
            .loss_scale = s_.loss == "sum" ? 1 / chars_per_step() : 1,
            .same = same(),
            .keep = [&](Checkpoint& checkpoint) { keep(checkpoint); },
            .restore = [&](const Checkpoint& checkpoint) { restore(checkpoint); }};
  }

  Tensor loss_at(long step) {
    const int64_t at = step % streams_.chunks();
    if (at == 0) states_ = model_.recurrent.initial(s_.common.batch);
    const Streams::Chunk chunk = streams_.chunk(at);
    auto [logits, states] = model_(chunk.inputs, states_);
    states_ = carried(std::move(states));
    return cross_entropy(logits, chunk.targets,
                         {.reduction = s_.loss == "sum" ? Reduction::sum : Reduction::mean});
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

  void show_sample() {
    say("--- step {}, loss {:.3f}\n{}\n---\n", loop_->step(), loop_->loss(),
        write(model_, characters_, prompt_, s_.sample, s_.temperature,
              s_.common.seed + static_cast<uint64_t>(loop_->step())));
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

  void keep(Checkpoint& checkpoint) {
    checkpoint.text["smooth_loss"] = fmt::format("{}", smooth_);
    for (auto& state : states_) {
      for (Tensor* part : nn::parts(state)) {
        checkpoint.tensors.emplace_back(fmt::format("state.{:04}", checkpoint.tensors.size()), *part);
      }
    }
  }

  void restore(const Checkpoint& checkpoint) {
    smooth_ = checkpoint.number("smooth_loss");
    size_t k = 0;
    for (auto& state : states_) {
      for (Tensor* part : nn::parts(state)) *part = checkpoint.tensor(fmt::format("state.{:04}", k++), *part);
    }
  }

  // The end of the text, shaded by a unit that counts letters.
  void draw_unit() {
    const NoGrad no_grad;
    const size_t count = std::min<size_t>(ids_.size(), 2000);
    const std::vector<int64_t> ids(ids_.end() - static_cast<std::ptrdiff_t>(count), ids_.end());
    std::vector<std::string> text;
    for (const int64_t id : ids) text.push_back(characters_[id]);
    model_.eval();
    const Tensor x = one_hot(Tensor::from(ids, {static_cast<int64_t>(count), 1}), characters_.size());
    const auto h = model_.recurrent(x).output.template to_vector<double>();
    model_.train();
    unit_ = closest_unit(h, places_in_word(text));
    const std::string path = s_.common.out + "/unit.svg";
    write_svg(path, shaded_words(shaded_by(text, h, unit_, 700)));
    say("picture {}: a hidden unit that follows the place in the word\n", path);
  }

  int finish() {
    show_sample();
    const double val_loss = validate();
    loop_->finish(about());
    draw_unit();
    loop_->metrics().log({{"step", loop_->step()}, {"val_loss", val_loss}});
    std::vector<Field> result{{"loss", loop_->loss()}, {"smooth_loss", smooth_}, {"val_loss", val_loss}};
    if (std::isfinite(told_.least_loss)) result.emplace_back("least_loss", told_.least_loss);
    result.emplace_back("unit_correlation", std::abs(unit_.correlation));
    result.emplace_back("chars_per_s", loop_->speed());
    print_result(result);
    return 0;
  }

  const Settings& s_;
  Told told_;
  Characters characters_;
  std::vector<int64_t> ids_;
  std::string checksum_, prompt_;
  size_t train_at_;
  Streams streams_;
  CharModel<Layers> model_;
  typename CharModel<Layers>::States states_;
  double smooth_ = 0;
  Unit unit_{0, 0};
  std::unique_ptr<TrainingLoop> loop_;
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
int run_with(const Settings& s) {
  if (s.generate > 0) return generate<Layers>(s);
  if (s.common.data.empty()) {
    hello<Layers>(s);
    const Text tales = make_tales(2000);
    const double least_loss = tales.nats / static_cast<double>(tales.text.size());
    return Training<Layers>(s, "the tales", tales.text, {.prompt = "\n\n\nTHE ", .least_loss = least_loss})
        .run();
  }
  const std::string path = s.common.data[0];
  const std::string text = read_text(path);
  check_utf8(text, path);
  return Training<Layers>(s, path, text).run();
}

int run(const Settings& s) {
  Settings own = s;
  if (s.generate > 0) {
    const auto about = load_safetensors(s.common.load).metadata;
    if (const auto kind = about.find("model"); kind != about.end()) own.model = kind->second;
  }
  if (own.model == "rnn") return run_with<nn::RNN>(own);
  if (own.model == "gru") return run_with<nn::GRU>(own);
  return run_with<nn::LSTM>(own);
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(argc, argv, "char_lm",
                               "Learns a text character by character and samples from it.", run,
                               [](Settings& s, const Flags& flags) {
                                 if (!s.common.data.empty()) {
                                   if (!flags.given("--steps")) s.common.steps = 2400;
                                   if (!flags.given("--batch")) s.common.batch = 32;
                                   if (!flags.given("--seq")) s.seq = 64;
                                   if (!flags.given("--sample-every")) s.sample_every = 600;
                                 }
                                 if (s.clip_value > 0 && !flags.given("--clip-norm")) s.clip_norm = 0;
                                 if (s.generate > 0 && s.common.load.empty())
                                   throw WrongFlag("--generate wants the model's file: --load FILE.");
                               });
}
