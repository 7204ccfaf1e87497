"""The twin of `digits --task digits --data FOLDER`: MFCC -> bidirectional LSTM -> mean over the frames -> a digit.

The features are computed here once more, by the formulas of examples/data/mfcc.h.
"""
import pathlib
import wave

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from twin import BiLSTM, accuracy, flags, in_order, judging, padded, result, start, train

WINDOW, HOP, PRE_EMPHASIS, FILTERS, COEFFICIENTS = 0.025, 0.010, 0.97, 26, 13


def mel(hertz):
    return 2595 * np.log10(1 + hertz / 700)


def mfcc(sound, rate):
    """[frames, 13], in f64."""
    sound = np.append(sound[0], sound[1:] - PRE_EMPHASIS * sound[:-1])
    length, hop = round(WINDOW * rate), round(HOP * rate)
    size = 1 << (length - 1).bit_length()
    count = 1 + max(0, len(sound) - length) // hop
    sound = np.pad(sound, (0, max(0, length - len(sound))))
    frames = np.stack([sound[k * hop : k * hop + length] for k in range(count)]) * np.hamming(length)
    power = np.abs(np.fft.rfft(frames, size)) ** 2 / size
    at = mel(np.arange(size // 2 + 1) * rate / size) / (mel(rate / 2) / (FILTERS + 1))
    filters = np.maximum(0, 1 - np.abs(at - np.arange(1, FILTERS + 1)[:, None]))
    energy = np.log(np.maximum(power @ filters.T, 1e-10))
    j, m = np.arange(COEFFICIENTS)[:, None], np.arange(FILTERS)
    dct = np.cos(np.pi * j * (m + 0.5) / FILTERS) * np.sqrt(np.where(j == 0, 1, 2) / FILTERS)
    return energy @ dct.T


def with_deltas(x):
    """Beside each feature its slope over five frames, the ends repeated."""
    count = len(x)
    p = np.pad(x, ((2, 2), (0, 0)), mode="edge")
    slope = p[3 : 3 + count] - p[1 : 1 + count] + 2 * (p[4 : 4 + count] - p[:count])
    return np.concatenate([x, slope / 10], 1)


def recordings(folder):
    """Features, digit and take of each."""
    for file in sorted(pathlib.Path(folder).glob("*.wav")):
        with wave.open(str(file)) as sound:
            rate, samples = sound.getframerate(), np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        digit, _, take = file.stem.split("_")
        yield with_deltas(mfcc(samples / 32768, rate)), int(digit), int(take)


class Listener(nn.Module):
    def __init__(self, features, hidden, dropout):
        super().__init__()
        self.layers = BiLSTM(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, 10)

    def forward(self, sounds):
        x, lengths = padded(sounds)
        outputs = self.output(self.dropout(self.layers(x, lengths)[0]))
        share = padded([torch.full((n,), 1 / n) for n in lengths.tolist()])[0]
        return (outputs * share[:, :, None]).sum(0)


def main():
    args = flags(__doc__, steps=600, batch=32, hidden=96, lr=1e-2, dropout=0.3).parse_args()
    start(args)
    train_set, test = [], []
    for features, digit, take in recordings(args.data):
        (test if take < 5 else train_set).append((features, digit))
    frames = np.concatenate([features for features, _ in train_set])
    mean, deviation = frames.mean(0), frames.std(0) + 1e-8

    def scaled(sounds):
        return ([torch.tensor((features - mean) / deviation, dtype=torch.float32) for features, _ in sounds],
                torch.tensor([digit for _, digit in sounds]))

    (x, y), (test_x, test_y) = scaled(train_set), scaled(test)
    model = Listener(frames.shape[1], args.hidden, args.dropout)
    epoch = train(model, args, len(x), lambda rows: F.cross_entropy(model([x[k] for k in rows]), y[rows]))
    said = judging(model, lambda: torch.cat([model([test_x[k] for k in rows]).argmax(1)
                                             for rows in in_order(len(test_x), 50)]))
    result(accuracy=accuracy(said, test_y), **epoch)


if __name__ == "__main__":
    main()
