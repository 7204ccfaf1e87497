"""The twin of `word_lm --data FILE`: each word from those before it; perplexity of the last tenth of the lines."""
import math
import re
from collections import Counter

import torch
from torch import nn
from torch.nn import functional as F
from twin import NOWHERE, Symbols, flags, in_order, judging, lines, lower, padded, result, start, train

WORD = re.compile(r"[a-z0-9'\x80-\U0010ffff]+|[^ \ta-z0-9'\x80-\U0010ffff]")


class LanguageModel(nn.Module):
    def __init__(self, words, hidden, dropout):
        super().__init__()
        self.words = nn.Embedding(words, hidden)
        self.drop = nn.Dropout(dropout)
        self.lstm = nn.LSTM(hidden, hidden)
        self.output = nn.Linear(hidden, words)

    def loss(self, sentences, reduction):
        """Nats over all words and the ends of sentences. What the LSTM does behind an end counts nowhere."""
        x = padded([s[:-1] for s in sentences])[0]
        truth = padded([s[1:] for s in sentences], NOWHERE)[0]
        scores = self.output(self.drop(self.lstm(self.drop(self.words(x)))[0]))
        return F.cross_entropy(scores.flatten(0, 1), truth.flatten(), ignore_index=NOWHERE, reduction=reduction)


def perplexity(model, text):
    nats = sum(model.loss([text[k] for k in rows], "sum").item() for rows in in_order(len(text), 50))
    return math.exp(nats / sum(len(s) - 1 for s in text))


def main():
    parser = flags(__doc__, epochs=3, batch=32, hidden=200, lr=4e-3, dropout=0.2)
    parser.add_argument("--max-words", type=int, default=10000)
    args = parser.parse_args()
    start(args)
    text = [words for line in lines(args.data) if len(words := WORD.findall(lower(line))) > 1]
    first, second = len(text) * 8 // 10, len(text) * 9 // 10
    counts = Counter(word for sentence in text[:first] for word in sentence)
    common = sorted(counts, key=lambda word: (-counts[word], word))[: args.max_words]
    vocabulary = Symbols([common])
    end = torch.tensor([len(vocabulary)])  # <EOS>, the row after the words
    ids = [torch.cat([end, vocabulary.ids(sentence), end]) for sentence in text]
    train_set, dev, test = ids[:first], ids[first:second], ids[second:]

    model = LanguageModel(len(vocabulary) + 1, args.hidden, args.dropout)
    epoch = train(model, args, len(train_set), lambda rows: model.loss([train_set[k] for k in rows], "mean"),
                  judge=lambda: -perplexity(model, dev))
    result(perplexity=judging(model, lambda: perplexity(model, test)),
           held_out=judging(model, lambda: perplexity(model, dev)), **epoch)


if __name__ == "__main__":
    main()
