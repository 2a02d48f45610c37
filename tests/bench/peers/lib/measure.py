"""Measures one peer once: fill the queue, start its workers, wait for the last job, check, print.

A job is 200 bytes, the first eight of which are its number (0 .. N-1); doing it is to *mark* it:
the worker process keeps (number, monotonic ns) in memory, and a few times a second appends what is
new to a file of its own in $BENCH_MARKS, 16 bytes a job, both little-endian 64 bit. So a mark costs
no round trip, and what was done, when and how often is known without asking the queue.

The rate counts from the first job done to the last: the start of the processes is not in it. With
several worker processes it counts from when the last of them had done its first job.

A peer's "best" is its documented settings, of which a few values were tried (each `run` says which)
and the fastest taken; so was Stillhouse's.
"""

import argparse
import array
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import children

STUCK_S = 60.0  # no job done for so long: the run failed
LINGER_S = 0.4  # after the last job: time for a second delivery to show
STOP_S = 10.0


def arguments():
    parser = argparse.ArgumentParser()
    for option in ("name", "version", "settings", "variant", "fill", "work"):
        parser.add_argument("--" + option, required=True)
    parser.add_argument("--server", help="a server of the peer's own, started first")
    parser.add_argument("--workers", type=int, default=1, help="times that --work is started")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--round", type=int, default=1)
    return parser.parse_args()


class Processes:
    """The peer's processes, each a session of its own, so that its children end with it."""

    def __init__(self, folder):
        self.log_path = folder / "log"
        self.running = []

    def start(self, command, **extra):
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen(shlex.split(command), stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True, env=os.environ | extra,
                                       preexec_fn=children.end_with_parent)
        self.running.append(process)
        return process

    def fail(self, why):
        tail = self.log_path.read_text(errors="replace").splitlines()[-15:]
        sys.exit("\n".join(tail + ["peers: " + why]))

    def stop(self):
        for process in reversed(self.running):
            kill_group(process, signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
            kill_group(process, signal.SIGKILL)
            process.wait()
        self.running = []


def kill_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def marked(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder)) // 16


def wait_for_jobs(processes, folder, jobs):
    done, moved_at = 0, time.monotonic()
    while done < jobs:
        time.sleep(0.05)
        now_done = marked(folder)
        if now_done > done:
            done, moved_at = now_done, time.monotonic()
        if time.monotonic() - moved_at > STUCK_S:
            processes.fail(f"stuck at {done} of {jobs} jobs")
        for process in processes.running:
            if process.poll() is not None:
                processes.fail(f"\"{process.args[0]}\" ended with {process.returncode}")


def read_marks(folder):
    """One list of (number, ns) for each worker process."""
    files = []
    for path in sorted(folder.iterdir()):
        words = array.array("Q", path.read_bytes())
        files.append(list(zip(words[0::2], words[1::2])))
    return [marks for marks in files if marks]


def rate(files, jobs):
    """Jobs a second, and how many of the jobs that is measured on."""
    begin = max(min(ns for _, ns in marks) for marks in files)
    counted = [ns for marks in files for _, ns in marks if ns > begin]
    if len(counted) * 2 < jobs:
        sys.exit("peers: over half of the jobs were done before the last worker began: more jobs!")
    return len(counted) / (max(counted) - begin) * 1e9, len(counted)


def run(options, processes, marks_folder):
    if options.server:
        processes.start(options.server)
        time.sleep(0.5)
    filler = processes.start(options.fill)
    if filler.wait() != 0:
        processes.fail(f"the queue could not be filled: {filler.returncode}")
    processes.running.remove(filler)
    for number in range(options.workers):
        processes.start(options.work, BENCH_WORKER=str(number))
    wait_for_jobs(processes, marks_folder, options.jobs)
    time.sleep(LINGER_S)
    return read_marks(marks_folder)  # before the end: a killed worker's last jobs are given out again


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        marks_folder = pathlib.Path(name) / "marks"
        marks_folder.mkdir()
        os.environ |= {"BENCH_MARKS": str(marks_folder), "BENCH_FOLDER": name}
        processes = Processes(pathlib.Path(name))
        try:
            files = run(options, processes, marks_folder)
        finally:
            processes.stop()
    numbers = sorted(number for marks in files for number, _ in marks)
    checked = numbers == list(range(options.jobs))
    value, counted = rate(files, options.jobs)
    print(json.dumps({
        "group": "peers", "variant": f"{options.name}, {options.variant}", "round": options.round,
        "value": round(value, 1), "unit": "jobs/s", "jobs": options.jobs, "checked": checked,
        "measured_on": counted, "version": options.version, "settings": options.settings,
        "store": "its own server" if options.server else "Redis"}))
    sys.exit(0 if checked else f"peers: {options.name}: {len(numbers)} marks, "
             f"{len(set(numbers))} different jobs of {options.jobs}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
