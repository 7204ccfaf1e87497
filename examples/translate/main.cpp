// translate: learns to translate with an encoder, a decoder and attention; by default dates into ISO form
// Subject: Translation
#include <fmt/format.h>

#include <cstdlib>

#include "examples/common/best_weights.h"
#include "examples/common/interrupt.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
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
        best_(model_),
        judge_(task_, model_),
        per_epoch_(static_cast<long>(plan_batches(task_.train, batches(), 0).size())),
        loop_("translate", s.common, model_,
              {.clip_norm = s.clip_norm,
               .after_step =
                   [&](double) {
                     return std::vector<Field>{{"lr", loop_.optimizer().lr()}};
                   },
               .steps_per_epoch = per_epoch_,
               .minutes = s.minutes,
               .unit = "tokens/s",
               .title = "Translation: loss",
               .y_label = "nats a word",
               .curve = "training",
               .same = same(),
               .keep = [&](Checkpoint& checkpoint) { keep(checkpoint); },
               .restore = [&](const Checkpoint& checkpoint) { restore(checkpoint); }}) {}

  int run() {
    say("{} pairs for training, {} for validation, {} for testing; {} and {} words; {} parameters\n",
        task_.train.size(), task_.valid.size(), task_.test.size(), task_.source.size(), task_.target.size(),
        model_.num_parameters());
    loop_.every(per_epoch_, [&] { end_of_epoch(); });
    if (!loop_.run([&](long step) { return step_of(batch_at(step)); }))
      return TrainingLoop::interrupted_status;
    if (loop_.step() > judged_) end_of_epoch();
    return finish();
  }

 private:
  BatchOptions batches() const { return {.sentences = s_.common.batch, .seed = s_.common.seed}; }

  Batch batch_at(long step) {
    if (const long epoch = step / per_epoch_; epoch != epoch_) {
      epoch_ = epoch;
      plan_ = plan_batches(task_.train, batches(), static_cast<uint64_t>(epoch));
    }
    return assemble(task_.train, plan_[static_cast<size_t>(step % per_epoch_)]);
  }

  TrainingLoop::Step step_of(const Batch& batch) {
    double words = 0;
    for (int64_t length : batch.target_lengths) words += static_cast<double>(length);
    return {model_.loss(batch), words, {}};
  }

  // Keeps the best model; halves the learning rate where validation does not improve.
  void end_of_epoch() {
    const double loss = judge_.loss(task_.valid);
    judged_ = loop_.step();
    if (best_.offer(-loss)) {
      save_weights(best_path(), model_, task_.about());
    } else {
      loop_.optimizer().set_lr(loop_.optimizer().lr() / 2);
    }
    const auto sample = judge_.translate(task_.valid, 256);
    const auto score = judge_.score(sample, task_.valid_text, task_.valid);
    say("epoch {}: validation loss {:.4f}, exact {:.1f} %, BLEU {:.2f}\n", judged_ / per_epoch_, loss,
        100 * score.exact, score.bleu);
    judge_.show(task_.valid_text, task_.valid, sample, 2);
    loop_.metrics().log(
        {{"step", judged_}, {"val_loss", loss}, {"val_exact", score.exact}, {"val_bleu", score.bleu}});
    loop_.add_to_curve("validation", loss);
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

  void keep(Checkpoint& checkpoint) const {
    checkpoint.text["judged"] = std::to_string(judged_);
    best_.keep(checkpoint);
  }

  void restore(const Checkpoint& checkpoint) {
    judged_ = checkpoint.whole("judged");
    best_.restore(checkpoint);
  }

  int finish() {
    loop_.checkpoint();
    best_.take();
    loop_.finish(task_.about());
    const auto translations = judge_.translate(task_.test);
    const auto score = judge_.score(translations, task_.test_text, task_.test);
    say("\nof the {} test pairs:\n", task_.test.size());
    judge_.show(task_.test_text, task_.test, translations, 10);
    draw(translations);
    print_result({{"exact", score.exact},
                  {"bleu", score.bleu},
                  {"loss", -best_.score()},
                  {"tokens_per_s", loop_.speed()}});
    return 0;
  }

  void draw(const std::vector<Translator::Translation>& translations) {
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
    say("picture {}/alignment.svg\n", s_.common.out);
  }

  const Settings& s_;
  Task task_;
  Translator model_;
  BestWeights best_;  // on the validation text
  Judge judge_;
  long per_epoch_, epoch_ = -1, judged_ = 0;    // judged_: when the validation text was last read
  std::vector<std::vector<size_t>> plan_ = {};  // the batches of this epoch
  TrainingLoop loop_;
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
