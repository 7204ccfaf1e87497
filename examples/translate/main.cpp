// translate: learns to translate with an encoder, a decoder and attention; by default dates into ISO form
#include <fmt/format.h>

#include <cmath>

#include "examples/common/checkpoint.h"
#include "examples/common/interrupt.h"
#include "examples/common/metrics.h"
#include "examples/common/optimizer.h"
#include "examples/common/progress.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/translate/filter.h"
#include "examples/translate/judge.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 4, .batch = 64, .hidden = 96, .layers = 1, .lr = 4e-3, .log_every = 20};
  TaskOptions task;
  long embedding = 64;
  double dropout = 0, clip_norm = 1, minutes = 0;
  bool translate = false;

  void declare(Flags& flags) {
    add_common(flags, common, 2);
    flags.texts("--valid", task.valid, "SRC TGT, or one TSV: pairs for validation", 1, 2);
    flags.texts("--test", task.test, "SRC TGT, or one TSV: pairs for the final test", 1, 2);
    flags.number("--minutes", minutes, "stop training after so many minutes; 0: no limit", 0, 100000);
    flags.whole("--embedding", embedding, "width of the word vectors", 1, 100000);
    flags.number("--dropout", dropout, "on word vectors, between layers and before the output", 0, 0.95);
    flags.number("--clip-norm", clip_norm, "bound on the gradient's norm", 1e-9, 1e9);
    flags.whole("--min-count", task.min_count, "words seen less often are <unk>", 1, 1000000);
    flags.whole("--max-words", task.max_words, "words a vocabulary holds", 5, 10000000);
    flags.whole("--max-length", task.max_length, "words; longer training pairs are left out", 1, 100000);
    flags.toggle("--lower", task.lower, "lower-case the text");
    flags.toggle("--raw", task.raw, "split punctuation off the words (always for a TSV)");
    flags.toggle("--translate", translate,
                 "translate standard input, line by line, with the model of --load");
  }
};

TranslatorSizes sizes_of(const Settings& s, const Task& task) {
  return {static_cast<int64_t>(task.source.size()),
          static_cast<int64_t>(task.target.size()),
          s.embedding,
          s.common.hidden,
          s.common.layers,
          s.dropout};
}

// Of the sentences as the model sees them.
std::string checksum(const Corpus& corpus) {
  std::string bytes;
  for (const auto* side : {&corpus.source, &corpus.target}) {
    for (const auto& ids : *side)
      bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ids[0]));
  }
  return text_checksum(bytes);
}

class Training {
 public:
  explicit Training(const Settings& s)
      : s_(s),
        task_(Task::make(s.task)),
        model_(sizes_of(s, task_)),
        judge_(task_, model_),
        metrics_(s.common.out, !s.common.resume.empty()) {
    if (!s.common.load.empty()) load_weights(s.common.load, model_);
    optimizer_ = make_optimizer("adam", model_.named_parameters(), s.common.lr);
    if (!s.common.resume.empty()) resume();
  }

  int run() {
    say("{} pairs for training, {} for validation, {} for testing; {} and {} words; {} parameters\n",
        task_.train.size(), task_.valid.size(), task_.test.size(), task_.source.size(), task_.target.size(),
        model_.num_parameters());
    const auto per_epoch = static_cast<long>(plan_batches(task_.train, batches(), 0).size());
    const long by_epochs = s_.common.epochs == unlimited ? 0 : per_epoch * s_.common.epochs;
    const long total = s_.common.steps != unlimited ? s_.common.steps : by_epochs;
    Progress progress(total, "tokens/s", s_.common.log_every, s_.minutes);
    while (!interrupted()) {
      const bool at_end = (total > 0 && step_ >= total) || progress.out_of_time();
      if (step_ > judged_ && (at_end || step_ % per_epoch == 0)) {
        progress.hide();
        end_of_epoch(step_ / per_epoch);
      }
      if (at_end) break;
      const auto plan = plan_batches(task_.train, batches(), static_cast<uint64_t>(step_ / per_epoch));
      for (auto k = static_cast<size_t>(step_ % per_epoch); k < plan.size(); ++k) {
        one_step(assemble(task_.train, plan[k]), progress);
        if ((total > 0 && step_ >= total) || progress.out_of_time() || interrupted()) break;
      }
    }
    progress.finish();
    if (interrupted()) return stop();
    return finish(progress.speed());
  }

 private:
  BatchOptions batches() const { return {.sentences = s_.common.batch, .seed = s_.common.seed}; }

  void one_step(const Batch& batch, Progress& progress) {
    const Tensor loss = model_.loss(batch);
    optimizer_->zero_grad();
    loss.backward();
    const double norm = optim::clip_grad_norm(model_.parameters(), s_.clip_norm);
    const double value = loss.item();
    ++step_;
    if (!std::isfinite(value) || !std::isfinite(norm)) {
      fail("the loss at step {} is {} and its gradient's norm {}: want a smaller --lr or --clip-norm", step_,
           value, norm);
    }
    optimizer_->step();
    double words = 0;
    for (int64_t length : batch.target_lengths) words += static_cast<double>(length);
    progress.update(step_, value, words);
    if (step_ % s_.common.log_every != 0) return;
    metrics_.log({{"step", step_}, {"loss", value}, {"grad_norm", norm}, {"lr", optimizer_->lr()}});
    training_.x.push_back(static_cast<double>(step_));
    training_.y.push_back(value);
  }

  // Keeps the best model; halves the learning rate where validation does not improve.
  void end_of_epoch(long epoch) {
    const double loss = judge_.loss(task_.valid);
    judged_ = step_;
    if (loss < best_) {
      best_ = loss;
      best_weights_ = copies(model_.state_dict());
      save_weights(best_path(), model_, task_.about());
    } else {
      optimizer_->set_lr(optimizer_->lr() / 2);
    }
    const auto sample = judge_.translate(task_.valid, 256);
    const auto score = judge_.score(sample, task_.valid_text, task_.valid);
    say("epoch {}: validation loss {:.4f}, exact {:.1f} %, BLEU {:.2f}\n", epoch, loss, 100 * score.exact,
        score.bleu);
    judge_.show(task_.valid_text, task_.valid, sample, 2);
    metrics_.log({{"step", step_}, {"val_loss", loss}, {"val_exact", score.exact}, {"val_bleu", score.bleu}});
    validation_.x.push_back(static_cast<double>(step_));
    validation_.y.push_back(loss);
    checkpoint();
  }

  std::string best_path() const {
    return s_.common.save.empty() ? s_.common.out + "/model.safetensors" : s_.common.save;
  }

  // What must be as it was for a resumed run to go on where the other one stopped.
  std::map<std::string, std::string> same() const {
    auto text = task_.about();
    text["--batch"] = std::to_string(s_.common.batch);
    text["--seed"] = std::to_string(s_.common.seed);
    text["data checksum"] = checksum(task_.train) + checksum(task_.valid);
    return text;
  }

  std::string checkpoint() {
    Checkpoint extra{.text = same()};
    extra.text["step"] = std::to_string(step_);
    extra.text["judged"] = std::to_string(judged_);
    extra.text["best"] = fmt::format("{}", best_);
    for (const auto& [name, tensor] : best_weights_) extra.tensors.emplace_back("best." + name, tensor);
    const std::string path = s_.common.out + "/checkpoint.safetensors";
    save_checkpoint(path, model_, *optimizer_, extra);
    return path;
  }

  void resume() {
    const Checkpoint from = load_checkpoint(s_.common.resume, model_, *optimizer_, same());
    step_ = from.whole("step");
    judged_ = from.whole("judged");
    best_ = from.number("best");
    if (std::isfinite(best_)) {
      for (const auto& [name, tensor] : model_.state_dict())
        best_weights_.emplace_back(name, from.tensor("best." + name, tensor));
    }
    metrics_.keep_through(step_);
  }

  int stop() {
    const std::string path = checkpoint();
    say_err("translate: stopped after step {}; go on with --resume {}\n", step_, path);
    return 130;
  }

  int finish(double speed) {
    if (std::isfinite(best_)) model_.load_state_dict(best_weights_);
    save_weights(best_path(), model_, task_.about());
    const auto translations = judge_.translate(task_.test);
    const auto score = judge_.score(translations, task_.test_text, task_.test);
    say("\nof the {} test pairs:\n", task_.test.size());
    judge_.show(task_.test_text, task_.test, translations, 10);
    draw(translations);
    say("model {}, pictures {}/loss.svg and {}/alignment.svg\n", best_path(), s_.common.out, s_.common.out);
    print_result({{"exact", score.exact}, {"bleu", score.bleu}, {"loss", best_}, {"tokens_per_s", speed}});
    return 0;
  }

  void draw(const std::vector<Translator::Translation>& translations) {
    training_.name = "training";
    validation_.name = "validation";
    write_svg(s_.common.out + "/loss.svg", line_chart({.title = "Translation: loss",
                                                       .x_label = "step",
                                                       .y_label = "nats a word",
                                                       .series = {training_, validation_}}));
    // A test sentence of middling length shows the alignment best.
    size_t best = 0;
    for (size_t k = 0; k < translations.size(); ++k) {
      const auto length = [&](size_t row) {
        return std::labs(static_cast<long>(task_.test.source[row].size()) - 14);
      };
      if (length(k) < length(best)) best = k;
    }
    Tokens source = task_.test_text.source[task_.test.pair[best]];
    Tokens target = task_.target.decode(translations[best].ids);
    source.emplace_back("</s>");
    target.emplace_back("</s>");
    write_svg(s_.common.out + "/alignment.svg", heat_map({.title = "Where the decoder looks",
                                                          .row_label = "target, as written",
                                                          .column_label = "source",
                                                          .value_label = "attention weight",
                                                          .rows = target,
                                                          .columns = source,
                                                          .values = translations[best].alignment,
                                                          .low = 0,
                                                          .high = 1}));
  }

  const Settings& s_;
  Task task_;
  Translator model_;
  Judge judge_;
  Metrics metrics_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  long step_ = 0, judged_ = 0;  // judged_: when the validation text was last read
  double best_ = INFINITY;      // loss on it, and the weights that had it
  NamedTensors best_weights_;
  Series training_, validation_;
};

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  Flags flags(
      "translate",
      "Learns to translate. Without --data it rewrites dates: \"Saturday 9 May 1998\" -> 1998-05-09.");
  Settings s;
  s.declare(flags);
  return run_main(argc, argv, flags, [&] {
    const auto precision = start_engine(s.common);
    if (s.minutes > 0 && !flags.given("--epochs")) s.common.epochs = unlimited;
    if (s.translate) {
      if (s.common.load.empty()) throw WrongFlag("--translate wants the model's file: --load FILE.");
      return translate_input(s.common.load);
    }
    s.task.data = s.common.data;
    s.task.seed = s.common.seed;
    if (s.common.data.empty() && !(s.task.valid.empty() && s.task.test.empty())) {
      throw WrongFlag("--valid and --test go with --data.");
    }
    catch_interrupts();
    return Training(s).run();
  });
}
