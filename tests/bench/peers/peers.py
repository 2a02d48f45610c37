"""Runs the adapters, each on a Redis of its own, interleaved; see `run` beside this file.

A round runs every variant once, each round begins with another one (A B C, B C A, ...), and a ratio
is always that of two measurements of one round, since the machine is not the same from one minute to
the next. The table has the median of the rounds.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "lib"))
sys.dont_write_bytecode = True

import children  # noqa: E402

NAMES = ("stillhouse", "bullmq", "bee-queue", "sidekiq", "asynq", "celery", "rq", "dramatiq", "arq",
         "taskiq", "nats", "beanstalkd", "gearmand")
VARIANTS = ("default", "best")
SKIPPED = 77
RUN_S = 300
START_S = 10


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/peers/run")
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(NAMES))
    parser.add_argument("--jobs", type=int, help="jobs of each (default: each its own, 2-5 s)")
    parser.add_argument("--alone", action="store_true",
                        help="only what is named, without stillhouse; exit code 77 where that cannot run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round", type=int, default=0, help="number of the first one")
    parser.add_argument("--variant", choices=VARIANTS, help="only this one")
    parser.add_argument("--bin", help="folder of both Stillhouse programs (build/bin)")
    parser.add_argument("--no-table", action="store_true", help="JSON lines only")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no adapter \"{min(unknown)}\"")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def redis_server():
    """A new Redis, nothing kept on disk; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="peers-redis-") as folder:
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", folder, "--logfile", "log"],
            preexec_fn=children.end_with_parent)
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()
            process.wait()


def wait_for_port(port):
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("peers: redis-server does not start")
            time.sleep(0.02)


def set_up(names):
    """Those that can run here."""
    ready = []
    for name in names:
        done = subprocess.run([HERE / name / "setup"], text=True, stdout=subprocess.PIPE, check=False)
        if done.returncode == 0:
            ready.append(name)
        else:
            say(done.stdout.strip() or f"peers: {name} skipped: setup ended with {done.returncode}")
    return ready


def measure(name, variant, number, jobs):
    """The adapter's result, or None and the reason on standard error."""
    with redis_server() as port:
        command = [HERE / name / "run", "--redis-port", str(port), "--variant", variant,
                   "--round", str(number), *(["--jobs", str(jobs)] if jobs else [])]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE,
                                   preexec_fn=children.end_with_parent)
        try:
            output, _ = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.communicate()
            output = ""
    if process.returncode != 0 or not output:
        say(f"peers: {name}, {variant}: FAILED in round {number}")
        return None
    return json.loads(output)


def versus(results, rows, ours):
    """Median over the rounds of ours / rows."""
    by_round = {row["round"]: row["value"] for row in results if row["variant"] == ours}
    ratios = [by_round[row["round"]] / row["value"] for row in rows if row["round"] in by_round]
    return statistics.median(ratios) if ratios else None


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(results):
    """Markdown; `results` in the order of measuring."""
    print("\n| system | jobs/s, median (min - max) | Stillhouse is | settings |")
    print("| --- | ---: | ---: | --- |")
    groups = {}
    for row in results:
        groups.setdefault(row["variant"], []).append(row)
    for variant, rows in sorted(groups.items(), key=lambda item: -middle(item[1])):
        name, kind = variant.split(", ")
        ratio = None if name == "stillhouse" else versus(results, rows, f"stillhouse, {kind}")
        values = [row["value"] for row in rows]
        print(f"| {name} {rows[0]['version']}, {kind} | {number(middle(rows))} "
              f"({number(min(values))} - {number(max(values))}) | "
              f"{f'{ratio:.1f} x' if ratio else ''} | {rows[0]['settings']}; {rows[0]['store']} |")
    peers = {variant: rows for variant, rows in groups.items()
             if rows[0]["store"] == "Redis" and not variant.startswith("stillhouse")}
    if peers:
        variant, rows = max(peers.items(), key=lambda item: middle(item[1]))
        ratio = versus(results, rows, "stillhouse, default")
        if ratio:
            print(f"\nThe fastest peer on Redis is {variant}; Stillhouse with its default settings "
                  f"does {ratio:.1f} times as many.")


def middle(rows):
    return statistics.median(row["value"] for row in rows)


def main():
    options = arguments()
    if options.bin:
        os.environ["STILLHOUSE_BIN"] = str(pathlib.Path(options.bin).resolve())
    names = [name for name in NAMES
             if not options.names or name in options.names
             or (name == "stillhouse" and not options.alone)]
    variants = [options.variant] if options.variant else VARIANTS
    plan = [(name, variant) for name in set_up(names) for variant in variants]
    if options.alone and not plan:
        sys.exit(SKIPPED)
    results, failed = [], 0
    for round_number in range(options.round, options.round + options.rounds):
        first = round_number % len(plan) if plan else 0
        for name, variant in plan[first:] + plan[:first]:
            result = measure(name, variant, round_number, options.jobs)
            if result is None:
                failed += 1
                continue
            results.append(result)
            print(json.dumps(result), flush=True)
    if results and not options.no_table:
        table(results)
    sys.exit(1 if failed or not results else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
