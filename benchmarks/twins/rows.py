"""The twin of `rows --task rows --data FOLDER`: an LSTM reads Fashion-MNIST row by row."""
import gzip
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from twin import accuracy, flags, in_order, judging, result, start, train


class RowReader(nn.Module):
    def __init__(self, width, hidden, classes):
        super().__init__()
        self.lstm = nn.LSTM(width, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, pictures):  # [batch, height, width] of bytes
        _, (h, _) = self.lstm(pictures.transpose(0, 1).float() / 255)
        return self.output(h[-1])


def idx(folder, name):
    """The bytes of an IDX file, plain or gzipped: two zeros, the type, the axes, their sizes, the values."""
    plain = pathlib.Path(folder, name)
    data = plain.read_bytes() if plain.exists() else gzip.decompress(pathlib.Path(folder, name + ".gz").read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, offset=4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())


def main():
    args = flags(__doc__, steps=6000, batch=64, hidden=128, lr=2e-3).parse_args()
    start(args)
    x, test_x = (idx(args.data, f"{part}-images-idx3-ubyte") for part in ("train", "t10k"))
    y, test_y = (idx(args.data, f"{part}-labels-idx1-ubyte") for part in ("train", "t10k"))
    model = RowReader(x.shape[2], args.hidden, 10)
    epoch = train(model, args, len(x), lambda rows: F.cross_entropy(model(x[rows]), y[rows].long()))
    said = judging(model, lambda: torch.cat([model(test_x[rows]).argmax(1) for rows in in_order(len(test_x), 500)]))
    result(accuracy=accuracy(said, test_y), **epoch)


if __name__ == "__main__":
    main()
