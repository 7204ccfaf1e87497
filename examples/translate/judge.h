// What a trained translator is worth: its translations of a corpus, exact matches, BLEU, and its loss.
#pragma once

#include <cstdint>
#include <vector>

#include "examples/common/say.h"
#include "examples/translate/bleu.h"
#include "examples/translate/model.h"
#include "examples/translate/task.h"

namespace reel::examples {

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
      say("  {}\n    -> {}\n    ({})\n", task_.in_words(text.source[corpus.pair[k]]),
          task_.in_words(task_.target.decode(translations[k].ids)),
          task_.in_words(text.target[corpus.pair[k]]));
    }
  }

 private:
  const Task& task_;
  Translator& model_;
};

}  // namespace reel::examples
