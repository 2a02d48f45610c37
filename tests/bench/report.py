"""The report: the targets, and for each group its ratios and its figures, in Markdown."""
import fnmatch
import operator
import os
import platform
import statistics
import subprocess
import time

import groups

SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


# ---- what the lines say ----------------------------------------------------------------------------

def by_round(lines, group):
    """{round: {variant: value}}"""
    rounds = {}
    for line in lines:
        if line["group"] == group:
            rounds.setdefault(line["round"], {})[line["variant"]] = line["value"]
    return rounds


def is_named(variant, names):
    """`names`: one or a list; "*" stands for anything."""
    names = [names] if isinstance(names, str) else names
    return any(fnmatch.fnmatchcase(variant, name) for name in names)


def best(values, names, unit):
    """Of the variants that were measured in this round: the fastest, or the shortest time."""
    found = [value for variant, value in values.items() if is_named(variant, names)]
    if not found:
        return None
    return max(found) if unit.endswith("/s") else min(found)


def ratio_values(lines, group, ratio):
    units = {line["variant"]: line["unit"] for line in lines if line["group"] == group}
    unit = next((unit for variant, unit in units.items() if is_named(variant, ratio.over)), "")
    found = []
    for values in by_round(lines, group).values():
        over, under = best(values, ratio.over, unit), best(values, ratio.under, unit)
        if over is not None and under:
            found.append(over / under)
    return found


def target_values(lines, target):
    """The figures a target is about: a ratio's, or a variant's."""
    group = groups.named(target.group)
    for ratio in group.ratios if group else []:
        if ratio.name == target.what:
            return ratio_values(lines, target.group, ratio)
    return [line["value"] for line in lines
            if line["group"] == target.group and line["variant"] == target.what]


# ---- text ------------------------------------------------------------------------------------------

def number(value):
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def spread(values):
    return [number(statistics.median(values)), number(min(values)), number(max(values))]


def table(head, rows):
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, align, *rows]) + "\n"


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    try:
        said = subprocess.run(["redis-server", "--version"], text=True, capture_output=True,
                              check=False).stdout
        redis = next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")
    except OSError:
        redis = "unknown"
    return (f"{len(os.sched_getaffinity(0))} cores ({model}), Linux {platform.release()}, "
            f"Redis {redis}, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f} at the end.")


def targets(lines, quick):
    rows = []
    for target in groups.TARGETS:
        values = target_values(lines, target)
        wanted = f"{target.sign} {number(target.limit)}"
        if not values:
            rows.append((target.text, wanted, "-", "-", "-", "not measured"))
            continue
        met = SIGNS[target.sign](statistics.median(values), target.limit)
        verdict = "too small to say" if quick else "met" if met else "**not met**"
        rows.append((target.text, wanted, *spread(values), verdict))
    return table(("figure", "target", "median", "min", "max", ""), rows)


def group_text(lines, group, plots):
    mine = [line for line in lines if line["group"] == group.name]
    rounds = len({line["round"] for line in mine})
    parts = [f"## {group.name}\n\n{group.help[0].upper()}{group.help[1:]}. {rounds} round{'s' * (rounds != 1)}.\n"]
    rows = []
    for ratio in group.ratios:
        values = ratio_values(lines, group.name, ratio)
        if values:
            rows.append((ratio.name, *spread(values)))
    if rows:
        parts.append(table(("ratio, within a round", "median", "min", "max"), rows))
    variants = {}
    for line in mine:
        variants.setdefault(line["variant"], []).append(line)
    rows = [(name, *spread([line["value"] for line in found]), found[0]["unit"],
             f"{found[0]['jobs']:,}", "yes" if all(line["checked"] for line in found) else "**NO**")
            for name, found in sorted(variants.items(), key=lambda item: groups.natural(item[0]))]
    parts.append(table(("variant", "median", "min", "max", "unit", "jobs", "checked"), rows))
    rows = [(name, number(found[0]["value"]), f"{number(found[0]['low'])} to {number(found[0]['high'])}",
             found[0]["jobs"], number(found[0]["seconds"]))
            for name, found in variants.items() if "low" in found[0]]
    if rows:
        parts.append(table(("variant", "% right", "95 % (Wilson)", "n", "seconds each"), rows))
    rows = [(name, found[0]["version"], found[0]["settings"], found[0]["store"])
            for name, found in variants.items() if "settings" in found[0]]
    if rows:
        parts.append(table(("variant", "version", "settings", "store"), rows))
    parts += [f"![{plot.title}]({plot.name}.svg)\n" for plot in group.plots if plot.name in plots]
    return "\n".join(parts)


def notes(runner):
    rows = [f"- {group}: {name}: skipped: {why}" for group, name, why in runner.skipped]
    rows += [f"- {group}: **FAILED**: {text}" for group, text in runner.problems]
    return "\n".join(rows) + "\n" if rows else ""


def markdown(lines, runner, options):
    plots = {path.stem for path in options.out.glob("*.svg")}
    measured = {line["group"] for line in lines}
    parts = ["# Benchmarks\n", machine() + "\n",
             "\"Checked\": the program proved that every job was done exactly once. Medians, with the "
             "least and the most of all rounds; ratios are taken within a round.\n"]
    if options.quick:
        parts.append("**Tiny sizes, one round: this shows that everything works, and no speed.**\n")
    parts += ["## Targets\n", targets(lines, options.quick), notes(runner)]
    parts += [group_text(lines, group, plots) for group in groups.GROUPS if group.name in measured]
    return "\n".join(part for part in parts if part)
