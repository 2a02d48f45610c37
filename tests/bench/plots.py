"""Draws the plots of the groups in DIR/results.jsonl:  plots.py DIR   (needs matplotlib)"""
import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

import groups  # noqa: E402

OURS = ("#b3541e", "#e09b3d", "#6e2c0c", "#c98c6f")
OTHERS = ("#7d8b99", "#3f6f8f", "#b4bdc6", "#4a5560")
STYLE = {"svg.hashsalt": "stillhouse", "svg.fonttype": "none", "font.size": 10,
         "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.color": "#e5e5e5", "axes.axisbelow": True}


def is_ours(line):
    return line.get("ours", not line["series"].startswith("bare"))


def short(value, _=None):
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def spread(values):
    median = statistics.median(values)
    return median, median - min(values), max(values) - median


def collect(lines, key):
    found = {}
    for line in lines:
        found.setdefault(key(line), []).append(line)
    return found


def draw_bars(axes, plot, lines):
    found = collect(lines, lambda line: line["variant"])
    names = sorted(found, key=lambda name: (is_ours(found[name][0]), groups.natural(name)),
                   reverse=True)
    for at, name in enumerate(names):
        middle, below, above = spread([line[plot.y] for line in found[name]])
        axes.barh(at, middle, xerr=[[below], [above]], height=0.7,
                  color=(OURS if is_ours(found[name][0]) else OTHERS)[0],
                  error_kw={"ecolor": "#333333", "elinewidth": 0.8, "capsize": 2})
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(plot.y_title or plot.unit)
    if plot.log_y:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    return 0.9 + 0.28 * len(names)


def x_of(plot, line):
    """Bare consumers at once stand for workers."""
    return line.get(plot.x, line.get("consumers") if plot.x == "workers" else None)


def draw_lines(axes, plot, lines):
    by_series = collect([line for line in lines if x_of(plot, line) is not None],
                        lambda line: line["series"])
    used = {True: 0, False: 0}
    for series, found in sorted(by_series.items()):
        ours = is_ours(found[0])
        colors = OURS if ours else OTHERS
        color = colors[used[ours] % len(colors)]
        used[ours] += 1
        points = sorted(collect(found, lambda line: x_of(plot, line)).items())
        middles = [spread([line[plot.y] for line in at_x]) for _, at_x in points]
        axes.errorbar([x for x, _ in points], [m for m, _, _ in middles],
                      yerr=[[b for _, b, _ in middles], [a for _, _, a in middles]], marker="o",
                      markersize=4, capsize=2, label=series, linewidth=1.4,
                      linestyle="-" if ours else "--", color=color)
    ticks = sorted({x_of(plot, line) for found in by_series.values() for line in found})
    if ticks and ticks[-1] / max(ticks[0], 1) > 16:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(plot.x_title)
    axes.set_ylabel(plot.y_title or plot.unit)
    if plot.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    axes.legend(frameon=False)
    return 3.6


def draw(plot, lines, out):
    figure, axes = plt.subplots()
    height = (draw_bars if plot.kind == "bars" else draw_lines)(axes, plot, lines)
    axes.set_title(plot.title, loc="left", fontweight="bold")
    figure.set_size_inches(8, height)
    figure.tight_layout()
    figure.savefig(out / f"{plot.name}.svg", metadata={"Date": None})
    plt.close(figure)


def main():
    out = Path(sys.argv[1])
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    plt.rcParams.update(STYLE)
    for group in groups.GROUPS:
        for plot in group.plots:
            mine = [line for line in lines if line["group"] == group.name
                    and line["unit"] == plot.unit and plot.keep(line)]
            if mine:
                draw(plot, mine, out)


if __name__ == "__main__":
    main()
