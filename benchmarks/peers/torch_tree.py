"""W5 in PyTorch: a binary Tree-LSTM, new random trees at each step (benchmarks/tree_workload.cpp)."""
import random
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch_step import stepper

HIDDEN, TREES, LEAST, MOST, WORDS, CLASSES = 150, 25, 10, 40, 5000, 5


@dataclass
class Forest:
    """Nodes in post-order, the trees one after another."""

    children: list = field(default_factory=list)  # of each node, (left, right) or None
    words: list = field(default_factory=list)  # of the leaves, in that order
    roots: list = field(default_factory=list)
    labels: list = field(default_factory=list)


class Model(nn.Module):
    """i, o, u and a forget gate for each child from [h_left, h_right]; leaves have an input, inner nodes none."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, HIDDEN)
        self.leaf = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False)  # i, o, u
        self.inner = nn.Linear(2 * HIDDEN, 5 * HIDDEN, bias=False)  # i, o, u, f_left, f_right
        self.bias = nn.Parameter(torch.empty(4 * HIDDEN).uniform_(-0.08, 0.08))  # i, o, u, f
        self.output = nn.Linear(HIDDEN, CLASSES)

    def biases(self):
        """Of leaves, and of inner nodes, whose forget gates share one."""
        return self.bias[: 3 * HIDDEN], torch.cat([self.bias, self.bias[3 * HIDDEN :]])

    def loss(self, roots, forest):
        return F.cross_entropy(self.output(roots), torch.tensor(forest.labels))


def leaf_cell(weight, bias, x):
    i, o, u = F.linear(x, weight, bias).chunk(3, 1)
    c = torch.sigmoid(i) * torch.tanh(u)
    return torch.sigmoid(o) * torch.tanh(c), c


def inner_cell(weight, bias, h, c_left, c_right):
    i, o, u, left, right = torch.addmm(bias, h, weight.t()).chunk(5, 1)
    c = torch.sigmoid(i) * torch.tanh(u) + torch.sigmoid(left) * c_left + torch.sigmoid(right) * c_right
    return torch.sigmoid(o) * torch.tanh(c), c


def composed(model, forest):
    """Node by node, as one writes it; only the words are looked up at once, or every look-up has a dense gradient."""
    rows = iter(model.words(torch.tensor(forest.words)).split(1))
    (leaf_bias, inner_bias), states = model.biases(), []
    for children in forest.children:
        if children is None:
            states.append(leaf_cell(model.leaf.weight, leaf_bias, next(rows)))
        else:
            (h, c), (h_right, c_right) = (states[n] for n in children)
            states.append(inner_cell(model.inner.weight, inner_bias, torch.cat([h, h_right], 1), c, c_right))
    return model.loss(torch.cat([states[n][0] for n in forest.roots]), forest)


def batched(model, forest, inner=inner_cell):
    """All nodes of a depth at once, the deepest first. The children of a depth's inner nodes, in order, are all the
    nodes of the next one, so a pair of rows there is the input of a node here."""
    depths = [forest.roots]
    while below := [child for n in depths[-1] if forest.children[n] for child in forest.children[n]]:
        depths.append(below)
    leaf_row = {n: row for row, n in enumerate(n for n, c in enumerate(forest.children) if c is None)}
    (leaf_bias, inner_bias), states = model.biases(), None
    rows = model.words(torch.tensor(forest.words))
    leaves = torch.cat(leaf_cell(model.leaf.weight, leaf_bias, rows), 1)  # [leaves, h and c]
    for nodes in reversed(depths):
        leaf_rows = [leaf_row[n] for n in nodes if n in leaf_row]
        here = leaves[torch.tensor(leaf_rows, dtype=torch.long)]
        if states is not None:
            pairs = states.view(-1, 2, 2, HIDDEN)  # node, child, h or c
            h, c = inner(model.inner.weight, inner_bias, pairs[:, :, 0].flatten(1), pairs[:, 0, 1], pairs[:, 1, 1])
            here = torch.cat([torch.cat([h, c], 1), here])
            # Inner nodes first, then leaves: put them in the depth's order.
            inner_at, leaf_at = iter(range(len(h))), iter(range(len(h), len(here)))
            here = here[torch.tensor([next(leaf_at if n in leaf_row else inner_at) for n in nodes])]
        states = here
    return model.loss(states[:, :HIDDEN], forest)


def grow(draw, leaves, forest):
    """Appends a tree with that many leaves, split at random; returns its root."""
    children = None
    if leaves > 1:
        left = draw.randint(1, leaves - 1)
        children = grow(draw, left, forest), grow(draw, leaves - left, forest)
    else:
        forest.words.append(draw.randrange(WORDS))
    forest.children.append(children)
    return len(forest.children) - 1


def forest_of(k):
    draw, forest = random.Random(5000 + k), Forest()
    for _ in range(TREES):
        forest.roots.append(grow(draw, draw.randint(LEAST, MOST), forest))
        forest.labels.append(draw.randrange(CLASSES))
    return forest


def compiled():
    """The cell of inner nodes compiled once for any number of rows: the whole step would compile every forest."""
    return make(partial(batched, inner=torch.compile(inner_cell, dynamic=True)))


make = partial(stepper, Model, batch=forest_of, size=lambda f: len(f.words) * 2 / (TREES * (LEAST + MOST)))
WORKLOADS = {"W5": {"composed": partial(make, composed), "batched": partial(make, batched), "compile": compiled}}
