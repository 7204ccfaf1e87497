"""The twin of `entities --data FOLDER --vectors FILE`: words and their letters -> bidirectional LSTM -> a tag each."""
import torch
from torch import nn
from torch.nn import functional as F
from twin import (NOWHERE, UNKNOWN, BiLSTM, Symbols, flags, in_order, judging, lines, lower, padded, read_vectors,
                  result, start, train, word_embedding)

LETTERS = 25


def read_conll(path):
    """Sentences as (words, tags)."""
    sentences, fresh = [], True
    for line in lines(path):
        if not line.strip(" \t\r"):
            fresh = True
            continue
        word, tag = line.split("\t")
        if fresh:
            sentences.append(([], []))
        fresh = False
        sentences[-1][0].append(word)
        sentences[-1][1].append(tag.strip(" \t\r"))
    return sentences


def entities(tags):
    """{(begin, end, type)}; an I-TYPE that continues no entity of its type begins one."""
    found, inside = [], False
    for t, tag in enumerate(tags):
        if tag != "O":
            if tag[0] == "I" and inside and found[-1][2] == tag[2:]:
                found[-1][1] = t + 1
            else:
                found.append([t, t + 1, tag[2:]])
        inside = tag != "O"
    return {tuple(entity) for entity in found}


class Text:
    """Sentences as ids: of words, of their spellings in `spellings`, and of tags."""

    def __init__(self, sentences, words, rare, letters, tags):
        spelled = Symbols(sentence for sentence, _ in sentences)
        self.truth = [entities(true) for _, true in sentences]
        self.words = [words.ids(map(lower, sentence)) for sentence, _ in sentences]
        self.rare = [rare.ids(map(lower, sentence)) == UNKNOWN for sentence, _ in sentences]
        self.spelled = [spelled.ids(sentence) for sentence, _ in sentences]
        self.tags = [torch.tensor([tags.index(t) if t in tags else 0 for t in true]) for _, true in sentences]
        # Number 0, beyond the end of a sentence, is spelled as something.
        self.spellings, self.lengths = padded([letters.ids(name) for name in ["?", *spelled.names[1:]]])

    def batch(self, rows, hide):
        """Words and lengths; letters of each different word and lengths; which of these a word is; tags. A word that
        training saw once is read as unknown every other time, if `hide`."""
        words, lengths = padded([self.words[k] for k in rows])
        if hide:
            rare = padded([self.rare[k] for k in rows])[0]
            words = words.masked_fill(rare & (torch.rand(words.shape) < 0.5), UNKNOWN)
        different, spelled = padded([self.spelled[k] for k in rows])[0].unique(return_inverse=True)
        letters = self.spellings[: self.lengths[different].max(), different]
        tags = padded([self.tags[k] for k in rows], NOWHERE)[0]
        return words, lengths, letters, self.lengths[different], spelled, tags


class Tagger(nn.Module):
    def __init__(self, words, vectors, letters, tags, hidden, dropout):
        super().__init__()
        self.words = word_embedding(words, vectors)
        self.letters = nn.Embedding(letters, LETTERS)
        self.speller = BiLSTM(LETTERS, LETTERS)
        self.drop = nn.Dropout(dropout)
        self.lstm = BiLSTM(self.words.embedding_dim + 2 * LETTERS, hidden)
        self.output = nn.Linear(2 * hidden, tags)

    def forward(self, words, lengths, letters, letter_lengths, spelled):  # [time, batch, tags]
        spellings = F.embedding(spelled, self.speller(self.letters(letters), letter_lengths)[1])
        x = self.drop(torch.cat([self.words(words), spellings], -1))
        return self.output(self.drop(self.lstm(x, lengths)[0]))


def score(model, text, tags):
    """F1, precision and recall of entities."""
    found = predicted = 0
    for rows in in_order(len(text.words), 50):
        *inputs, _ = text.batch(rows, hide=False)
        for k, ids in zip(rows, model(*inputs).argmax(-1).T.tolist()):
            said = entities([tags[i] for i in ids[: len(text.words[k])]])
            found, predicted = found + len(said & text.truth[k]), predicted + len(said)
    wanted = sum(map(len, text.truth))
    return 2 * found / max(1, predicted + wanted), found / max(1, predicted), found / max(1, wanted)


def main():
    args = flags(__doc__, vectors=True, epochs=12, batch=16, hidden=100, lr=3e-3, dropout=0.5).parse_args()
    start(args)
    train_set, dev, test = (read_conll(f"{args.data}/{name}")
                            for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"))
    vectors = read_vectors(args.vectors) if args.vectors else {}
    in_lower = [[lower(word) for word in sentence] for sentence, _ in train_set]
    words, rare = Symbols([vectors, *in_lower]), Symbols(in_lower, min_count=2)
    letters = Symbols(word for sentence, _ in train_set for word in sentence)
    tags = ["O", *sorted({tag for _, true in train_set for tag in true} - {"O"})]
    train_set, dev, test = (Text(sentences, words, rare, letters, tags) for sentences in (train_set, dev, test))
    model = Tagger(words, vectors, len(letters), len(tags), args.hidden, args.dropout)

    def loss_of(rows):
        *inputs, truth = train_set.batch(rows, hide=True)
        return F.cross_entropy(model(*inputs).flatten(0, 1), truth.flatten(), ignore_index=NOWHERE)

    epoch = train(model, args, len(train_set.words), loss_of, judge=lambda: score(model, dev, tags)[0])
    f1, precision, recall = judging(model, lambda: score(model, test, tags))
    result(f1=f1, precision=precision, recall=recall, **epoch)


if __name__ == "__main__":
    main()
