"""The twin of `names --data FOLDER`: letters -> bidirectional LSTM -> its two last states -> a language."""
import pathlib

import torch
from torch import nn
from torch.nn import functional as F
from twin import BiLSTM, Symbols, accuracy, flags, in_order, judging, lines, padded, result, start, train

HELD_OUT, EMBEDDING = 10, 32


class Classifier(nn.Module):
    def __init__(self, letters, languages, hidden, dropout):
        super().__init__()
        self.embedding = nn.Embedding(letters, EMBEDDING)
        self.lstm = BiLSTM(EMBEDDING, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, languages)

    def forward(self, letters):
        x, lengths = padded(letters)
        _, h = self.lstm(self.dropout(self.embedding(x)), lengths)
        return self.output(self.dropout(h))


def split(folder):
    """Names and labels for training and for the test: each name once a language, every tenth of them held out."""
    train_set, test = [], []
    files = sorted(pathlib.Path(folder).glob("*.txt"))
    for label, file in enumerate(files):
        names = dict.fromkeys(name for line in lines(file) if (name := line.strip(" \t\r")))
        for k, name in enumerate(names):
            (test if k % HELD_OUT == HELD_OUT - 1 else train_set).append((name, label))
    return train_set, test, len(files)


def main():
    args = flags(__doc__, epochs=12, batch=64, hidden=128, lr=4e-3, dropout=0.3).parse_args()
    start(args)
    train_set, test, languages = split(args.data)
    symbols = Symbols(name for name, _ in train_set)
    model = Classifier(len(symbols), languages, args.hidden, args.dropout)
    x, y = [symbols.ids(name) for name, _ in train_set], torch.tensor([label for _, label in train_set])
    test_x, test_y = [symbols.ids(name) for name, _ in test], torch.tensor([label for _, label in test])

    epoch = train(model, args, len(x), lambda rows: F.cross_entropy(model([x[k] for k in rows]), y[rows]))

    def said(names):
        return torch.cat([model([names[k] for k in rows]).argmax(1) for rows in in_order(len(names), 256)])

    result(accuracy=judging(model, lambda: accuracy(said(test_x), test_y)),
           train_accuracy=judging(model, lambda: accuracy(said(x), y)), **epoch)


if __name__ == "__main__":
    main()
