"""Compare the losses of two runs, step by step.

    python3 compare_losses.py A.jsonl B.jsonl [--bound 1e-5] [--key loss] [--steps N] [--shift-b K]

Prints the worst |a-b| / |a| over the steps both files log (the first --steps of them, if given) and the first
step that exceeds the bound. --shift-b adds K to B's step numbers (1 when B counts from 0). A NaN or infinity,
on either side, is an infinite difference. Exit 0 within the bound, 1 beyond it or when no step is common.
"""
import argparse
import json
import math
import sys


def read(path, key, shift=0):
    with open(path) as lines:
        records = [json.loads(line) for line in lines if line.strip()]
    # null is how some JSON writers spell NaN
    return {r["step"] + shift: math.nan if r[key] is None else float(r[key]) for r in records if key in r}


def relative_difference(a, b):
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / abs(a) if a != b and a != 0 else (0.0 if a == b else math.inf)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--bound", type=float, default=1e-5)
    parser.add_argument("--key", default="loss")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--shift-b", type=int, default=0)
    args = parser.parse_args()

    a, b = read(args.a, args.key), read(args.b, args.key, args.shift_b)
    steps = sorted(a.keys() & b.keys())[: args.steps]
    if not steps:
        sys.exit(f"no common step with '{args.key}': {args.a} has {len(a)}, {args.b} has {len(b)}")
    differences = {s: relative_difference(a[s], b[s]) for s in steps}
    worst = max(steps, key=differences.get)
    print(f"{len(steps)} common steps {steps[0]}..{steps[-1]}: worst relative difference "
          f"{differences[worst]:.3e} at step {worst} ({a[worst]!r} against {b[worst]!r})")
    beyond = [s for s in steps if not differences[s] <= args.bound]
    if beyond:
        s = beyond[0]
        print(f"beyond {args.bound:g} at {len(beyond)} steps, first at step {s}: {a[s]!r} against {b[s]!r}")
        sys.exit(1)
    print(f"within {args.bound:g}")


if __name__ == "__main__":
    main()
