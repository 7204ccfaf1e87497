"""Curves of what grows: reads the rows of `./run bench --sweep --json ROWS` and draws length.svg and depth.svg.

    python3 benchmarks/curves.py ROWS [FOLDER]

length.svg: microseconds a step of the sequence over its length; depth.svg: milliseconds a step over the number of
layers. Solid: steady, with the band that holds four fifths of the rounds; dashed: the first step of a structure
never seen.
"""
import json
import math
import pathlib
import sys
from dataclasses import dataclass, field

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 64, 150, 34, 46
COLOURS = ["#1f6fb4", "#d1590f", "#2c8a3d", "#8250b8"]


@dataclass
class Line:
    label: str
    colour: str
    dashed: bool = False
    points: list = field(default_factory=list)  # (x, y, low, high)


class Axis:
    """Where values lie between two pixels, by their logarithm or as they are, and where its marks are."""

    def __init__(self, values, begin, end, log):
        self.begin, self.end, self.log = begin, end, log
        low, high = min(values), max(values)
        if log:
            # Half a decade at least, so that a flat curve looks flat.
            low, high = low / 1.15, max(high, low * 10**0.5) * 1.15
        else:
            low, high = 0, high * 1.08
        self.low, self.high = self.scale(low), self.scale(high)

    def scale(self, value):
        return math.log10(value) if self.log else value

    def at(self, value):
        share = (self.scale(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def marks(self):
        if self.log:
            powers = range(math.floor(self.low) - 1, math.ceil(self.high) + 1)
            candidates = [digit * 10.0**power for power in powers for digit in (1, 2, 3, 5, 7)]
            return [v for v in candidates if self.low <= math.log10(v) <= self.high]
        step = 10 ** math.floor(math.log10(self.high))
        step = next(step / part for part in (1, 2, 5, 10) if self.high * part / step >= 4)
        return [step * k for k in range(int(self.high / step) + 1)]


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def polyline(axis_x, axis_y, line):
    points = " ".join(f"{axis_x.at(x):.1f},{axis_y.at(y):.1f}" for x, y, _, _ in line.points)
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>'


def band(axis_x, axis_y, line):
    edge = [(x, high) for x, _, _, high in line.points] + [(x, low) for x, _, low, _ in reversed(line.points)]
    points = " ".join(f"{axis_x.at(x):.1f},{axis_y.at(y):.1f}" for x, y in edge)
    return f'<polygon points="{points}" fill="{line.colour}" fill-opacity="0.15"/>'


def chart(title, x_label, y_label, lines, log):
    """An SVG of the lines; `log`: both axes are logarithmic."""
    axis_x = Axis([p[0] for line in lines for p in line.points], LEFT, WIDTH - RIGHT, log)
    axis_y = Axis([v for line in lines for p in line.points for v in p[1:]], HEIGHT - BOTTOM, TOP, log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text((LEFT + WIDTH - RIGHT) / 2, 20, title, more=' font-size="14"'),
    ]
    for value in axis_y.marks():
        y = axis_y.at(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 6, y + 4, f"{value:g}", "end"))
    for value in sorted({p[0] for line in lines for p in line.points}):
        x = axis_x.at(value)
        parts.append(f'<path d="M{x:.1f} {HEIGHT - BOTTOM}v4" stroke="#333"/>')
        parts.append(text(x, HEIGHT - BOTTOM + 17, f"{value:,}"))
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>')
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text(16, middle, y_label, more=f' transform="rotate(-90 16 {middle:.1f})"'))
    parts += [band(axis_x, axis_y, line) for line in lines]
    parts += [polyline(axis_x, axis_y, line) for line in lines]
    for k, line in enumerate(lines):
        y = TOP + 14 + 18 * k
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        x = WIDTH - RIGHT + 12
        parts.append(f'<path d="M{x} {y - 4}h22" stroke="{line.colour}" stroke-width="2"{dash}/>')
        parts.append(text(x + 28, y, line.label, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def lines_of(rows, kind, scale):
    """Lines by variant and threads, of the workloads "KIND-X"; `scale(ms, x)` is what is drawn."""
    chosen = [(row, int(row["workload"].split("-")[1])) for row in rows if row["workload"].startswith(kind + "-")]
    several = len({row["threads"] for row, _ in chosen}) > 1
    lines = {}
    for row, x in sorted((pair for pair in chosen if pair[0]["variant"] != "peak"), key=lambda pair: pair[1]):
        label = row["variant"] + (f", {row['threads']} thr" if several else "")
        if label not in lines:
            colour = COLOURS[len(lines) % len(COLOURS)]
            lines[label] = Line(label, colour), Line(label + ", first", colour, dashed=True)
        steady, first = lines[label]
        steady.points.append((x, *(scale(row[key], x) for key in ("ms", "low", "high"))))
        if row["first_ms"]:
            first.points.append((x, *[scale(row["first_ms"], x)] * 3))
    return [line for pair in lines.values() for line in pair if line.points]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    rows = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else ".")
    charts = {
        "length": ("An LSTM of 128, batch 16, over T steps", "T, steps of the sequence",
                   "&#181;s a step of the sequence", lambda ms, x: 1000 * ms / x, True),
        "depth": ("An LSTM of 128, batch 16, 50 steps, over its depth", "layers", "ms a training step",
                  lambda ms, x: ms, False),
    }
    for kind, (title, x_label, y_label, scale, log) in charts.items():
        lines = lines_of(rows, kind, scale)
        if not lines:
            print(f"{sys.argv[1]} has no rows of {kind}-..", file=sys.stderr)
            continue
        path = folder / f"{kind}.svg"
        path.write_text(chart(title, x_label, y_label, lines, log))
        print(path)


if __name__ == "__main__":
    main()
