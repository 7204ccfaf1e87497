#include "examples/word_lm/model.h"

#include <cmath>

#include "examples/data/batches.h"

namespace reel::examples {

namespace {

int64_t draw(const Tensor& logits, std::mt19937_64& random) {
  const std::vector<double> p = softmax(logits, -1).to_vector<double>();
  return std::discrete_distribution<int64_t>(p.begin(), p.end())(random);
}

Tensor one_id(int64_t id) { return Tensor::from(std::vector<int64_t>{id}, {1, 1}); }

}  // namespace

Ending ending_named(const std::string& name) {
  if (name == "eos") return Ending::eos;
  if (name == "bernoulli") return Ending::bernoulli;
  if (name == "length") return Ending::length;
  fail("an ending \"{}\": want eos, bernoulli or length", name);
}

LanguageModel::LanguageModel(const Symbols& vocabulary, Ending ends, const Sizes& sizes)
    : known(vocabulary),
      ending(ends),
      longest(sizes.longest),
      words({this, "words"}, end() + 1, sizes.hidden),
      drop({this, "drop"}, sizes.dropout),
      lstm({this, "lstm"}, sizes.hidden, sizes.hidden,
           {.num_layers = sizes.layers, .dropout = sizes.dropout}),
      output({this, "output"}, sizes.hidden, ends == Ending::eos ? end() + 1 : end()) {
  if (known.size() < 2) fail("a language model of no words: want one beside <unk>");
  if (ending == Ending::bernoulli) {
    stop = std::make_unique<nn::Linear>(nn::Member{this, "stop"}, sizes.hidden, 1);
  }
  if (ending == Ending::length) {
    left = std::make_unique<nn::Embedding>(nn::Member{this, "left"}, longest + 1, sizes.hidden);
    // N(0, 1), as the words' vectors have it, would drown the words that they are added to.
    nn::init::fill(left->weight, nn::init::constant(0));
    lengths = buffer("lengths", full({longest + 1}, -std::log(static_cast<double>(longest + 1))));
  }
}

void LanguageModel::count_lengths(const std::vector<Sentence>& text) {
  if (!left) return;
  std::vector<double> p(static_cast<size_t>(longest) + 1, 1);
  for (const Sentence& sentence : text) ++p.at(sentence.size());
  for (double& x : p) x = std::log(x / static_cast<double>(text.size() + p.size()));
  lengths.assign(to(Tensor::from(p, {longest + 1}), lengths.dtype()));
}

Tensor LanguageModel::nats(const std::vector<Sentence>& text, const std::vector<size_t>& rows) const {
  constexpr int64_t nowhere = -1;
  std::vector<std::vector<int64_t>> in, out, over, steps, to_come;
  std::vector<int64_t> count;
  std::vector<size_t> all;
  for (const size_t row : rows) {
    all.push_back(all.size());
    in.push_back(known.ids(text[row]));
    out.push_back(in.back());
    in.back().insert(in.back().begin(), end());
    out.back().push_back(ending == Ending::eos ? end() : nowhere);
    count.push_back(static_cast<int64_t>(text[row].size()));
    steps.emplace_back(in.back().size(), 1);
    over.emplace_back(in.back().size(), 0);
    over.back().back() = 1;
    to_come.emplace_back();
    for (int64_t n = count.back(); n >= 0; --n) to_come.back().push_back(n);
  }
  const Padded read = padded(in, all);
  Tensor x = words(read.x);
  if (left) x = x + (*left)(padded(to_come, all).x);
  const Tensor h = drop(lstm(drop(x), {}, {.lengths = read.lengths}).output);
  Tensor nats = cross_entropy(output(h), padded(out, all, nowhere).x,
                              {.ignore_index = nowhere, .reduction = Reduction::sum});
  if (stop) {
    const Tensor logits = select((*stop)(h), 2, 0);
    const Tensor each =
        bce_with_logits(logits, to(padded(over, all).x, logits.dtype()), {.reduction = Reduction::none});
    nats = nats + sum(each * to(padded(steps, all).x, each.dtype()));
  }
  if (left) {
    nats = nats - sum(gather(lengths, 0, Tensor::from(count, {static_cast<int64_t>(count.size())})));
  }
  return nats;
}

double LanguageModel::log_probability(const Sentence& sentence) const {
  if (left && static_cast<int64_t>(sentence.size()) > longest) return -INFINITY;
  return -nats({sentence}, {0}).item();
}

Sentence LanguageModel::sample(std::mt19937_64& random, size_t most) const {
  Sentence sentence;
  const size_t drawn = left ? static_cast<size_t>(draw(lengths, random)) : most;
  std::vector<nn::LSTMState> state;
  for (int64_t id = end(); sentence.size() < std::min(drawn, most);) {
    Tensor x = words(one_id(id));
    if (left) x = x + (*left)(one_id(static_cast<int64_t>(drawn - sentence.size())));
    auto [h, next] = lstm(x, std::move(state));
    state = std::move(next);
    if (stop && std::bernoulli_distribution(sigmoid((*stop)(h)).item())(random)) break;
    // To draw again on <unk>, row 0, until it is another word is to draw from the others.
    id = 1 + draw(slice(output(h), 2, 1, output.weight.size(0)), random);
    if (id == end()) break;
    sentence.push_back(known.name(id));
  }
  return sentence;
}

}  // namespace reel::examples
