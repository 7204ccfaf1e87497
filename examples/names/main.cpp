// names: tells the language of a surname, letter by letter, with a bidirectional LSTM
// Subject: Classifying sequences
#include <fmt/format.h>

#include "examples/common/confusion.h"
#include "examples/common/program.h"
#include "examples/common/result.h"
#include "examples/common/training_loop.h"
#include "examples/data/batches.h"
#include "examples/data/symbols.h"
#include "examples/names/lists.h"
#include "reel.h"

namespace reel::examples {

namespace {

struct Settings {
  CommonFlags common{
      .steps = unlimited, .epochs = 30, .batch = 32, .hidden = 64, .layers = 1, .lr = 4e-3, .log_every = 10};
  long embedding = 32, held_out = 10;
  double dropout = 0.3;

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.whole("--embedding", embedding, "width of a letter's vector", 1, 10000);
    flags.whole("--held-out", held_out, "every so-many-th name is for the test", 2, 1000);
    flags.number("--dropout", dropout, "on the letters' vectors and before the output", 0, 0.95);
  }
};

// Letters -> bidirectional LSTM -> its two last states -> a score for each language.
struct Classifier : nn::Module {
  Classifier(int64_t letters, int64_t languages, const Settings& s)
      : embedding({this, "embedding"}, letters, s.embedding),
        lstm({this, "lstm"}, s.embedding, s.common.hidden,
             {.num_layers = s.common.layers, .bidirectional = true, .dropout = s.dropout}),
        dropout({this, "dropout"}, s.dropout),
        output({this, "output"}, 2 * s.common.hidden, languages) {}

  Tensor operator()(const Padded& names) const {  // [batch, languages]
    const auto states = lstm(dropout(embedding(names.x)), {}, {.lengths = names.lengths}).state;
    const size_t top = states.size() - 2;
    return output(dropout(concat({states[top].h, states[top + 1].h}, -1)));
  }

  nn::Embedding embedding;
  nn::LSTM lstm;
  nn::Dropout dropout;
  nn::Linear output;
};

struct Data {
  NameLists lists;
  std::vector<std::vector<int64_t>> letters;

  Data(NameLists from, const Symbols& symbols) : lists(std::move(from)) {
    for (const std::string& name : lists.names) letters.push_back(symbols.ids(characters_of(name)));
  }
  std::string checksum() const {
    std::string text;
    for (size_t k = 0; k < letters.size(); ++k)
      text += fmt::format("{} {}\n", lists.names[k], lists.labels[k]);
    return text_checksum(text);
  }
  Tensor labels(const std::vector<size_t>& rows) const {
    std::vector<int64_t> ids;
    for (const size_t row : rows) ids.push_back(lists.labels[row]);
    return Tensor::from(ids, {static_cast<int64_t>(ids.size())});
  }
};

std::vector<int64_t> guesses(Classifier& model, const Data& data) {
  const NoGrad no_grad;
  model.eval();
  std::vector<int64_t> all;
  for (const auto& rows : in_order(data.letters.size(), 256)) {
    const auto ids = argmax(model(padded(data.letters, rows)), -1).to_vector<int64_t>();
    all.insert(all.end(), ids.begin(), ids.end());
  }
  model.train();
  return all;
}

int run(const Settings& s) {
  const bool own = !s.common.data.empty();
  const NameSplit split = split_names(own ? read_name_lists(s.common.data[0]) : embedded_names(),
                                      static_cast<size_t>(s.held_out));
  if (split.test.names.empty()) fail("no name is held out: want a smaller --held-out");
  std::vector<std::vector<std::string>> spelled;
  for (const std::string& name : split.train.names) spelled.push_back(characters_of(name));
  const Symbols symbols(spelled);
  const Data train(split.train, symbols), test(split.test, symbols);

  Classifier model(symbols.size(), static_cast<int64_t>(split.train.classes.size()), s);
  Batches batches(train.letters.size(), s.common.batch, s.common.seed);
  const std::map<std::string, std::string> about{{"letters", symbols.joined()},
                                                 {"names checksum", train.checksum()}};
  TrainingLoop loop("names", s.common, model,
                    {.clip_norm = 1,
                     .decay = true,
                     .steps_per_epoch = batches.per_pass(),
                     .unit = "names/s",
                     .title = "Names: loss",
                     .y_label = "nats a name",
                     .same = about});
  say("{} names for training, {} held out; {} languages, {} letters; {} parameters\n", train.letters.size(),
      test.letters.size(), train.lists.classes.size(), symbols.size(), model.num_parameters());
  const bool done = loop.run([&](long step) {
    const auto& rows = batches.at(step);
    return TrainingLoop::Step{cross_entropy(model(padded(train.letters, rows)), train.labels(rows)),
                              static_cast<double>(rows.size()),
                              {}};
  });
  if (!done) return TrainingLoop::interrupted_status;
  loop.finish(about);

  const auto guessed = guesses(model, test);
  for (size_t k = 0; k < std::min<size_t>(10, guessed.size()); ++k) {
    const size_t row = k * guessed.size() / std::min<size_t>(10, guessed.size());
    const auto& classes = test.lists.classes;
    say("  {:<20} {:<12} (is {})\n", test.lists.names[row], classes[static_cast<size_t>(guessed[row])],
        classes[static_cast<size_t>(test.lists.labels[row])]);
  }
  write_svg(s.common.out + "/confusion.svg",
            heat_map(confusion("Which language is taken for which", test.lists.classes, guessed,
                               test.lists.labels)));
  say("picture {}/confusion.svg\n", s.common.out);
  print_result({{"accuracy", accuracy(guessed, test.lists.labels)},
                {"train_accuracy", accuracy(guesses(model, train), train.lists.labels)},
                {"names_per_s", loop.speed()},
                {"epoch_s", loop.pass_seconds()},
                {"epoch_cpu_s", loop.pass_cpu_seconds()}});
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  return run_program<Settings>(
      argc, argv, "names",
      "Learns to tell the language of a surname. --data FOLDER: LANGUAGE.txt, a name a line.", run,
      [](Settings& s, const Flags& flags) {
        if (!s.common.data.empty()) {  // a large list takes fewer passes and more units
          if (!flags.given("--epochs")) s.common.epochs = 12;
          if (!flags.given("--hidden")) s.common.hidden = 128;
          if (!flags.given("--batch")) s.common.batch = 64;
        }
      });
}
