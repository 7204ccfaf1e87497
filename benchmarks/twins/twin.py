"""What the twins share: flags, readers of text, sequences made one tensor, the loop around a step, the result line.

A twin trains in PyTorch what a program of examples/ trains: the same model (both sides start with PyTorch's initial
values), data, split, preprocessing, optimiser, rate, batch, clipping, dropout and budget. Only the random numbers are
others. Where PyTorch has several ways the twin takes a fast one: two LSTMs of one direction over padded sequences,
which run in oneDNN, where packed sequences do not; the fused Adam; and what can be made a tensor before training is.
"""
import argparse
import copy
import pathlib
import re
import string
import time

import numpy as np
import torch
from batch_order import order as order_of_example
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

UNKNOWN = 0  # the id of what has none
NOWHERE = -1  # the label of what is beyond a sequence's end


def flags(description, vectors=False, task=None, **defaults):
    """Of epochs, steps, batch, hidden, lr, dropout those that have a default; --steps, where given, is the budget."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="as for the example")
    if vectors:
        parser.add_argument("--vectors", help="GloVe text file that the words' vectors start from")
    if task:
        parser.add_argument("--task", choices=task, default=task[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--begin", help="weights of the example to start from, and then in its order; says each loss")
    for name, value in {"epochs": 0, "steps": 0, **defaults}.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser


def start(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)


def result(**values):
    print("result", *(f"{k}={v if isinstance(v, int) else format(v, '.6g')}" for k, v in values.items()), flush=True)


# --- data


def lines(path):
    return pathlib.Path(path).read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")


def lower(text):
    """ASCII letters only, as the examples do."""
    return text.translate(str.maketrans(string.ascii_uppercase, string.ascii_lowercase))


class Symbols:
    """Distinct strings and their ids, in the order of their texts."""

    def __init__(self, texts, min_count=1):
        counts = {}
        for text in texts:
            for name in text:
                counts[name] = counts.get(name, 0) + 1
        self.names = ["<unk>", *sorted(n for n, count in counts.items() if count >= min_count)]
        self.known = {name: k + 1 for k, name in enumerate(self.names[1:])}

    def __len__(self):
        return len(self.names)

    def ids(self, text):
        return torch.tensor([self.known.get(name, UNKNOWN) for name in text])


def read_vectors(path):
    rows = [line.split(" ") for line in lines(path) if line]
    return {row[0]: [float(x) for x in row[1:]] for row in rows}


def word_embedding(vocabulary, vectors, width=50):
    """Words that are known with their vectors, the others with 0.1 times the sum of three U(-1, 1)."""
    width = len(next(iter(vectors.values()))) if vectors else width
    embedding = nn.Embedding(len(vocabulary), width)
    with torch.no_grad():
        embedding.weight.copy_(0.1 * (2 * torch.rand(3, len(vocabulary), width) - 1).sum(0))
        for k, name in enumerate(vocabulary.names):
            if name in vectors:
                embedding.weight[k] = torch.tensor(vectors[name])
    return embedding


def bracketed(line):
    """A tree (LABEL WORD) or (LABEL TREE TREE), as its nodes in post-order: (label, word or None, children)."""
    nodes, open_nodes = [], []
    for token in re.findall(r"[()]|[^() \t]+", line):
        if token == "(":
            open_nodes.append([])
        elif token != ")":
            open_nodes[-1].append(token)
        else:
            label, *rest = open_nodes.pop()
            word = rest[0] if isinstance(rest[0], str) else None
            nodes.append((int(label), word, [] if word else rest))
            if open_nodes:
                open_nodes[-1].append(len(nodes) - 1)
    return nodes


# --- sequences of different lengths


def padded(sequences, padding=0):
    """[time, batch, ..] filled up, and the lengths."""
    return pad_sequence(sequences, padding_value=padding), torch.tensor([len(s) for s in sequences])


class BiLSTM(nn.Module):
    """Forwards and backwards, each sequence from its own end."""

    def __init__(self, width, hidden):
        super().__init__()
        self.forwards, self.backwards = nn.LSTM(width, hidden), nn.LSTM(width, hidden)

    def forward(self, x, lengths):
        """Outputs [time, batch, 2 hidden], zero beyond the end, and the last h of both directions [batch, 2 hidden]."""
        time = torch.arange(len(x))[:, None]
        inside = time < lengths
        mirror = torch.where(inside, lengths - 1 - time, time)[:, :, None]
        there = self.forwards(x)[0]
        back = self.backwards(x.gather(0, mirror.expand_as(x)))[0]
        last = (lengths - 1).view(1, -1, 1).expand(1, -1, there.shape[2])
        h = torch.cat([there.gather(0, last)[0], back.gather(0, last)[0]], 1)
        return torch.cat([there, back.gather(0, mirror.expand_as(back))], 2) * inside[:, :, None], h


# --- training


def in_order(count, batch):
    return [list(range(k, min(k + batch, count))) for k in range(0, count, batch)]


def clocks():
    return np.array([time.perf_counter(), time.process_time()])


def begin_with(model, path):
    """Takes weights of the example, which has PyTorch's names."""
    ours = {}
    for name, value in load_file(path).items():
        module, _, parameter = name.rpartition(".")
        if f"{module}.forwards.{parameter}" in model.state_dict():
            name = f"{module}.forwards.{parameter}"
        elif parameter.endswith("_reverse"):
            name = f"{module}.backwards.{parameter.removesuffix('_reverse')}"
        ours[name] = value
    model.load_state_dict(ours)


def train(model, args, count, loss_of, clip=1.0, judge=None):
    """Passes over `count` rows, each in another random order. Adam's rate falls linearly to 0. `judge` (higher is
    better) is asked after each pass, and the best weights are taken in the end. Returns what a pass takes without
    judging, the median of the whole ones: {"epoch_s": seconds, "epoch_cpu_s": of the processor}."""
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    per_pass = -(-count // args.batch)
    total = args.steps or args.epochs * per_pass
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    best, best_weights, passes, spent = float("-inf"), None, [], np.zeros(2)
    if args.begin:
        begin_with(model, args.begin)
    print(f"{count} rows, {sum(p.numel() for p in model.parameters())} parameters, {total} steps", flush=True)
    model.train()
    for step in range(total):
        begin = clocks()
        if step % per_pass == 0 and args.begin:
            order = order_of_example(count, args.seed, step // per_pass)
        elif step % per_pass == 0:
            order = torch.randperm(count).tolist()
        at = step % per_pass * args.batch
        loss = loss_of(order[at : at + args.batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
        last = loss.item()
        spent += clocks() - begin
        if args.begin:
            print("loss", step + 1, last, flush=True)
        if (step + 1) % per_pass and step + 1 < total:
            continue
        said = f"step {step + 1}: loss {last:.4f}, {spent[0]:.2f} s"
        if (step + 1) % per_pass == 0 or not passes:
            passes.append(spent * per_pass / (step % per_pass + 1))
        spent = np.zeros(2)
        if judge:
            score = judging(model, judge)
            said += f", held out {score:.4f}"
            if score > best:
                best, best_weights = score, copy.deepcopy(model.state_dict())
        print(said, flush=True)
    if best_weights:
        model.load_state_dict(best_weights)
    return dict(zip(("epoch_s", "epoch_cpu_s"), np.median(passes, 0)))


def judging(model, judge):
    model.eval()
    with torch.no_grad():
        value = judge()
    model.train()
    return value


def accuracy(said, truth):
    return (said == truth).double().mean().item()
