"""Nothing is lost under faults. Started by tests/chaos/run; see --help.

A fleet of its own, with the default limits, works off jobs of every kind while its workers, its
Redis, its Chroma, its embedder, its recorder and the recorder's disk are killed, stopped, cut off,
filled, and made to say what broken servers say. After this dense traffic comes a thin one: a job now and then, and one long outage after the
other. A sampler checks all the while that the books balance. At the end the faults stop, everything
must drain, and each accepted job must be found: done, or dead where that was meant, and what was
recorded in the learning store, each row what its parts make. It knows the contract, and nothing of
the sources.
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

from books import Books, Sampler, audit
from faults import KINDS, OUTAGES, Faults, Thin, without
from load import DOMAINS, Jobs, Producer
from records import Outbox, Records
from report import Progress, checks, details, markdown
from servers import Broken, Lab, Skipped

DRAIN_MAX_S = 120
CALM_JOBS, CALM_S, CALM_MAX_S = 500, 3, 20
OUTBOX_EVERY_S = 1.5
SKIPPED = 77
# A worker may end by itself where it cannot reach Redis at its start: 3 is for that.
CODES_TO_EXPECT = (3,)


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="tests/chaos/run", description="Proves that nothing is lost under faults.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4000, metavar="N", help="jobs to enqueue")
    parser.add_argument("--faults", type=int, default=36, metavar="N",
                        help="faults; each kind at least once")
    parser.add_argument("--minutes", type=float, default=0.75, metavar="M",
                        help="how long jobs and faults come in")
    parser.add_argument("--thin", type=float, default=0.4, metavar="M",
                        help="minutes of thin traffic and long outages afterwards, 0 for none")
    parser.add_argument("--thin-every", type=float, default=1, metavar="S",
                        help="seconds between two jobs of thin traffic")
    parser.add_argument("--outages", type=int, default=4, metavar="N",
                        help="outages one after the other in thin traffic, of "
                             f"{len(OUTAGES)} kinds")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32),
                        metavar="N", help="of jobs and faults; random by itself")
    parser.add_argument("--only", metavar="KIND,...",
                        help="only these kinds of fault: " + ", ".join(KINDS))
    parser.add_argument("--postgres", action="store_true",
                        help="the learning store on a server, which is killed, and two recorders")
    parser.add_argument("--appendfsync", choices=("always", "everysec", "no"), default="always",
                        help="of Redis; everysec may lose what it acknowledged in the last two "
                             "seconds when it is killed while a slow fsync is under way")
    parser.add_argument("--markdown", metavar="FILE", help="the report goes here too")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    parser.add_argument("--bin", type=lambda path: os.path.abspath(path), required=True,
                        help=argparse.SUPPRESS)
    parser.add_argument("--chroma-server", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if kind not in without(options.postgres)]
    options.kinds = tuple(options.only.split(",")) if options.only else tuple(kinds)
    unknown = set(options.kinds) - set(kinds)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if options.faults < len(options.kinds):
        parser.error(f"--faults {options.faults}: there are {len(options.kinds)} kinds")
    if min(options.jobs, options.workers) < 1 or options.minutes <= 0:
        parser.error("--jobs, --workers and --minutes must be more than 0")
    if options.thin < 0 or options.thin_every <= 0 or options.outages < 1:
        parser.error("--thin must not be negative, --thin-every and --outages more than 0")
    return options


class Log:
    """One line an event, with the seconds since the start."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1, encoding="utf-8")
        self.began = time.monotonic()
        self.lock = threading.Lock()

    def __call__(self, text):
        with self.lock:
            self.file.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self.began:8.2f} "
                            f"{text}\n")


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.log = Log(folder / "chaos.log")
        self.began = time.monotonic()
        self.lab = Lab(options, folder, self.log)
        seconds = options.minutes * 60
        jobs = Jobs(options.seed)
        self.books = Books(self.lab, jobs.run)
        self.sampler = Sampler(self.lab, self.log)
        self.producer = Producer(self.lab, jobs, options.jobs, seconds, self.books)
        self.outbox = Outbox(self.lab, Records(random.Random(f"outbox {options.seed}"),
                                               f"{jobs.run}-box"), DOMAINS, OUTBOX_EVERY_S)
        self.faults = Faults(self.lab, options.seed, options.kinds, options.faults, seconds,
                             self.log)
        self.thin = Thin(self.lab, options.seed, options.outages, options.thin * 60, self.log)
        self.progress = Progress()
        self.problems = []

    def show(self, phase):
        self.progress.show(phase, self.producer, self.sampler, self.faults)

    def run(self):
        """The exit code."""
        self.log(f"seed {self.options.seed}")
        self.lab.start()
        self.log(f"the store's disk is filled by {self.lab.disk.what}")
        for thread in (self.books, self.sampler, self.producer, self.outbox):
            thread.start()
        self.until_over("faults", self.faults.run)
        if self.options.thin > 0:
            self.until_over("the producer", self.producer.join)
            outages = self.follow(self.thin.run)
            self.until_over("thin traffic", lambda: self.producer.enqueue_thinly(
                self.options.thin * 60, self.options.thin_every, lambda: not outages.is_alive()))
            outages.join()
        self.log("the faults are over")
        self.until_over("the outbox", self.outbox.end)
        drain_s = self.drain("draining", DRAIN_MAX_S)
        self.log(f"drained after {drain_s} s")
        if drain_s is not None:
            self.calm()
        self.progress.end()
        return self.judge(drain_s)

    @staticmethod
    def follow(work):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def until_over(self, phase, work):
        thread = self.follow(work)
        while thread.is_alive():
            thread.join(0.2)
            self.show(phase)

    def calm(self):
        """Nothing of the faults may stick to a fleet: it takes over and repeats nothing more."""
        before = {name: self.sampler.total(name) for name in ("reclaimed", "retried")}
        self.producer.enqueue_calm(CALM_JOBS, CALM_S)
        took = self.drain("afterwards", CALM_MAX_S)
        self.log(f"the jobs enqueued after the faults took {took} s")
        if took is None:
            self.problems.append(f"{CALM_JOBS} jobs enqueued after the faults were not done within "
                                 f"{CALM_MAX_S} s")
        for name, count in before.items():
            if self.sampler.total(name) > count:
                self.problems.append(f"of {CALM_JOBS} jobs enqueued after the faults, "
                                     f"{self.sampler.total(name) - count} were {name}")

    def drain(self, phase, seconds):
        """Seconds until nothing was outstanding, for good; None when it did not come to that."""
        began = time.monotonic()
        calm_since = None
        while time.monotonic() < began + seconds and self.producer.problem is None:
            samples = self.sampler.samples
            time.sleep(0.3)
            self.show(phase)
            idle = (not self.producer.is_alive() and self.sampler.samples > samples
                    and self.sampler.outstanding() == 0)
            if not idle:
                calm_since = None
            elif calm_since is None:
                calm_since = time.monotonic()
            elif time.monotonic() > calm_since + 2:
                return calm_since - began
        return None

    def judge(self, drain_s):
        account = audit(self.lab, self.books, self.sampler, self.producer, self.outbox)
        problems = (self.problems + self.faults.problems + self.outbox.problems
                    + account.problems)
        problems += [f"{name} ended by itself, exit code {code}"
                     for name, code in self.lab.ended if code not in CODES_TO_EXPECT]
        if self.producer.problem:
            problems.insert(0, self.producer.problem)
        text = markdown(self, account, drain_s, time.monotonic() - self.began)
        print(text)
        if self.options.markdown:
            pathlib.Path(self.options.markdown).write_text(text, encoding="utf-8")
        for line in details(account, self.sampler, problems):
            print(line)
        results = checks(account, self.sampler, problems, drain_s is not None)
        for name, good in results:
            print(f"{'ok    ' if good else 'FAILED'}  {name}")
        bad = sum(not good for _, good in results)
        print(f"{len(results) - bad} passed, {bad} failed")
        return 1 if bad else 0


def say_where(folder, seed):
    print(f"the logs: {folder}    (again: --seed {seed})")


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="stillhouse-chaos-"))
    try:
        run = Run(options, folder)
    except Skipped as missing:
        print(f"chaos: skipped: {missing}")
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(SKIPPED)
    code = 1
    try:
        code = run.run()
    except Broken as error:
        print(f"chaos: {error}")
    except KeyboardInterrupt:
        code = 130
    except SystemExit as ending:
        code = ending.code
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run.lab.stop()
        if options.keep or code == 1:
            say_where(folder, options.seed)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(code)  # threads that wait for what is gone do not hold it up


if __name__ == "__main__":
    main()
