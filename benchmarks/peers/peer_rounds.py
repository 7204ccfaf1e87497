"""What a rival does beside the benchmark's runner: steps when asked for, or a table of its own.

The runner (benchmarks/runner/peer.h) writes lines "W3 module f32 STEPS" and reads "W3 module f32 ms ms ..", one
time for each step, none where there is no such mode. Models are built and batches drawn before the clock starts;
compiling is part of the first step.
"""
import os
import statistics
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable


@dataclass
class Stepper:
    """A training step in one mode: forward, loss, backward to the gradients of all parameters."""

    batch: Callable[[int], Any]  # the k-th
    step: Callable[[Any], float]  # returns the loss
    size: Callable[[Any], float] = lambda batch: 1.0  # of a batch, in average ones: times are divided by it
    gradients: Callable[[], dict] = dict  # of the last step, by name


class Peer:
    """Modes by workload, {"W3": {"module": make, "module-bf16": make}}; each is made when first asked for."""

    def __init__(self, modes):
        self.modes, self.steppers, self.next = modes, {}, {}

    def stepper(self, workload, mode):
        if (workload, mode) not in self.steppers:
            self.steppers[workload, mode] = self.modes[workload][mode]()
        return self.steppers[workload, mode]

    def run(self, workload, mode, steps):
        """Milliseconds of so many steps; none where there is no such mode, or where it fails."""
        if mode not in self.modes.get(workload, {}):
            return []
        try:
            stepper = self.stepper(workload, mode)
            return [self.time(stepper, workload, mode) for _ in range(steps)]
        except Exception:  # a compiler that gives up is no reason to end
            traceback.print_exc(file=sys.stderr)
            del self.modes[workload][mode]
            return []

    def time(self, stepper, workload, mode):
        k = self.next.get((workload, mode), 0)
        self.next[workload, mode] = k + 1
        batch = stepper.batch(k)
        begin = time.perf_counter()
        stepper.step(batch)
        return 1e3 * (time.perf_counter() - begin) / stepper.size(batch)


def label(mode, dtype):
    return mode if dtype == "f32" else f"{mode}-{dtype}"


def serve(peer):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a compiler prints is no answer
    for line in sys.stdin:
        try:
            workload, mode, dtype, steps = line.split()
            count = int(steps)
        except ValueError:
            sys.exit(f"{line.strip()!r}: want WORKLOAD MODE DTYPE STEPS, as W3 module f32 10")
        times = peer.run(workload, label(mode, dtype), count)
        print(workload, mode, dtype, *(f"{ms:.6f}" for ms in times), file=answers, flush=True)


def table(peer, workloads, wanted, threads, seconds, rounds):
    """Medians of rounds in which the modes of a workload take turns."""
    print(f"{'':4} {'mode':18} {'threads':>7} {'ms':>9} {'low':>9} {'high':>9} {'first ms':>9}", flush=True)
    for workload in workloads:
        lanes = {}
        for mode in wanted:
            first, second = peer.run(workload, mode, 1), peer.run(workload, mode, 2)
            if second:
                steps = max(1, int(1e3 * seconds / rounds / second[-1]))
                lanes[mode] = (first[0], steps, [])
        for _ in range(rounds):
            for mode, (_, steps, samples) in lanes.items():
                samples += [statistics.fmean(times) for times in [peer.run(workload, mode, steps)] if times]
        for mode, (first, _, samples) in lanes.items():
            low, middle, high = (sorted(samples)[round(q * (len(samples) - 1))] for q in (0.1, 0.5, 0.9))
            print(f"{workload:4} {mode:18} {threads:7} {middle:9.3f} {low:9.3f} {high:9.3f} {first:9.1f}", flush=True)


def check(peer, workloads, wanted):
    """Losses and gradients of all modes on the same batch and weights, beside the first mode's; True if equal. Of bf16
    only the loss is judged: its gradients are far off where terms cancel (W6, bf16 weights: norm1.bias by 30 %)."""
    good = True
    for workload in workloads:
        expected = None
        for mode in (m for m in wanted if m in peer.modes[workload]):
            stepper = peer.stepper(workload, mode)
            loss, gradients = stepper.step(stepper.batch(0)), stepper.gradients()
            expected = expected or (loss, gradients)
            apart, where = max((distance(g, gradients[n]), n) for n, g in expected[1].items() if n in gradients)
            bf16 = mode.endswith("bf16")
            equal = abs(loss - expected[0]) <= (3e-2 if bf16 else 1e-4) * abs(expected[0]) and (bf16 or apart <= 1e-3)
            good = good and equal
            print(f"{workload:4} {mode:22} loss {loss:.6f}, gradients at most {apart:.1e} apart ({where})"
                  f"{'' if equal else '  DIFFERS'}", flush=True)
    return good


def distance(a, b):
    """Of gradients, relative to the first."""
    return float((a - b).norm() / a.norm().clamp_min(1e-12))


def arguments(description):
    import argparse

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--serve", action="store_true", help="answer the benchmark's runner on stdin and stdout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="workloads, as W2,W3")
    parser.add_argument("--modes", help="as module,compile,module-bf16")
    parser.add_argument("--seconds", type=float, default=2, help="of each mode")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--check", action="store_true", help="compare losses and gradients of the modes instead")
    return parser.parse_args()


def main(args, peer, default_modes):
    if args.serve:
        return serve(peer)
    workloads = args.only.split(",") if args.only else list(peer.modes)
    unknown = [w for w in workloads if w not in peer.modes]
    if unknown:
        sys.exit(f"--only: no workload {', '.join(unknown)}; there are {', '.join(peer.modes)}")
    modes = args.modes.split(",") if args.modes else default_modes
    if args.check:
        return sys.exit(0 if check(peer, workloads, modes) else 1)
    return table(peer, workloads, modes, args.threads, args.seconds, args.rounds)
