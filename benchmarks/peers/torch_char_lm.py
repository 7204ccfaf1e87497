"""The character model in PyTorch: the peer of `char_lm --model lstm|gru|rnn` with mean cross-entropy.

    python3 torch_char_lm.py TEXT [--model lstm] [--layers 3] [--hidden 512] [--batch 32] [--seq 64]
        [--optimizer adam|sgd] [--lr 2e-3] [--clip-norm 5] [--steps 300] [--one-bias] [--dtype f32|f64]
        [--seed 0] [--threads N] [--load W.safetensors] [--save-init W.safetensors] [--save W.safetensors]
        [--out metrics.jsonl] [--log-every 10]

Data. Vocabulary: the sorted characters of the whole text (UTF-8 decoded, newlines as they are), one-hot.
Training text: the first floor(0.9 n) characters (as n * 9 // 10); validation text: the rest. A text of m
characters becomes `batch` streams, stream b = text[b L : (b+1) L], L = floor((m - 1) / batch); the target
of a character is the one after it in the text. Step t takes characters [t seq, (t+1) seq) of every
stream; the state is carried, detached; when fewer than seq are left in a stream the next step starts at 0
with state zero.
Validation goes through its own streams the same way, once, from state zero, and drops the incomplete tail.

Training. Loss: mean cross-entropy in nats. Clipping as clip_grad_norm_: g *= min(1, clip / (norm + 1e-6)),
norm over all parameters together; 0 turns it off. Adam: betas 0.9, 0.999, eps 1e-8 outside the root.

Weights: MODEL.weight_ih_l0, .weight_hh_l0, .bias_ih_l0, .bias_hh_l0, ..._l1 ..., output.weight, output.bias,
gates in PyTorch's order, GRU reset after the product. With --one-bias the bias_hh are zero, frozen and left
out of the files. Fresh weights are PyTorch's: U(-1/sqrt(hidden), 1/sqrt(hidden)).

--out gets {"step","loss","grad_norm"} (before update and clipping) for every step (counted from 1) that
--log-every divides, and at the end {"step","val_loss"}. Standard output ends with `result loss=...
val_loss=... chars_per_s=...`, training time only.
"""
import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn


class CharLM(nn.Module):
    def __init__(self, kind, vocab, hidden, layers):
        super().__init__()
        self.kind, self.vocab = kind, vocab
        self.add_module(kind, {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](vocab, hidden, layers))
        self.output = nn.Linear(hidden, vocab)

    def forward(self, tokens, state):  # [time, batch] -> [time, batch, vocab]
        one_hot = F.one_hot(tokens, self.vocab).to(self.output.weight.dtype)
        hidden, state = self.get_submodule(self.kind)(one_hot, state)
        return self.output(hidden), state


def chunks(text, batch, seq):
    """Inputs and targets [seq, batch] of one pass over the streams."""
    length = (len(text) - 1) // batch
    if length < seq:
        raise SystemExit(f"{len(text)} characters make {batch} streams of {length}: --seq wants {seq}")
    inputs = text[: batch * length].view(batch, length).t()
    targets = text[1 : batch * length + 1].view(batch, length).t()
    for p in range(0, length - seq + 1, seq):
        yield inputs[p : p + seq], targets[p : p + seq]


def detach(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def mean_loss(model, inputs, targets, state):
    logits, state = model(inputs, state)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), detach(state)


def train(args, model, text, metrics):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = (torch.optim.Adam if args.optimizer == "adam" else torch.optim.SGD)(trained, lr=args.lr)
    step, start = 0, time.perf_counter()
    while step < args.steps:
        state = None
        for inputs, targets in chunks(text, args.batch, args.seq):
            loss, state = mean_loss(model, inputs, targets, state)
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trained, args.clip_norm or float("inf"))
            optimizer.step()
            step += 1
            if step % args.log_every == 0:
                record = {"step": step, "loss": loss.item(), "grad_norm": norm.item()}
                print(json.dumps(record), file=metrics, flush=True)
            if step == args.steps:
                break
    rate = args.steps * args.batch * args.seq / (time.perf_counter() - start)
    return loss.item(), rate


@torch.no_grad()
def validate(args, model, text):
    losses, state = [], None
    for inputs, targets in chunks(text, args.batch, args.seq):
        loss, state = mean_loss(model, inputs, targets, state)
        losses.append(loss.item())
    return sum(losses) / len(losses)


def weights_of(model, one_bias):
    return {k: v for k, v in model.state_dict().items() if not (one_bias and ".bias_hh_" in k)}


def load(model, path, one_bias):
    weights = load_file(path)
    want = {k: tuple(v.shape) for k, v in weights_of(model, one_bias).items()}
    got = {k: tuple(v.shape) for k, v in weights.items()}
    if got != want:
        raise SystemExit(f"{path} holds {got}, want {want}")
    model.load_state_dict(weights, strict=not one_bias)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", choices=("rnn", "gru", "lstm"), default="lstm")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq", type=int, default=64)
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--clip-norm", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--one-bias", action="store_true")
    parser.add_argument("--dtype", choices=("f32", "f64"), default="f32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--load", type=Path)
    parser.add_argument("--save-init", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--out", type=Path, default="/dev/null")
    parser.add_argument("--log-every", type=int, default=10)
    args = parser.parse_args()
    if min(args.steps, args.log_every, args.batch, args.seq) < 1:
        parser.error("--steps, --log-every, --batch and --seq must be at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    text = args.text.read_bytes().decode("utf-8")
    index = {c: i for i, c in enumerate(sorted(set(text)))}
    data = torch.tensor([index[c] for c in text])
    training, validation = data[: len(data) * 9 // 10], data[len(data) * 9 // 10 :]

    model = CharLM(args.model, len(index), args.hidden, args.layers)  # drawn in f32 whatever the dtype
    for name, p in model.named_parameters():
        if args.one_bias and ".bias_hh_" in name:
            p.requires_grad_(False).zero_()
    model.to(torch.float32 if args.dtype == "f32" else torch.float64)
    if args.load:
        load(model, args.load, args.one_bias)
    if args.save_init:
        save_file(weights_of(model, args.one_bias), args.save_init)

    with open(args.out, "w") as metrics:
        loss, rate = train(args, model, training, metrics)
        val_loss = validate(args, model, validation)
        print(json.dumps({"step": args.steps, "val_loss": val_loss}), file=metrics)
    if args.save:
        save_file(weights_of(model, args.one_bias), args.save)
    print(f"result loss={loss:.6f} val_loss={val_loss:.6f} chars_per_s={rate:.0f}")


if __name__ == "__main__":
    main()
