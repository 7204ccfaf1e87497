"""Runs the examples and their PyTorch twins in turn, with the same seeds, and prints how good they become and how long
a pass over the data takes.

    python3 benchmarks/twins/compare.py --shared DATA --only names,rows --seeds 1,2,3 --threads 1

DATA holds names/, fsdd/recordings/, wnut17/, sst-trees/, glove50d/glove.6B.50d.head.txt and tinyshakespeare/input.txt,
or what the flags say; --programs is where the examples are built. A pass's seconds are what both programs say: the
median of their passes, without judging and saving; with one thread of the processor's time (epoch_cpu_s), which others
on the machine disturb less, else by the clock (epoch_s). The ratio is ours to the twin's, of each seed's pair, and its
median. --rows FILE keeps each run as a line of JSON, and --table FILE prints the table of such lines.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent


@dataclass
class System:
    """What is compared by which figure; flags go to both programs, {data} and the like filled in."""

    program: str
    figure: str
    flags: list
    suffix: str = ""  # of the keys that say how long a pass takes
    only_ours: list = field(default_factory=list)


VECTORS = ["--vectors", "{vectors}"]
SYSTEMS = {
    "names": System("names", "accuracy", ["--data", "{names}"]),
    "digits": System("digits", "accuracy", ["--data", "{digits}"], only_ours=["--task", "digits"]),
    "entities": System("entities", "f1", ["--data", "{entities}", *VECTORS]),
    "rows": System("rows", "accuracy", ["--data", "{rows}"], only_ours=["--task", "rows"]),
    "words": System("sentiment", "accuracy", ["--task", "words", "--data", "{sentiment}", *VECTORS, "--batch", "50"]),
    "trees": System("sentiment", "accuracy_trees", ["--task", "trees", "--data", "{sentiment}", *VECTORS],
                    suffix="_trees"),
    "word_lm": System("word_lm", "perplexity", ["--data", "{word_lm}"]),
}
PATHS = {"names": "names", "digits": "fsdd/recordings", "entities": "wnut17", "sentiment": "sst-trees",
         "vectors": "glove50d/glove.6B.50d.head.txt", "word_lm": "tinyshakespeare/input.txt"}


def run(command, environment):
    """The pairs of the last line, "result key=value ..", and the seconds of it all."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    last = done.stdout.strip().split("\n")[-1]
    if done.returncode or not last.startswith("result "):
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    pairs = dict(pair.split("=") for pair in last.split()[1:])
    return {key: float(value) for key, value in pairs.items()}, time.perf_counter() - begin


def command(args, name, who, seed, out):
    system = SYSTEMS[name]
    paths = {key: getattr(args, key) or f"{args.shared}/{path}" for key, path in PATHS.items()}
    flags = [flag.format(rows=args.rows_data, **paths) for flag in system.flags]
    flags += ["--seed", str(seed), "--threads", str(args.threads), *args.flags.split()]
    if who == "twin":
        return [sys.executable, str(HERE / f"{system.program}.py"), *flags]
    return [f"{args.programs}/{system.program}", *flags, *system.only_ours, "--out", out]


def compare(args):
    # Each has OpenMP as it likes it: idle threads of ours sleep, PyTorch's wait as they do by default.
    plain = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environments = {"ours": plain | {"OMP_WAIT_POLICY": "passive"}, "twin": plain}
    rows = []
    for name in args.only.split(","):
        for turn, seed in enumerate(int(s) for s in args.seeds.split(",")):
            for who in ("ours", "twin") if turn % 2 == 0 else ("twin", "ours"):
                with tempfile.TemporaryDirectory() as out:
                    values, seconds = run(command(args, name, who, seed, out), environments[who])
                row = {"system": name, "who": who, "seed": seed, "threads": args.threads, "flags": args.flags,
                       "figure": values[SYSTEMS[name].figure], "run_s": seconds,
                       **{key: values[key + SYSTEMS[name].suffix] for key in ("epoch_s", "epoch_cpu_s")}}
                print(f"{name:9} {who} seed {seed}: {SYSTEMS[name].figure} {row['figure']:.6g}, a pass "
                      f"{row['epoch_s']:.3g} s ({row['epoch_cpu_s']:.3g} s of the processor), all {seconds:.0f} s",
                      file=sys.stderr, flush=True)
                rows.append(row)
                if args.rows:
                    with open(args.rows, "a", encoding="utf-8") as file:
                        print(json.dumps(row), file=file)
    return rows


def table(rows):
    print("| system | figure | ours | twin | medians | a pass, ours | twin | ours / twin |")
    print("|---|---|---|---|---|---|---|---|")
    for name, flags in dict.fromkeys((row["system"], row["flags"]) for row in rows):
        these = [row for row in rows if (row["system"], row["flags"]) == (name, flags)]
        runs = {who: {row["seed"]: row for row in these if row["who"] == who} for who in ("ours", "twin")}
        seeds = sorted(runs["ours"].keys() & runs["twin"].keys())
        if not seeds:
            continue
        figures = {who: [runs[who][seed]["figure"] for seed in seeds] for who in runs}
        clock = "epoch_cpu_s" if all(row["threads"] == 1 for row in these) else "epoch_s"
        passes = {who: [runs[who][seed][clock] for seed in seeds] for who in runs}
        ratios = [ours / twin for ours, twin in zip(passes["ours"], passes["twin"])]
        shown = [", ".join(f"{figure:.4g}" for figure in figures[who]) for who in runs]
        medians = [f"{statistics.median(figures[who]):.4g}" for who in runs]
        seconds = [f"{statistics.median(passes[who]):.3g} s" for who in runs]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cells = [f"{name} {flags}".strip(), SYSTEMS[name].figure, *shown, " / ".join(medians), *seconds, ratio]
        print("|", " | ".join(cells), "|")


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, as names,rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--flags", default="", help='for both programs, as "--epochs 2"')
    parser.add_argument("--programs", default=str(HERE.parents[1] / "build/release/bin"), help="where the examples are")
    parser.add_argument("--shared", help="folder of the data")
    for key, path in PATHS.items():
        parser.add_argument(f"--{key.replace('_', '-')}", help=f"instead of DATA/{path}")
    parser.add_argument("--rows-data", default="/usr/share/datasets/fashion-mnist", help="Fashion-MNIST")
    return parser


def checked(parser):
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - SYSTEMS.keys()
    if unknown:
        parser.error(f"--only: no system {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    needed = {flag[1:-1] for name in args.only.split(",") for flag in SYSTEMS[name].flags if flag[0] == "{"} - {"rows"}
    if not args.shared and any(getattr(args, key) is None for key in needed):
        parser.error("want --shared DATA")
    return args


def main():
    parser = arguments(__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rows", help="file that each run is added to")
    parser.add_argument("--table", help="print the table of this file's runs, and run nothing")
    args, _ = parser.parse_known_args()
    if args.table:
        return table([json.loads(line) for line in open(args.table, encoding="utf-8")])
    table(compare(checked(parser)))


if __name__ == "__main__":
    main()
