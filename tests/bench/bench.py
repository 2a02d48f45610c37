"""Runs groups of benchmarks, their rounds interleaved, and writes what came of them.

    bench.py [--group G ...] [--rounds N] [--quick] [--out DIR]

Within a round every command of a group runs once, in an order that moves on from round to round; a
program with several variants does the same inside. So a disturbance of the machine meets all alike,
and ratios are only ever taken within one round. Standard output has the report at the end, standard
error what is going on. Exit code 1 when a program failed or a measurement did not prove that every
job was done exactly once.
"""
import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import groups
import report

COMMAND_S = 2 * 3600


class Failed(Exception):
    """A command did not do what it should; the text says what."""


class Skipped(Exception):
    """A command cannot run here; the text says why."""


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def parse(command, group, text):
    lines = []
    for line in text.splitlines():
        try:
            figure = json.loads(line)
            figure.update(command.fields)
            figure["group"] = group.name
            if command.label:
                figure["variant"] += ", " + command.label
            float(figure["value"]), figure["unit"], int(figure["round"]), figure["checked"]
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(f"\"{line[:120]}\" is no measurement: {error!r}") from error
        figure.setdefault("series", figure["variant"])
        lines.append(figure)
    if not lines:
        raise Failed("it printed nothing")
    return lines


class Runner:
    def __init__(self, options):
        self.options = options
        self.build = Path(options.build)
        self.environment = {**os.environ, "STILLHOUSE_TEST_BIN": str(self.build / "bin"),
                            "STILLHOUSE_BIN": str(self.build / "bin")}
        self.problems = []  # (group, text)
        self.skipped = []  # (group, command, text)

    def path(self, program):
        return program if "/" in program else str(self.build / "tests" / program)

    def call(self, command, group, first_round, rounds):
        argv = [self.path(command.program), *command.arguments, "--round", str(first_round),
                "--rounds", str(rounds)]
        try:
            done = subprocess.run(argv, env=self.environment, text=True, capture_output=True,
                                  timeout=COMMAND_S, stdin=subprocess.DEVNULL,
                                  preexec_fn=die_with_parent)
        except OSError as error:
            raise Failed(f"cannot be started: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise Failed(f"not done within {COMMAND_S} s") from error
        if done.returncode == groups.SKIPPED:
            raise Skipped(last_line(done.stderr))
        if done.returncode != 0:
            raise Failed(f"exit code {done.returncode}: {last_line(done.stderr)}")
        return parse(command, group, done.stdout)

    def run_command(self, command, group, first_round, rounds):
        """Its lines; [] and one problem more when it failed."""
        name = f"{Path(command.program).name} {command.label}".strip()
        try:
            return self.call(command, group, first_round, rounds)
        except Skipped as reason:
            self.skipped.append((group.name, name, str(reason)))
            self.say(f"{group.name}: {name}: skipped: {reason}")
        except Failed as problem:
            self.problems.append((group.name, f"{name}: {problem}"))
            self.say(f"{group.name}: {name}: FAILED: {problem}")
        return []

    def run_group(self, group):
        size = groups.QUICK if self.options.quick else groups.FULL
        rounds = self.options.rounds or (1 if self.options.quick else group.rounds)
        left = group.commands(size)
        lines = []
        began = time.monotonic()
        for turn in range(1 if group.inside else rounds):
            at = turn % len(left) if left else 0
            ran = []
            for command in left[at:] + left[:at]:
                got = self.run_command(command, group, turn, rounds if group.inside else 1)
                lines += got
                if got:
                    ran.append(command)
            left = [command for command in left if command in ran]
            if not group.inside:
                self.say(f"{group.name}: round {turn + 1} of {rounds}, "
                         f"{time.monotonic() - began:.0f} s")
        for line in lines:
            if line["checked"] is not True:
                self.problems.append((group.name, f"{line['variant']}, round {line['round']}: "
                                                  "not every job was done exactly once"))
        self.say(f"{group.name}: {len(lines)} measurements, {time.monotonic() - began:.0f} s")
        return lines

    def say(self, text):
        print(f"bench: {text}", file=sys.stderr, flush=True)


def read_results(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_results(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def draw(options, out, say):
    """Plots, where there is a Python that can."""
    for old in out.glob("*.svg"):
        old.unlink()
    if not options.plot_python:
        return
    here = Path(__file__).resolve().parent
    done = subprocess.run([options.plot_python, str(here / "plots.py"), str(out)], text=True,
                          capture_output=True, timeout=300)
    if done.returncode != 0:
        say(f"no plots: {last_line(done.stderr)}")


def arguments():
    root = Path(__file__).resolve().parent.parent.parent
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n")[0])
    parser.add_argument("--group", action="append", metavar="G", help="this group (repeatable); "
                        "the results of others in the folder stay")
    parser.add_argument("--rounds", type=int, help="instead of each group's own number")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--list", action="store_true", help="the groups")
    parser.add_argument("--report", action="store_true", help="the report of what is there, anew")
    parser.add_argument("--out", type=Path, help="folder of the results (build/bench, or "
                        "build/bench-quick)")
    parser.add_argument("--build", type=Path, default=root / "build", help="folder of the build")
    parser.add_argument("--plot-python", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in options.group or []:
        if groups.named(name) is None:
            parser.error(f"no group \"{name}\", see --list")
    options.build = options.build.resolve()
    options.out = options.out or options.build / ("bench-quick" if options.quick else "bench")
    return options


def main():
    options = arguments()
    if options.list:
        for group in groups.GROUPS:
            print(f"{group.name:<20}{group.help}")
        return 0
    wanted = [g for g in groups.GROUPS
              if (g.name in options.group if options.group else not g.by_name_only)]
    results = options.out / "results.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    runner = Runner(options)
    lines = read_results(results) if options.report or options.group else []
    for group in [] if options.report else wanted:
        lines = [line for line in lines if line["group"] != group.name] + runner.run_group(group)
        write_results(results, lines)
    draw(options, options.out, runner.say)
    text = report.markdown(lines, runner, options)
    (options.out / "report.md").write_text(text)
    print(text)
    print(f"{len(lines)} measurements in {options.out}")
    return 1 if runner.problems else 0


if __name__ == "__main__":
    sys.exit(main())
