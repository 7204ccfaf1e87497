"""The twin of `sentiment --data FOLDER --vectors FILE`. --task words: bidirectional LSTM -> mean over the words -> good
or bad. --task trees: a binary Tree-LSTM, and one of five classes at every node.

The trees of a batch are computed depth by depth, all nodes of a depth at once: node by node PyTorch takes many times
as long.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F
from twin import (BiLSTM, Symbols, accuracy, bracketed, flags, in_order, judging, lines, lower, padded, read_vectors,
                  result, start, train, word_embedding)

NEUTRAL = 2


# --- by words


class WordReader(nn.Module):
    def __init__(self, words, vectors, hidden, dropout):
        super().__init__()
        self.words = word_embedding(words, vectors)
        self.drop = nn.Dropout(dropout)
        self.lstm = BiLSTM(self.words.embedding_dim, hidden)
        self.output = nn.Linear(2 * hidden, 2)

    def forward(self, texts):
        x, lengths = padded(texts)
        h = self.lstm(self.drop(self.words(x)), lengths)[0]
        return self.output(self.drop(h.sum(0) / lengths[:, None]))


def two_class(trees, vocabulary, phrases):
    """Ids of words, and whether they are good, of the sentences that are not neutral; with `phrases` of all parts."""
    texts, labels = [], []
    for tree in trees:
        leaves = vocabulary.ids(lower(word) for _, word, _ in tree if word)
        spans, seen = [], 0  # of each node: its first leaf, and the one after its last
        for label, word, children in tree:
            seen += word is not None
            spans.append((spans[children[0]][0] if children else seen - 1, seen))
            if label != NEUTRAL and (phrases or len(spans) == len(tree)):
                texts.append(leaves[slice(*spans[-1])])
                labels.append(int(label > NEUTRAL))
    return texts, torch.tensor(labels)


def by_words(args, sets, vocabulary, vectors):
    (x, y), (dev_x, dev_y), (test_x, test_y) = (two_class(trees, vocabulary, k == 0) for k, trees in enumerate(sets))
    model = WordReader(vocabulary, vectors, args.hidden or 100, args.dropout)

    def right(texts, labels):
        said = [model([texts[k] for k in rows]).argmax(1) for rows in in_order(len(texts), 100)]
        return accuracy(torch.cat(said), labels)

    epoch = train(model, args, len(x), lambda rows: F.cross_entropy(model([x[k] for k in rows]), y[rows]),
                  judge=lambda: right(dev_x, dev_y))
    result(accuracy=judging(model, lambda: right(test_x, test_y)), **epoch)


# --- by trees


class Forest:
    """Trees by depth. A depth's nodes are in the order of their parents; `place` puts its inner nodes, followed by its
    leaves, in that order."""

    def __init__(self, trees, ids):
        self.words, self.labels, self.place = [], [], []
        depth = [(tree, len(tree) - 1, k) for k, tree in enumerate(trees)]
        while depth:
            inner = [k for k, (tree, n, _) in enumerate(depth) if tree[n][2]]
            leaves = [k for k, (tree, n, _) in enumerate(depth) if not tree[n][2]]
            self.place.append(torch.tensor(inner + leaves).argsort())
            self.labels.append(torch.tensor([tree[n][0] for tree, n, _ in depth]))
            self.words.append(torch.tensor([ids[t][n] for k in leaves for _, n, t in [depth[k]]], dtype=torch.long))
            depth = [(tree, child, t) for k in inner for tree, n, t in [depth[k]] for child in tree[n][2]]


class TreeReader(nn.Module):
    """i, o, u = sigmoid, sigmoid, tanh(W x + b) of leaves, (U [h_l, h_r] + b) of inner nodes, which have a forget gate
    for each child and no x; c = i u + f_l c_l + f_r c_r, h = o tanh(c)."""

    def __init__(self, words, vectors, hidden, dropout):
        super().__init__()
        bound = 1 / math.sqrt(hidden)
        self.words = word_embedding(words, vectors)
        self.drop = nn.Dropout(dropout)
        self.cell = nn.ParameterDict({
            "weight_ih": torch.empty(3 * hidden, self.words.embedding_dim).uniform_(-bound, bound),
            "weight_hh": torch.empty(5 * hidden, 2 * hidden).uniform_(-bound, bound),
            "bias": torch.empty(4 * hidden).uniform_(-bound, bound)})
        self.output = nn.Linear(hidden, 5)

    def forward(self, forest):  # [nodes, 5], the deepest first
        hidden, cell = self.output.in_features, self.cell
        sizes = [len(words) for words in reversed(forest.words)]
        x = self.drop(self.words(torch.cat(forest.words[::-1])))
        i, o, u = F.linear(x, cell["weight_ih"], cell["bias"][: 3 * hidden]).chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        leaves = torch.stack([torch.sigmoid(o) * torch.tanh(c), c], 1).split(sizes)  # [leaves, h or c, hidden]
        bias = torch.cat([cell["bias"], cell["bias"][3 * hidden :]])
        below, all_h = None, []
        for here, place in zip(leaves, reversed(forest.place)):
            if below is not None:
                h, c = below.view(-1, 2, 2, hidden).unbind(2)  # of node and child
                i, o, u, f = F.linear(h.flatten(1), cell["weight_hh"], bias).split([hidden] * 3 + [2 * hidden], 1)
                c = torch.sigmoid(i) * torch.tanh(u) + (torch.sigmoid(f).view_as(c) * c).sum(1)
                inner = torch.stack([torch.sigmoid(o) * torch.tanh(c), c], 1)
                here = torch.cat([inner, here])[place]
            below = here
            all_h.append(here[:, 0])
        return self.output(self.drop(torch.cat(all_h)))


def by_trees(args, sets, vocabulary, vectors):
    model = TreeReader(vocabulary, vectors, args.hidden or 150, args.dropout)
    ids = [[vocabulary.ids(lower(word or "") for _, word, _ in tree).tolist() for tree in trees] for trees in sets]

    def forest(which, rows):
        return Forest([sets[which][k] for k in rows], [ids[which][k] for k in rows])

    def loss_of(rows):
        trees = forest(0, rows)
        return F.cross_entropy(model(trees), torch.cat(trees.labels[::-1]))

    def right(which):
        batches = in_order(len(sets[which]), 50)
        said = torch.cat([model(forest(which, rows))[-len(rows) :].argmax(1) for rows in batches])  # of the roots
        return accuracy(said, torch.tensor([tree[-1][0] for tree in sets[which]]))

    epoch = train(model, args, len(sets[0]), loss_of, clip=5, judge=lambda: right(1))
    result(accuracy_trees=judging(model, lambda: right(2)), **{f"{key}_trees": value for key, value in epoch.items()})


def main():
    parser = flags(__doc__, vectors=True, task=("words", "trees"), epochs=0, batch=25, hidden=0, lr=2e-3, dropout=0.5)
    args = parser.parse_args()
    args.epochs = args.epochs or {"words": 4, "trees": 5}[args.task]
    start(args)
    sets = [[bracketed(line) for line in lines(f"{args.data}/{part}.txt") if line.strip()]
            for part in ("train", "dev", "test")]
    vocabulary = Symbols([lower(word) for _, word, _ in tree if word] for tree in sets[0])
    vectors = read_vectors(args.vectors) if args.vectors else {}
    {"words": by_words, "trees": by_trees}[args.task](args, sets, vocabulary, vectors)


if __name__ == "__main__":
    main()
