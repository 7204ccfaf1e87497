// What the command line of char_lm says.
#pragma once

#include "examples/common/flags.h"

namespace reel::examples {

struct Settings {
  CommonFlags common{.steps = 8000, .batch = 16, .hidden = 192, .layers = 1, .lr = 4e-3, .log_every = 100};
  std::string model = "lstm", optimizer = "adam", loss = "mean";
  long seq = 128, biases = 1;
  double clip_value = 0, clip_norm = 5, init = 0, dropout = 0;
  double valid = 0.1, temperature = 0.7;
  long sample_every = 2000, sample = 300, generate = 0;
  std::string prompt = "";

  void declare(Flags& flags) {
    add_common(flags, common);
    flags.choice("--model", model, "recurrent layers", {"rnn", "gru", "lstm"});
    flags.whole("--seq", seq, "characters a chunk, the steps that gradients flow back through", 1, 100000);
    flags.whole("--biases", biases, "bias vectors a gate: 1 as the lectures write it, 2 as PyTorch has it", 1,
                2);
    flags.choice("--optimizer", optimizer, "update rule", {"sgd", "adagrad", "rmsprop", "adam", "adamw"});
    flags.number("--clip-value", clip_value, "bound on each element of the gradient; 0: none", 0, 1e9);
    flags.number("--clip-norm", clip_norm,
                 "bound on the gradient's norm; 0: none. Default 0 with --clip-value", 0, 1e9);
    flags.choice("--loss", loss, "over the characters of a chunk", {"mean", "sum"});
    flags.number("--init", init, "initial weights N(0, INIT) and zero biases; 0: PyTorch's", 0, 100);
    flags.number("--dropout", dropout, "between layers", 0, 0.95);
    flags.number("--valid", valid, "part of the text, at its end, kept for validation", 0, 0.9);
    flags.number("--temperature", temperature, "of sampling; 0 takes the likeliest", 0, 100);
    flags.whole("--sample-every", sample_every, "steps between samples; 0: only at the end", 0, 1000000000);
    flags.whole("--sample", sample, "characters a sample", 1, 10000000);
    flags.whole("--generate", generate, "only write so many characters, from --load's model", 1, 10000000);
    flags.text("--prompt", prompt, "what a sample begins with");
  }
};

}  // namespace reel::examples
