"""The minimal character RNN ("the 112-line program") in NumPy: the peer of `char_lm --model rnn --loss sum`.

    python3 min_char_rnn.py TEXT [--hidden 100] [--seq 25] [--init 0.01] [--clip-value 5]
        [--optimizer adagrad|sgd] [--lr 0.1] [--iterations 20000] [--dtype f32|f64] [--seed 0]
        [--load W.safetensors] [--save-init W.safetensors] [--save W.safetensors]
        [--out metrics.jsonl] [--log-every 100] [--one-hot]

Vocabulary: the sorted characters of the text (UTF-8 decoded, newlines as they are). Each iteration takes the
next `seq` characters, h carried over; when p + seq + 1 >= len(text), p = 0 and h = 0. Loss: cross-entropy in
nats, summed over the chunk, before the update; smooth = 0.999 smooth + 0.001 loss from -log(1/V) seq.
Gradients are clipped elementwise to +-clip-value.
    sgd:     w -= lr g
    adagrad: m += g g;  w -= lr g / sqrt(m + 1e-8)
Weights, under PyTorch's keys: rnn.weight_ih_l0 [H,V], rnn.weight_hh_l0 [H,H], rnn.bias_ih_l0 [H],
output.weight [V,H], output.bias [V]. Initial ones are init * N(0,1) drawn in f64 and rounded to f32 whatever
the dtype, so one seed starts f32 and f64 at the same numbers; biases are zero.
--out gets {"step","loss","smooth_loss"} for every step (counted from 1) that --log-every divides. By default
x_t picks a column of W_xh; --one-hot multiplies by the one-hot vector as the original does (same losses).
Standard output ends with `result loss=... smooth_loss=... iterations_per_s=...`.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

KEYS = ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "output.weight", "output.bias")


def initial_weights(vocab, hidden, scale, seed):
    rng = np.random.default_rng(seed)
    shapes = ((hidden, vocab), (hidden, hidden), (hidden,), (vocab, hidden), (vocab,))
    draws = (scale * rng.standard_normal(s) if len(s) == 2 else np.zeros(s) for s in shapes)
    return {key: draw.astype(np.float32) for key, draw in zip(KEYS, draws)}


def loss_and_gradients(weights, inputs, targets, h, one_hot):
    """Summed loss of one chunk, its gradients (same keys as weights), and the last hidden state."""
    W_xh, W_hh, b_h, W_hy, b_y = (weights[key] for key in KEYS)
    states, probabilities, loss = [h], [], 0.0
    for x, target in zip(inputs, targets):
        W_x = W_xh @ one_hot[x] if one_hot is not None else W_xh[:, x]
        h = np.tanh(W_x + W_hh @ h + b_h)
        y = W_hy @ h + b_y
        e = np.exp(y - y.max())
        p = e / e.sum()
        loss -= np.log(p[target])
        states.append(h)
        probabilities.append(p)

    gradients = {key: np.zeros_like(w) for key, w in weights.items()}
    dW_xh, dW_hh, db_h, dW_hy, db_y = (gradients[key] for key in KEYS)
    dh_next = np.zeros_like(h)
    for t in reversed(range(len(inputs))):
        dy = probabilities[t]
        dy[targets[t]] -= 1
        dW_hy += np.outer(dy, states[t + 1])
        db_y += dy
        da = (1 - states[t + 1] ** 2) * (W_hy.T @ dy + dh_next)
        if one_hot is not None:
            dW_xh += np.outer(da, one_hot[inputs[t]])
        else:
            dW_xh[:, inputs[t]] += da
        dW_hh += np.outer(da, states[t])
        db_h += da
        dh_next = W_hh.T @ da
    return loss, gradients, h


def train(args, data, weights, vocab, metrics):
    dtype = weights[KEYS[0]].dtype
    one_hot = np.eye(vocab, dtype=dtype) if args.one_hot else None
    memory = {key: np.zeros_like(w) for key, w in weights.items()}
    h, p, smooth = np.zeros(args.hidden, dtype), 0, -np.log(1 / vocab) * args.seq
    start = time.perf_counter()
    for step in range(1, args.iterations + 1):
        if p + args.seq + 1 >= len(data):
            p, h = 0, np.zeros(args.hidden, dtype)
        chunk = data[p : p + args.seq + 1]
        loss, gradients, h = loss_and_gradients(weights, chunk[:-1], chunk[1:], h, one_hot)
        smooth = 0.999 * smooth + 0.001 * float(loss)
        for key, w in weights.items():
            g = np.clip(gradients[key], -args.clip_value, args.clip_value)
            if args.optimizer == "adagrad":
                memory[key] += g * g
                g = g / np.sqrt(memory[key] + 1e-8)
            w -= args.lr * g
        p += args.seq
        if metrics and step % args.log_every == 0:
            print(json.dumps({"step": step, "loss": float(loss), "smooth_loss": float(smooth)}), file=metrics)
    rate = args.iterations / (time.perf_counter() - start)
    print(f"result loss={loss:.6f} smooth_loss={smooth:.4f} iterations_per_s={rate:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--seq", type=int, default=25)
    parser.add_argument("--init", type=float, default=0.01)
    parser.add_argument("--clip-value", type=float, default=5.0)
    parser.add_argument("--optimizer", choices=("adagrad", "sgd"), default="adagrad")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--iterations", type=int, default=20000)
    parser.add_argument("--dtype", choices=("f32", "f64"), default="f32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=Path)
    parser.add_argument("--save-init", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--one-hot", action="store_true")
    args = parser.parse_args()
    if min(args.iterations, args.log_every, args.seq, args.hidden) < 1:
        parser.error("--iterations, --log-every, --seq and --hidden must be at least 1")

    text = args.text.read_bytes().decode("utf-8")
    characters = sorted(set(text))
    index = {c: i for i, c in enumerate(characters)}
    data = [index[c] for c in text]
    if len(data) < args.seq + 2:
        parser.error(f"{args.text} has {len(data)} characters, one chunk needs {args.seq + 2}")

    fresh = initial_weights(len(characters), args.hidden, args.init, args.seed)
    weights = load_file(args.load) if args.load else fresh
    want, got = ({k: w.shape for k, w in group.items()} for group in (fresh, weights))
    if got != want:
        parser.error(f"{args.load} holds {got}, want {want}")
    weights = {key: weights[key].astype(np.float32 if args.dtype == "f32" else np.float64) for key in KEYS}
    if args.save_init:
        save_file(weights, args.save_init)
    metrics = open(args.out, "w") if args.out else None
    train(args, data, weights, len(characters), metrics)
    if args.save:
        save_file(weights, args.save)


if __name__ == "__main__":
    main()
