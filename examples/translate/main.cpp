// translate: learns to translate with an encoder, a decoder and attention; by default dates into ISO form
#include <fmt/format.h>

#include <cmath>
#include <iostream>

#include "examples/common/checkpoint.h"
#include "examples/common/interrupt.h"
#include "examples/common/metrics.h"
#include "examples/common/optimizer.h"
#include "examples/common/progress.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/translate/bleu.h"
#include "examples/translate/model.h"
#include "examples/translate/task.h"
#include "nn/safetensors.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 8, .batch = 64, .hidden = 96, .layers = 1, .lr = 4e-3, .log_every = 20};
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

// Everything a user may ask of a model that is trained: translations, exact matches, BLEU.
class Judge {
 public:
  Judge(const Task& task, Translator& model) : task_(task), model_(model) {}

  std::vector<Translator::Translation> translate(const Corpus& corpus, size_t limit = SIZE_MAX) {
    model_.eval();
    std::vector<Translator::Translation> out(std::min(limit, corpus.size()));
    for (const auto& rows : plan_batches(corpus, {.sentences = 64, .shuffle = false}, 0)) {
      std::vector<size_t> wanted;
      for (size_t row : rows) {
        if (row < out.size()) wanted.push_back(row);
      }
      if (wanted.empty()) continue;
      const Batch batch = assemble(corpus, wanted);
      auto found = model_.greedy(batch, 2 * batch.src_len + 10);
      for (size_t k = 0; k < wanted.size(); ++k) out[wanted[k]] = std::move(found[k]);
    }
    model_.train();
    return out;
  }

  double loss(const Corpus& corpus) {
    const NoGrad no_grad;
    model_.eval();
    double total = 0, words = 0;
    for (const auto& rows : plan_batches(corpus, {.sentences = 64, .shuffle = false}, 0)) {
      const Batch batch = assemble(corpus, rows);
      double count = 0;
      for (int64_t length : batch.target_lengths) count += static_cast<double>(length);
      total += model_.loss(batch).item() * count;
      words += count;
    }
    model_.train();
    return total / words;
  }

  struct Score {
    double exact, bleu;
  };
  // Against the words of the text itself, which may be ones that the vocabulary lacks.
  Score score(const std::vector<Translator::Translation>& translations, const ParallelText& text,
              const Corpus& corpus) {
    std::vector<std::string> ours, theirs;
    double same = 0;
    for (size_t k = 0; k < translations.size(); ++k) {
      const Tokens &words = task_.target.decode(translations[k].ids), &truth = text.target[corpus.pair[k]];
      same += words == truth;
      ours.push_back(join(words, TokenKind::words));
      theirs.push_back(join(truth, TokenKind::words));
    }
    return {same / static_cast<double>(translations.size()), corpus_bleu(ours, theirs).score};
  }

  void show(const ParallelText& text, const Corpus& corpus,
            const std::vector<Translator::Translation>& translations, size_t count) {
    for (size_t k = 0; k < std::min(count, translations.size()); ++k) {
      fmt::print("  {}\n    -> {}\n    ({})\n", task_.in_words(text.source[corpus.pair[k]]),
                 task_.in_words(task_.target.decode(translations[k].ids)),
                 task_.in_words(text.target[corpus.pair[k]]));
    }
    std::fflush(stdout);
  }

 private:
  const Task& task_;
  Translator& model_;
};

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
    fmt::print("{} pairs for training, {} for validation, {} for testing; {} and {} words; {} parameters\n",
               task_.train.size(), task_.valid.size(), task_.test.size(), task_.source.size(),
               task_.target.size(), model_.num_parameters());
    std::fflush(stdout);
    const auto per_epoch = static_cast<long>(plan_batches(task_.train, batches(), 0).size());
    const long by_epochs = s_.common.epochs == unlimited ? 0 : per_epoch * s_.common.epochs;
    const long total = s_.common.steps != unlimited ? s_.common.steps : by_epochs;
    Progress progress(total, "tokens/s", s_.common.log_every, s_.minutes);
    while ((total == 0 || step_ < total) && !progress.out_of_time() && !interrupted()) {
      const auto plan = plan_batches(task_.train, batches(), static_cast<uint64_t>(step_ / per_epoch));
      for (auto k = static_cast<size_t>(step_ % per_epoch); k < plan.size(); ++k) {
        one_step(assemble(task_.train, plan[k]), progress);
        if ((total > 0 && step_ >= total) || progress.out_of_time() || interrupted()) break;
      }
      progress.hide();
      if (!interrupted()) end_of_epoch(step_ / per_epoch);
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
    if (loss < best_) {
      best_ = loss;
      save_weights(best_path(), model_, about());
    } else {
      optimizer_->set_lr(optimizer_->lr() / 2);
    }
    const auto sample = judge_.translate(task_.valid, 256);
    const auto score = judge_.score(sample, task_.valid_text, task_.valid);
    fmt::print("epoch {}: validation loss {:.4f}, exact {:.1f} %, BLEU {:.2f}\n", epoch, loss,
               100 * score.exact, score.bleu);
    judge_.show(task_.valid_text, task_.valid, sample, 2);
    metrics_.log({{"step", step_}, {"val_loss", loss}, {"val_exact", score.exact}, {"val_bleu", score.bleu}});
    validation_.x.push_back(static_cast<double>(step_));
    validation_.y.push_back(loss);
    checkpoint();
  }

  std::string best_path() const {
    return s_.common.save.empty() ? s_.common.out + "/model.safetensors" : s_.common.save;
  }

  std::map<std::string, std::string> about() const {
    auto text = task_.about();
    text["embedding"] = std::to_string(s_.embedding);
    text["hidden"] = std::to_string(s_.common.hidden);
    text["layers"] = std::to_string(s_.common.layers);
    return text;
  }

  std::string checkpoint() {
    const std::string path = s_.common.out + "/checkpoint.safetensors";
    save_checkpoint(path, model_, *optimizer_,
                    {.text = {{"step", std::to_string(step_)}, {"best", fmt::format("{}", best_)}}});
    return path;
  }

  void resume() {
    const Checkpoint from = load_checkpoint(s_.common.resume, model_, *optimizer_);
    step_ = from.whole("step");
    best_ = from.number("best");
  }

  int stop() {
    const std::string path = checkpoint();
    fmt::print(stderr, "translate: stopped after step {}; go on with --resume {}\n", step_, path);
    return 130;
  }

  int finish(double speed) {
    if (std::isfinite(best_)) load_weights(best_path(), model_);
    const auto translations = judge_.translate(task_.test);
    const auto score = judge_.score(translations, task_.test_text, task_.test);
    fmt::print("\nof the {} test pairs:\n", task_.test.size());
    judge_.show(task_.test_text, task_.test, translations, 10);
    draw(translations);
    fmt::print("model {}, pictures {}/loss.svg and {}/alignment.svg\n", best_path(), s_.common.out,
               s_.common.out);
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
  long step_ = 0;
  double best_ = INFINITY;
  Series training_, validation_;
};

// Lines from standard input to standard output, with a model that was trained before.
int translate_input(Settings s) {
  const auto about = load_safetensors(s.common.load).metadata;
  const Task task = Task::known(about, s.common.load);
  const Checkpoint sizes{.text = about};
  s.embedding = sizes.whole("embedding");
  s.common.hidden = sizes.whole("hidden");
  s.common.layers = sizes.whole("layers");
  Translator model(sizes_of(s, task));
  load_weights(s.common.load, model);
  model.eval();
  long count = 0;
  for (std::string line; std::getline(std::cin, line); ++count) {
    const Tokens words = tokenise_text(line, task.text);
    if (words.empty()) {
      fmt::print("\n");
      continue;
    }
    Corpus corpus;
    corpus.source.push_back(task.source.encode(words));
    corpus.target.emplace_back();
    const size_t row = 0;
    const Batch batch = assemble(corpus, {&row, 1});
    fmt::print("{}\n", task.in_words(task.target.decode(model.greedy(batch, 2 * batch.src_len + 10)[0].ids)));
    std::fflush(stdout);
  }
  fmt::print(stderr, "translate: {} lines\n", count);
  return 0;
}

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
    start_engine(s.common);
    if (s.minutes > 0 && !flags.given("--epochs")) s.common.epochs = unlimited;
    if (s.translate) {
      if (s.common.load.empty()) reel::fail("--translate wants the model's file: --load FILE");
      return translate_input(s);
    }
    s.task.data = s.common.data;
    s.task.seed = s.common.seed;
    if (s.common.data.empty() && !(s.task.valid.empty() && s.task.test.empty())) {
      reel::fail("--valid and --test go with --data");
    }
    catch_interrupts();
    return Training(s).run();
  });
}
