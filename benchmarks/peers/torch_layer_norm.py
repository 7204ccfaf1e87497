"""W8 in PyTorch: a stack of layer-norm LSTMs with peepholes (benchmarks/layer_norm_workload.cpp)."""
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch_step import generator, stepper

LAYERS, HIDDEN, BATCH, STEPS, WORDS = 2, 256, 32, 60, 65


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        bound = HIDDEN**-0.5
        for name, shape in {"weight_ih": (4 * HIDDEN, HIDDEN), "weight_hh": (4 * HIDDEN, HIDDEN),
                            "bias": (4 * HIDDEN,), "peephole": (3, HIDDEN)}.items():
            setattr(self, name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
        self.gain_ih, self.gain_hh = nn.Parameter(torch.ones(4 * HIDDEN)), nn.Parameter(torch.ones(4 * HIDDEN))
        self.gain_c, self.bias_c = nn.Parameter(torch.ones(HIDDEN)), nn.Parameter(torch.zeros(HIDDEN))

    def from_input(self, x):
        return F.layer_norm(F.linear(x, self.weight_ih), (4 * HIDDEN,), self.gain_ih, self.bias)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output = nn.Linear(HIDDEN, WORDS)


def cell(from_x, h, c, weight_hh, gain_hh, peephole, gain_c, bias_c):
    """i and f see c before, o sees c after; h = o tanh(LN(c))."""
    i, f, g, o = (from_x + F.layer_norm(F.linear(h, weight_hh), (4 * HIDDEN,), gain_hh)).chunk(4, 1)
    p_i, p_f, p_o = peephole.unbind(0)
    c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    h = torch.sigmoid(o + p_o * c) * torch.tanh(F.layer_norm(c, (HIDDEN,), gain_c, bias_c))
    return h, c


def loss(model, batch, hoist, cell=cell):
    ids, targets = batch
    x = model.words(ids)
    for layer in model.layers:
        h = c = x.new_zeros(BATCH, HIDDEN)
        shown = []
        for row in (layer.from_input(x) if hoist else x).unbind(0):
            from_x = row if hoist else layer.from_input(row)
            h, c = cell(from_x, h, c, layer.weight_hh, layer.gain_hh, layer.peephole, layer.gain_c, layer.bias_c)
            shown.append(h)
        x = torch.stack(shown)
    return F.cross_entropy(model.output(x).flatten(0, 1), targets.flatten())


def text(k):
    ids = torch.randint(WORDS, (STEPS + 1, BATCH), generator=generator(8000 + k))
    return ids[:-1], ids[1:]


def compiled_cell():
    """The cell alone, in an eager loop: seconds to compile instead of minutes."""
    return make(partial(loss, hoist=True, cell=torch.compile(cell)))


make = partial(stepper, Model, batch=text)
composed, hoisted = partial(loss, hoist=False), partial(loss, hoist=True)
WORKLOADS = {
    "W8": {
        "composed": partial(make, composed),
        "hoisted": partial(make, hoisted),
        "compile": partial(make, hoisted, compiled={}),
        "compile-cell": compiled_cell,
    }
}
