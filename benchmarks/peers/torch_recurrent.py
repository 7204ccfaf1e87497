"""W1 to W4 and W9 in PyTorch: a character RNN, LSTMs up to PTB's, random lengths (benchmarks/lstm_problem.h)."""
import random
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch_step import generator, stepper


@dataclass
class Sizes:
    layers: int = 1
    hidden: int = 128
    batch: int = 16
    steps: int = 50
    vocabulary: int = 65
    embedding: int = 0  # 0: one-hot rows
    shortest: int = 0  # > 0: lengths differ, from this to `steps`
    kind: type = nn.LSTM


class Batch(NamedTuple):
    ids: torch.Tensor  # [steps, batch]
    targets: torch.Tensor  # [steps * batch]
    one_hot: torch.Tensor | None  # [steps, batch, vocabulary]: made before the clock starts


class Model(nn.Module):
    """Holds the weights, and is what `module` runs. bias_hh is zero, as if there were one bias. The other modes read
    `layers`: the compiler does not go through an nn.LSTM, not even to its weights."""

    def __init__(self, s):
        super().__init__()
        self.embedding = nn.Embedding(s.vocabulary, s.embedding) if s.embedding else None
        self.rnn = s.kind(s.embedding or s.vocabulary, s.hidden, s.layers)
        self.output = nn.Linear(s.hidden, s.vocabulary)
        self.layers = []
        for l in range(s.layers):
            nn.init.zeros_(getattr(self.rnn, f"bias_hh_l{l}"))
            self.layers.append([getattr(self.rnn, f"{name}_l{l}") for name in ("weight_ih", "weight_hh", "bias_ih")])

    def input(self, b):
        return b.one_hot.to(self.output.weight.dtype) if self.embedding is None else self.embedding(b.ids)

    def loss(self, hidden, b):
        return F.cross_entropy(self.output(hidden).flatten(0, 1), b.targets)


def module(model, b):
    return model.loss(model.rnn(model.input(b))[0], b)


def lstm_cell(from_x, state, weight_hh):
    h, c = state
    i, f, g, o = torch.addmm(from_x, h, weight_hh.t()).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, (h, c)


def rnn_cell(from_x, h, weight_hh):
    h = torch.tanh(torch.addmm(from_x, h, weight_hh.t()))
    return h, h


def cell_of(model, batch):
    weight_hh = model.layers[0][1]
    zero = weight_hh.new_zeros(batch, weight_hh.shape[1])
    return (rnn_cell, zero) if len(weight_hh) == weight_hh.shape[1] else (lstm_cell, (zero, zero))


def composed(model, b):
    """Cells of ops, layer by layer, each step with a product for its input."""
    cell, initial = cell_of(model, b.ids.shape[1])
    rows = model.input(b).unbind(0)
    for weight_ih, weight_hh, bias in model.layers:
        state, shown = initial, []
        for x in rows:
            h, state = cell(F.linear(x, weight_ih, bias), state, weight_hh)
            shown.append(h)
        rows = shown
    return model.loss(torch.stack(rows), b)


def hoisted(model, b):
    """The same, with one product for the inputs of all steps of a layer, and a look-up for one-hot rows."""
    cell, initial = cell_of(model, b.ids.shape[1])
    x = None if model.embedding is None else model.embedding(b.ids)
    for weight_ih, weight_hh, bias in model.layers:
        state, shown = initial, []
        projected = F.embedding(b.ids, weight_ih.t()) + bias if x is None else F.linear(x, weight_ih, bias)
        for from_x in projected.unbind(0):
            h, state = cell(from_x, state, weight_hh)
            shown.append(h)
        x = torch.stack(shown)
    return model.loss(x, b)


def batch_of(s, k):
    steps = random.Random(k).randint(s.shortest, s.steps) if s.shortest else s.steps
    ids = torch.randint(s.vocabulary, (2, steps, s.batch), generator=generator(k))
    return Batch(ids[0], ids[1].flatten(), None if s.embedding else F.one_hot(ids[0], s.vocabulary).float())


def modes(s, compiled, bf16):
    make = partial(stepper, partial(Model, s), batch=partial(batch_of, s))
    if s.shortest:
        make = partial(make, size=lambda b: len(b.ids) * 2 / (s.shortest + s.steps))
    all_modes = {form.__name__: partial(make, form) for form in (module, composed, hoisted)}
    if compiled is not None:
        all_modes["compile"] = partial(make, hoisted, compiled=compiled)
    if bf16:
        all_modes["module-bf16"] = partial(make, module, dtype="bf16")
        all_modes["autocast-bf16"] = partial(make, module, dtype="bf16", autocast=True)
        all_modes["hoisted-bf16"] = partial(make, hoisted, dtype="bf16")
        all_modes["compile-bf16"] = partial(make, hoisted, dtype="bf16", compiled=compiled)
    return all_modes


WORKLOADS = {
    # Where calls cost more than products, the wrapper in C++ pays.
    "W1": modes(Sizes(hidden=100, batch=1, steps=25, kind=nn.RNN), {"options": {"cpp_wrapper": True}}, False),
    "W2": modes(Sizes(), {}, False),
    "W3": modes(Sizes(layers=3, hidden=512, batch=32, steps=64), {}, True),
    "W4": modes(Sizes(layers=2, hidden=650, batch=20, steps=35, vocabulary=10000, embedding=650), {}, True),
    # No compiler: it compiles every length anew.
    "W9": modes(Sizes(steps=80, shortest=20), None, False),
}
