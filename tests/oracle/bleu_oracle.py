"""Writes hypotheses, references and sacreBLEU's numbers for them, for tests/translate_data_test.cpp to compare with.

usage: bleu_oracle.py MULTI30K_FOLDER OUT_FOLDER      exit code 77: sacrebleu is not installed

OUT_FOLDER/cases.txt has a line for each case:  NAME TOKENISER SCORE CORRECT{4} TOTAL{4} HYP_LEN REF_LEN
and NAME.hyp, NAME.ref hold the sentences, one a line.
"""
import gzip
import pathlib
import random
import sys

try:
    from sacrebleu.metrics import BLEU
except ImportError:
    sys.exit(77)

data, out = map(pathlib.Path, sys.argv[1:3])
rng = random.Random(1998)


def read(name):
    with gzip.open(data / name, "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def corrupt(line, drop, swap):
    """Drops words with chance `drop` each, and swaps neighbours with chance `swap`."""
    words = [word for word in line.split() if rng.random() >= drop]
    for i in range(len(words) - 1):
        if rng.random() < swap:
            words[i], words[i + 1] = words[i + 1], words[i]
    return " ".join(words)


def triples(line):
    words = line.split()
    return [" ".join(words[i:i + 3]) for i in range(0, len(words), 3)]


def litter(line):
    """Puts in what the 13a tokeniser has rules for, and white space of all kinds."""
    bits = ["3.14", "1,000", "1990-1998", "x-y", "a.b", "...", "e.g.,", "&quot;", "&amp;lt;", "&lt;b&gt;", "<skipped>",
            "5-", "-5", ",5", "5.", "{a}", "[b]", "c/d", "'tis", "$9.99", "50%", "é.", ".é", "\u00a0", "\u2009!", "\t",
            "\u3000", "«\u202fà\u202f»", "🙂.", "a,,b", "1..2", "~^_`|\\", "\u0085", "\x1c", "-", "\u200b"]
    words = line.split(" ")
    for _ in range(3):
        words.insert(rng.randrange(len(words) + 1), rng.choice(bits))
    return rng.choice(["", " "]).join([" ".join(words), rng.choice([".", "", "\u00a0", " "])])


tokenised, plain = read("test_2016_flickr.lc.norm.tok.fr.gz"), read("test_2016_flickr.fr.gz")
cases = {"same": (tokenised, tokenised)}
for drop, swap in [(0.02, 0), (0, 0.1), (0.1, 0.1), (0.3, 0.3), (0.7, 0.5), (0.95, 0.5)]:
    cases[f"drop{drop}swap{swap}"] = ([corrupt(line, drop, swap) for line in tokenised], tokenised)
cases["some_empty"] = ([line if i % 3 else "" for i, line in enumerate(tokenised)], tokenised)
cases["all_empty"] = ([""] * len(tokenised), tokenised)
cases["nothing_right"] = (["zzz zz zzz z qq"] * len(tokenised), tokenised)
cases["unigrams_only"] = ([" zz ".join(line.split()) for line in tokenised], tokenised)
cases["no_4gram_match"] = ([" zz ".join(triples(line)) for line in tokenised], tokenised)
cases["three_words"] = ([" ".join(line.split()[:3]) for line in tokenised], tokenised)
cases["too_long"] = ([line + " " + line for line in tokenised], tokenised)
cases["empty_references"] = (tokenised, [line if i % 2 else "" for i, line in enumerate(tokenised)])
cases["one_sentence"] = ([corrupt(tokenised[0], 0.1, 0)], tokenised[:1])
cases["plain_text"] = ([corrupt(line, 0.1, 0.1) for line in plain], plain)
cases["littered"] = ([litter(corrupt(line, 0.05, 0.05)) for line in plain], [litter(line) for line in plain])
cases["littered_same"] = (["x " + line for line in cases["littered"][1]], cases["littered"][1])

with open(out / "cases.txt", "w", encoding="utf-8") as numbers:
    for name, (hypotheses, references) in cases.items():
        for lines, kind in [(hypotheses, "hyp"), (references, "ref")]:
            (out / f"{name}.{kind}").write_bytes("".join(line + "\n" for line in lines).encode())
        for tokeniser in ["none", "13a"]:
            bleu = BLEU(tokenize=tokeniser, force=True).corpus_score(hypotheses, [references])
            print(name, tokeniser, repr(float(bleu.score)), *bleu.counts, *bleu.totals, bleu.sys_len, bleu.ref_len,
                  file=numbers)
