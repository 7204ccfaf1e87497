#include "examples/translate/model.h"

namespace reel::examples {

Translator::Translator(const TranslatorSizes& s)
    : source_({this, "source"}, s.source_words, s.embedding, Vocab::pad),
      target_({this, "target"}, s.target_words, s.embedding, Vocab::pad),
      encoder_({this, "encoder"}, s.embedding, s.hidden,
               {.num_layers = s.layers, .bidirectional = true, .batch_first = true, .dropout = s.dropout}),
      bridge_({this, "bridge"}, s.hidden, s.hidden),
      attention_({this, "attention"}, s.hidden, 2 * s.hidden, s.hidden),
      decoder_({this, "decoder"}, s.embedding + 2 * s.hidden, s.hidden),
      readout_({this, "readout"}, s.embedding + 3 * s.hidden, s.embedding),
      dropout_({this, "dropout"}, s.dropout),
      output_({this, "output"}, s.embedding, s.target_words) {
  for (nn::Embedding* e : {&source_, &target_}) {
    nn::init::fill(e->weight, nn::init::normal(0, 1 / std::sqrt(static_cast<double>(s.embedding))));
  }
}

Translator::Encoded Translator::encode(const Batch& batch) const {
  const Tensor ids = Tensor::from(batch.source, {batch.size, batch.src_len});
  std::vector<bool> counts;
  for (int64_t length : batch.source_lengths) {
    for (long t = 0; t < batch.src_len; ++t) counts.push_back(t < length);
  }
  const auto [keys, states] = encoder_(dropout_(source_(ids)), {}, {.lengths = batch.source_lengths});
  // The backward direction has read the sentence down to its first word: it starts the decoder.
  return {attention_.remember(keys, Tensor::from(counts, {batch.size, batch.src_len})),
          tanh(bridge_(states.back()))};
}

Translator::Step Translator::step(const Tensor& word, const Tensor& state,
                                  const nn::AdditiveAttention::Memory& memory) const {
  const auto [context, weights] = attention_(state, memory);
  const Tensor next = decoder_(concat({word, context}, -1), state);
  return {next, tanh(readout_(concat({next, context, word}, -1))), weights};
}

Tensor Translator::loss(const Batch& batch) const {
  const Encoded source = encode(batch);
  const Tensor words = dropout_(target_(Tensor::from(batch.target_in, {batch.size, batch.tgt_len})));
  Tensor state = source.state;
  std::vector<Tensor> readouts;
  for (int64_t t = 0; t < batch.tgt_len; ++t) {
    const Step s = step(select(words, 1, t), state, source.memory);
    state = s.state;
    readouts.push_back(s.readout);
  }
  const Tensor logits = output_(dropout_(stack(readouts, 1)));  // [batch, target length, words]
  const Tensor truth = Tensor::from(batch.target_out, {batch.size, batch.tgt_len});
  return cross_entropy(logits, truth, {.ignore_index = Vocab::pad});
}

std::vector<Translator::Translation> Translator::greedy(const Batch& batch, int64_t most) const {
  const NoGrad no_grad;
  const Encoded source = encode(batch);
  const auto rows = static_cast<size_t>(batch.size);
  std::vector<Translation> translations(rows);
  std::vector<int64_t> words(rows, Vocab::bos);
  std::vector<bool> done(rows, false);
  Tensor state = source.state;
  for (int64_t t = 0, open = batch.size; t <= most && open > 0; ++t) {
    const Step s = step(target_(Tensor::from(words, {batch.size})), state, source.memory);
    state = s.state;
    words = argmax(output_(s.readout), -1).to_vector<int64_t>();
    const std::vector<double> weights = s.weights.to_vector<double>();
    for (size_t r = 0; r < rows; ++r) {
      if (done[r]) continue;
      const auto from = weights.begin() + static_cast<std::ptrdiff_t>(r) * batch.src_len;
      translations[r].alignment.insert(translations[r].alignment.end(), from, from + batch.source_lengths[r]);
      done[r] = words[r] == Vocab::eos || t == most;
      open -= done[r];
      if (!done[r]) translations[r].ids.push_back(words[r]);
    }
  }
  return translations;
}

}  // namespace reel::examples
