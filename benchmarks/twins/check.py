"""Whether example and twin are the same model, trained alike: from the example's initial weights, on its batches in its
order and without dropout, both losses at each step.

    python3 benchmarks/twins/check.py --shared DATA --steps 40

The flags are compare.py's. What is said is the largest relative difference until a step. They round differently, and
where training is chaotic that shows after some steps: rows doubles a difference every five or so. `digits` has a
dropout that no flag turns off, and is left out. `entities` reads words that training saw once as unknown, at random;
its sentences are given twice, so that there are none.
"""
import json
import pathlib
import shutil
import subprocess
import tempfile

import compare


def losses(command):
    """What a twin says: "loss STEP VALUE"."""
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    said = [line.split() for line in done.stdout.split("\n") if line.startswith("loss ")]
    return {int(step): float(value) for _, step, value in said}


def twice(folder, to):
    shutil.copytree(folder, to)
    train = pathlib.Path(to, "wnut17train.conll")
    text = train.read_text(encoding="utf-8")
    train.write_text(f"{text}\n\n{text}", encoding="utf-8")


def apart(args, name, folder):
    """The relative difference of the losses at each step."""
    out, weights = f"{folder}/out", f"{folder}/begin.safetensors"
    ours, twin = (compare.command(args, name, who, 1, out) for who in ("ours", "twin"))
    if name == "entities":
        data = ours[ours.index("--data") + 1]
        twice(data, f"{folder}/twice")
        ours, twin = ([f"{folder}/twice" if word == data else word for word in words] for words in (ours, twin))
    still = [] if name == "rows" else ["--dropout", "0"]
    for more in (["--steps", "1", "--lr", "0", "--save", weights], ["--steps", str(args.steps), "--log-every", "1"]):
        subprocess.run([*ours, *still, *more], check=True, capture_output=True)
    rows = [json.loads(line) for line in open(f"{out}/metrics.jsonl", encoding="utf-8")]
    expected = {row["step"]: row["loss"] for row in rows if "loss" in row}
    found = losses([*twin, *still, "--steps", str(args.steps), "--begin", weights])
    return {step: abs(found[step] - loss) / abs(loss) for step, loss in expected.items()}


def main():
    parser = compare.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=40)
    args = compare.checked(parser)
    for name in args.only.split(","):
        if name == "digits":
            continue
        with tempfile.TemporaryDirectory() as folder:
            difference = apart(args, name, folder)
        said = {step: max(d for k, d in difference.items() if k <= step) for step in (1, 10, args.steps)}
        print(f"{name:9}", ", ".join(f"{d:.1e} until step {step}" for step, d in said.items()), flush=True)


if __name__ == "__main__":
    main()
