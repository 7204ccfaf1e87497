"""W6 and W7 in PyTorch: a Transformer encoder and attention seq2seq (benchmarks/*_workload.cpp)."""
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch_step import generator, stepper

# W6
LAYERS, WIDTH, HEADS, INNER, ROWS, LENGTH = 2, 256, 4, 1024, 16, 64
# W7
HIDDEN, WORDS, BATCH, SOURCE, TARGET = 256, 8000, 32, 20, 20


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0, batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )


def mean_square(run_layer, model, x):
    x = x.to(model.layers[0].linear1.weight.dtype)
    for layer in model.layers:
        x = run_layer(layer, x)
    return x.float().square().mean()


def call(layer, x):
    return layer(x)


def composed_layer(layer, x):
    a = layer.self_attn
    qkv = F.linear(layer.norm1(x), a.in_proj_weight, a.in_proj_bias)
    q, k, v = qkv.view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(q, k, v)
    x = x + a.out_proj(heads.transpose(1, 2).flatten(2))
    return x + layer.linear2(F.relu(layer.linear1(layer.norm2(x))))


def sequences(k):
    return torch.randn(ROWS, LENGTH, WIDTH, generator=generator(6000 + k % 4))


class Pairs(NamedTuple):
    source: torch.Tensor  # [source, batch]
    target_in: torch.Tensor  # [target, batch]: what the decoder reads
    target: torch.Tensor  # what it should say


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.source = nn.Embedding(WORDS, HIDDEN)
        self.target = nn.Embedding(WORDS, HIDDEN)
        self.encoder = nn.GRU(HIDDEN, HIDDEN)
        self.encoder_weights = list(self.encoder.parameters())  # the compiler does not go through an nn.GRU
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.key = nn.Linear(HIDDEN, HIDDEN)
        self.score = nn.Parameter(torch.empty(HIDDEN).uniform_(-1 / 16, 1 / 16))
        self.decoder = nn.GRUCell(2 * HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, WORDS)

    def attend(self, h, keys, projected):
        """Additive attention: keys [batch, source, hidden] -> context [batch, hidden]."""
        scores = torch.tanh(projected + self.query(h).unsqueeze(1)) @ self.score
        return torch.bmm(torch.softmax(scores, -1).unsqueeze(1), keys).squeeze(1)

    def loss(self, decoder, states, p):
        """`decoder(words, attend, h)`: the states from all target words."""
        keys = states.transpose(0, 1).contiguous()
        attend = partial(self.attend, keys=keys, projected=self.key(keys))
        shown = torch.stack(decoder(self, self.target(p.target_in), attend, states[-1]))
        return F.cross_entropy(self.output(shown).flatten(0, 1), p.target.flatten())


def module_decoder(model, words, attend, h):
    shown = []
    for x in words.unbind(0):
        h = model.decoder(torch.cat([x, attend(h)], 1), h)
        shown.append(h)
    return shown


def module(model, p):
    return model.loss(module_decoder, model.encoder(model.source(p.source))[0], p)


def gru_cell(from_x, h, weight_hh, bias_hh):
    xr, xz, xn = from_x.chunk(3, 1)
    hr, hz, hn = torch.addmm(bias_hh, h, weight_hh.t()).chunk(3, 1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    return n + z * (h - n)


def composed_decoder(model, words, attend, h):
    d, shown = model.decoder, []
    for x in words.unbind(0):
        h = gru_cell(F.linear(torch.cat([x, attend(h)], 1), d.weight_ih, d.bias_ih), h, d.weight_hh, d.bias_hh)
        shown.append(h)
    return shown


def hoisted_decoder(model, words, attend, h):
    """What the words contribute, for all steps at once; the contexts' half is left for each."""
    d, shown = model.decoder, []
    of_word, of_context = d.weight_ih.split(HIDDEN, 1)
    for from_x in F.linear(words, of_word, d.bias_ih).unbind(0):
        h = gru_cell(torch.addmm(from_x, attend(h), of_context.t()), h, d.weight_hh, d.bias_hh)
        shown.append(h)
    return shown


def encode(model, p, hoist):
    weight_ih, weight_hh, bias_ih, bias_hh = model.encoder_weights
    x = model.source(p.source)
    h, shown = x.new_zeros(p.source.shape[1], HIDDEN), []
    inputs = F.linear(x, weight_ih, bias_ih) if hoist else x
    for row in inputs.unbind(0):
        from_x = row if hoist else F.linear(row, weight_ih, bias_ih)
        h = gru_cell(from_x, h, weight_hh, bias_hh)
        shown.append(h)
    return torch.stack(shown)


def composed(model, p):
    return model.loss(composed_decoder, encode(model, p, hoist=False), p)


def hoisted(model, p):
    return model.loss(hoisted_decoder, encode(model, p, hoist=True), p)


def pairs(k):
    draw = generator(7000 + k)
    source, target_in = (torch.randint(WORDS, (steps, BATCH), generator=draw) for steps in (SOURCE, TARGET))
    end = torch.zeros(1, BATCH, dtype=torch.long)
    return Pairs(source, target_in, torch.cat([target_in[1:], end]))


def modes(make, eager, best):
    """`best`: the form that is compiled."""
    all_modes = {name: partial(make, form) for name, form in eager.items()}
    all_modes["compile"] = partial(make, best, compiled={})
    for name, form in eager.items():
        all_modes[f"{name}-bf16"] = partial(make, form, dtype="bf16")
        all_modes[f"autocast-{name}-bf16"] = partial(make, form, dtype="bf16", autocast=True)
    all_modes["compile-bf16"] = partial(make, best, dtype="bf16", compiled={})
    return all_modes


module_layers, composed_layers = partial(mean_square, call), partial(mean_square, composed_layer)
WORKLOADS = {
    "W6": modes(partial(stepper, Transformer, batch=sequences),
                {"module": module_layers, "composed": composed_layers}, composed_layers),
    "W7": modes(partial(stepper, Seq2Seq, batch=pairs),
                {"module": module, "composed": composed, "hoisted": hoisted}, hoisted),
}
