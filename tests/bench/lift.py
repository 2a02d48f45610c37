#!/usr/bin/python3
"""What examples are worth to a small chat model, and in which form it makes most of them.

    tests/bench/lift.py [--questions N] [--seconds S]

Two tasks on the synopses of Debian packages: name the section, one of 14, and the role that debtags
gives the package, one of 9. 4,000 experiences a task (the synopsis as prompt, the answer as result) are
distilled by a fleet of its own: Redis, Chroma, a worker with the builtin embedder. The questions are
synopses of other source packages, as many of each answer as there are. Every question is asked in each
form, one after the other, so that all forms have the same questions; a grammar holds the model's answer
to the words of the task, so that every answer counts. The packages are those that this machine's apt
knows, the model is the one of deploy/get-model.

Prints a table; with --lines what tests/bench/bench.py reads. Exit code 77 where there is no model or no
package list, with the reason.
"""
import argparse
import collections
import contextlib
import ctypes
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CANNOT = 77
EXPERIENCES = 4000  # a task
HELD_OUT = 8  # of so many source packages one is for questions
EXAMPLES, MANY_EXAMPLES = 3, 8
WAIT_S = 60  # for a server to answer, and for the fleet to make some progress
ANSWER_S = 120


class Failed(Exception):
    """What did not work, and why."""


class Cannot(Exception):
    """This machine lacks what the experiment needs; the text says what."""


# ---- the tasks -----------------------------------------------------------------------------------

@dataclass
class Package:
    name: str
    source: str
    synopsis: str
    labels: dict  # of each task, where it has one


@dataclass
class Task:
    name: str
    instruction: str
    words: tuple
    experiences: list = field(default_factory=list)  # packages
    questions: list = field(default_factory=list)

    @property
    def domain(self):
        return f"lift-{self.name}"

    @property
    def system(self):
        return f"{self.instruction} Answer with one word of: {', '.join(self.words)}."

    @property
    def grammar(self):
        return "root ::= " + " | ".join(f'"{word}"' for word in self.words)


def tasks():
    return [
        Task("sections", "Name the section of the Debian package with this description.",
             ("admin", "database", "devel", "editors", "fonts", "games", "graphics", "mail", "math",
              "net", "science", "sound", "text", "web")),
        Task("roles", "Name the role of the Debian package with this description.",
             ("program", "shared-lib", "devel-lib", "plugin", "documentation", "app-data", "data",
              "debug-symbols", "metapackage")),
    ]


def read_packages():
    """One package for each synopsis, in the order of apt's lists."""
    try:
        text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False).stdout
    except OSError:
        text = b""
    if not text:
        raise Cannot("apt knows no packages here: apt-get update gets its lists")
    known = set()
    for stanza in text.decode(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*(?:\n .*)*)", stanza, re.MULTILINE))
        synopsis = (fields.get("Description") or fields.get("Description-en") or "").split("\n")[0]
        if len(synopsis.split()) < 4 or synopsis.lower() in known:
            continue
        known.add(synopsis.lower())
        labels = {"sections": fields.get("Section", "").split("/")[-1]}
        roles = set(re.findall(r"\brole::([a-z-]+)", fields.get("Tag", "")))
        if len(roles) == 1:
            labels["roles"] = roles.pop()
        source = fields.get("Source", fields["Package"]).split()[0]
        yield Package(fields["Package"], source, synopsis, labels)


def by_turns(packages, task, count):
    """The first `count`: one of each label, again one of each, and so on while there are any."""
    piles = collections.defaultdict(list)
    for package in packages:
        piles[package.labels[task.name]].append(package)
    for pile in piles.values():  # an order that says nothing, the same on every machine
        pile.sort(key=lambda package: zlib.crc32(package.name.encode()), reverse=True)
    taken = []
    while len(taken) < count and any(piles.values()):
        taken += [piles[word].pop() for word in task.words if piles[word]]
    return taken[:count]


def divide(task, packages, questions):
    """Gives the task its experiences and, from other source packages, its questions."""
    mine = [package for package in packages if package.labels.get(task.name) in task.words]

    def is_held(package):
        return zlib.crc32(package.source.encode()) % HELD_OUT == 0

    task.experiences = by_turns([p for p in mine if not is_held(p)], task, EXPERIENCES)
    task.questions = by_turns([p for p in mine if is_held(p)], task, questions)
    if len(task.experiences) < EXPERIENCES or len(task.questions) < questions:
        raise Cannot(f"apt's lists give {len(task.experiences)} experiences and "
                     f"{len(task.questions)} questions for {task.name}; {EXPERIENCES} and "
                     f"{questions} are needed")


# ---- processes -----------------------------------------------------------------------------------

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def running(argv, folder, environment=None):
    """A process that ends with the block; its output is in <folder>/<program>.log."""
    log = folder / f"{Path(argv[0]).name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=output, env=environment, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def wait_for(what, process, answers):
    until = time.monotonic() + WAIT_S
    while not answers():
        if process.poll() is not None:
            raise Failed(f"{what} ended with exit code {process.returncode}")
        if time.monotonic() > until:
            raise Failed(f"{what} did not answer within {WAIT_S} s")
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
        return json.load(reply)


def answers_http(url):
    try:
        return bool(http(url))
    except OSError:
        return False


class Fleet:
    """A Redis, a Chroma and a worker of its own, and the program `stillhouse` to speak to them."""

    def __init__(self, folder, build):
        self.folder = folder
        self.program = str(build / "bin" / "stillhouse")
        self.worker = str(build / "bin" / "stillhouse-worker")
        for program in (self.program, self.worker):
            if not os.access(program, os.X_OK):
                raise Failed(f"no {program}: build first (cmake --preset release)")
        self.chroma_url = f"http://127.0.0.1:{free_port()}"
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("STILLHOUSE_")}
        self.environment["STILLHOUSE_REDIS_URL"] = f"unix://{folder}/redis.socket"
        self.environment["STILLHOUSE_CHROMA_URL"] = self.chroma_url

    @contextlib.contextmanager
    def started(self):
        chroma = os.environ.get("STILLHOUSE_TEST_CHROMA") or str(ROOT / "deploy/chroma-server")
        settings = self.folder / "chroma.yaml"
        settings.write_text(f'persist_path: "{self.folder}/chroma"\nlisten_address: "127.0.0.1"\n'
                            f"port: {self.chroma_url.rsplit(':', 1)[1]}\n", encoding="utf-8")
        redis = ["redis-server", "--port", "0", "--unixsocket", f"{self.folder}/redis.socket",
                 "--dir", str(self.folder), "--save", ""]
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(running(redis, self.folder))
            wait_for("Redis", server, (self.folder / "redis.socket").exists)
            server = stack.enter_context(running([chroma, str(settings)], self.folder))
            wait_for("Chroma", server,
                     lambda: answers_http(self.chroma_url + "/api/v2/heartbeat"))
            self.call("init")
            stack.enter_context(running([self.worker, "--http", "off"], self.folder,
                                        self.environment))
            yield

    def call(self, *arguments, text=""):
        done = subprocess.run([self.program, *arguments], input=text, text=True, check=False,
                              capture_output=True, timeout=ANSWER_S, env=self.environment)
        if done.returncode != 0:
            raise Failed(f"stillhouse {' '.join(arguments[:2])}: exit code {done.returncode}: "
                         f"{done.stderr.strip()[-300:]}")
        return done.stdout

    def distill(self, task):
        """The task's experiences, until each of them is stored."""
        lines = [{"domain": task.domain, "task_id": package.name, "prompt": package.synopsis,
                  "result": package.labels[task.name], "success": True, "quality": 1.0}
                 for package in task.experiences]
        before = self.distilled()
        self.call("enqueue", "distill", "--jsonl", "-",
                  text="".join(json.dumps(line) + "\n" for line in lines))
        done = before
        moved = time.monotonic()
        while done < before + len(lines):
            time.sleep(0.1)
            now = self.distilled()
            if now > done:
                done, moved = now, time.monotonic()
            if time.monotonic() > moved + WAIT_S:
                raise Failed(f"{before + len(lines) - done} of {len(lines)} experiences of "
                             f"{task.name} are not stored, and none was within {WAIT_S} s")

    def distilled(self):
        queue = json.loads(self.call("stats", "--json"))["queues"]["distill"]
        return queue["counters"].get("done", 0)

    def block(self, task, question):
        """The task and the question as one prompt, with 3 examples in a block before it."""
        out = json.loads(self.call("prompt", "--domain", task.domain, "--query", question,
                                   "--base", "-", "--wait", "30s", "--json",
                                   text=f"{task.system}\n{question}"))
        if out["examples"] != EXAMPLES:
            raise Failed(f"{out['examples']} examples for \"{question}\": {out['reason']}")
        return out["prompt"]

    def messages(self, task, question):
        """8 examples as messages, the nearest last."""
        out = json.loads(self.call("prompt", "--messages", "--domain", task.domain, "--query",
                                   question, "--k", str(MANY_EXAMPLES), "--wait", "30s", "--json"))
        if out["examples"] != MANY_EXAMPLES:
            raise Failed(f"{out['examples']} examples for \"{question}\": {out['reason']}")
        return out["messages"]


class Model:
    """The chat model behind OpenAI's HTTP interface."""

    def __init__(self, url):
        self.url = url + "/v1/chat/completions"

    @staticmethod
    @contextlib.contextmanager
    def started(program, folder, threads):
        with running([str(program), "0", str(threads)], folder) as server:
            url = server.stdout.readline().decode().strip()
            if not url:
                raise Failed(f"the model's server ended with exit code {server.wait()}")
            yield Model(url)

    def answer(self, task, messages):
        """The word it says, and the seconds it took."""
        start = time.monotonic()
        reply = http(self.url, {"messages": [{"role": "system", "content": task.system}, *messages],
                                "temperature": 0, "max_tokens": 16, "grammar": task.grammar})
        took = time.monotonic() - start
        word = reply["choices"][0]["message"]["content"]
        if word not in task.words:
            raise Failed(f"the model answered \"{word}\", which is none of: {', '.join(task.words)}")
        return word, took


def get_model():
    """The program that starts its server."""
    done = subprocess.run([str(ROOT / "deploy/get-model")], stdout=sys.stderr, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode == CANNOT:
        raise Cannot(done.stderr.strip().removeprefix("get-model: "))
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return Path(os.environ.get("STILLHOUSE_DEPS") or ROOT / ".deps") / "model" / "run"


def idle_cores():
    """Cores that nobody used for a second; at least one."""
    def idle_ticks():
        with open("/proc/stat", encoding="ascii") as stat:
            ticks = [int(word) for word in stat.readline().split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)

    idle, all_ = idle_ticks()
    time.sleep(1)
    idle_now, all_now = idle_ticks()
    share = (idle_now - idle) / max(1, all_now - all_)
    return max(1, min(len(os.sched_getaffinity(0)), round(share * os.cpu_count())))


# ---- the experiment ------------------------------------------------------------------------------

@dataclass
class Asked:
    """A question and what the fleet gave for it."""
    question: str
    block: str
    examples: list  # messages, the nearest last

    @property
    def user(self):
        return {"role": "user", "content": self.question}


ARMS = {
    "the question alone": lambda asked: [asked.user],
    "3 examples in a block": lambda asked: [{"role": "user", "content": asked.block}],
    "1 example as messages": lambda asked: asked.examples[-2:] + [asked.user],
    "3 examples as messages": lambda asked: asked.examples[-6:] + [asked.user],
    "8 examples as messages": lambda asked: asked.examples + [asked.user],
}
MAJORITY = "no model: majority of 8"
BLOCK, MESSAGES = "3 examples in a block", "3 examples as messages"


@dataclass
class Score:
    asked: int = 0
    right: int = 0
    seconds: float = 0

    def count(self, is_right, seconds=0.0):
        self.asked += 1
        self.right += is_right
        self.seconds += seconds

    @property
    def share(self):
        return self.right / self.asked

    def interval(self):
        """Wilson's, of 95 %."""
        z = 1.959964
        n, p = self.asked, self.share
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return round(max(0.0, middle - half), 9), round(min(1.0, middle + half), 9)


def majority(examples):
    """The commonest answer; of those that are as common, the one with the nearest example."""
    answers = [message["content"] for message in reversed(examples) if message["role"] == "assistant"]
    return collections.Counter(answers).most_common(1)[0][0]


def ask_all_forms(fleet, model, task, package, turn):
    """{arm: (is right, seconds)}, the arms in an order that moves on with `turn`."""
    question, right = package.synopsis, package.labels[task.name]
    asked = Asked(question, fleet.block(task, question), fleet.messages(task, question))
    results = {MAJORITY: (majority(asked.examples) == right, 0.0)}
    arms = list(ARMS)
    at = turn % len(arms)
    for arm in arms[at:] + arms[:at]:
        word, seconds = model.answer(task, ARMS[arm](asked))
        results[arm] = (word == right, seconds)
    return results


def measure(fleet, model, all_tasks, questions, until, say):
    """{task name: {arm: Score}}: question by question and task by task, so that all have the same
    number when time is up."""
    scores = {task.name: {arm: Score() for arm in (*ARMS, MAJORITY)} for task in all_tasks}
    for turn in range(questions):
        if turn > 0 and time.monotonic() > until:
            break
        found = {task.name: ask_all_forms(fleet, model, task, task.questions[turn], turn)
                 for task in all_tasks}
        for name, results in found.items():
            for arm, result in results.items():
                scores[name][arm].count(*result)
        say(f"{turn + 1} of {questions} questions of each task; right so far: " + "; ".join(
            f"{name} {scores[name][BLOCK].share:.0%} block, {scores[name][MESSAGES].share:.0%} messages"
            for name in scores))
    return scores


# ---- what is printed -----------------------------------------------------------------------------

BAR = 36


def bar(score):
    """Full up to the interval's lower end, thin within it."""
    low, high = (round(end * BAR) for end in score.interval())
    return "#" * low + "-" * (high - low)


def verdict(scores):
    """What the two forms of 3 examples are worth, in a sentence."""
    ahead = [name for name, arms in scores.items()
             if arms[MESSAGES].interval()[0] > arms[BLOCK].interval()[1]]
    if len(ahead) == len(scores):
        return "messages are ahead of the block in both tasks, the intervals do not touch"
    apart = f"only in {ahead[0]}" if ahead else "in no task"
    return f"messages are ahead of the block with intervals that do not touch {apart}"


def table(scores):
    lines = []
    for name, arms in scores.items():
        n = next(iter(arms.values())).asked
        lines.append(f"{f'{name}, {n} questions':<26}{'':<{BAR}} right    95 %     s each")
        for arm, score in arms.items():
            low, high = score.interval()
            seconds = f"{score.seconds / score.asked:5.2f}" if score.seconds else ""
            lines.append(f"  {arm:<24}{bar(score):<{BAR}} {score.share:4.0%}  {low * 100:2.0f} to "
                         f"{high * 100:3.0f}  {seconds}".rstrip())
    return "\n".join([*lines, verdict(scores)])


def bench_lines(scores, round_):
    for name, arms in scores.items():
        for arm, score in arms.items():
            low, high = score.interval()
            yield {"group": "lift", "variant": f"{name}: {arm}", "series": arm, "round": round_,
                   "value": 100 * score.share, "unit": "% right", "jobs": score.asked,
                   "checked": True, "low": 100 * low, "high": 100 * high,
                   "seconds": score.seconds / score.asked}


class Progress:
    """What is going on, on standard error: on a terminal one line that is written over."""

    def __init__(self):
        self.began = time.monotonic()
        self.is_terminal = sys.stderr.isatty()
        self.said = 0.0

    def say(self, text):
        now = time.monotonic()
        if self.is_terminal:
            print(f"\r\x1b[K{now - self.began:4.0f} s  {text}"[:110], end="", file=sys.stderr,
                  flush=True)
        elif now - self.said > 30:
            self.said = now
            print(f"{now - self.began:4.0f} s  {text}", file=sys.stderr, flush=True)

    def end(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def experiment(options, progress):
    until = progress.began + options.seconds if options.seconds else math.inf
    program = get_model()
    all_tasks = tasks()
    packages = list(read_packages())
    for task in all_tasks:
        divide(task, packages, options.questions)
    with tempfile.TemporaryDirectory(prefix="stillhouse-lift-") as name:
        folder = Path(name)
        fleet = Fleet(folder, options.build)
        with fleet.started():
            for task in all_tasks:
                progress.say(f"learning {EXPERIENCES} experiences of {task.name}")
                fleet.distill(task)
            with Model.started(program, folder, options.threads or idle_cores()) as model:
                return measure(fleet, model, all_tasks, options.questions, until, progress.say)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"\"{text}\" is not 1 or more")
    return number


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--questions", type=positive, default=400, metavar="N",
                        help="of each task (default 400)")
    parser.add_argument("--seconds", type=positive, metavar="S",
                        help="end after so long, with as many questions as it got through")
    parser.add_argument("--threads", type=positive, metavar="N",
                        help="of the model (default: as many as there are idle cores)")
    parser.add_argument("--build", type=Path, help="folder of the build",
                        default=Path(os.environ.get("STILLHOUSE_BIN") or ROOT / "build/bin").parent)
    parser.add_argument("--lines", action="store_true", help="a line of JSON for each figure")
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        scores = experiment(options, progress)
    except Cannot as reason:
        progress.end()
        print(f"lift: skipped: {reason}", file=sys.stderr)
        return CANNOT
    except (Failed, OSError, subprocess.TimeoutExpired) as problem:
        progress.end()
        print(f"lift: {problem}", file=sys.stderr)
        return 1
    progress.end()
    if options.lines:
        for line in bench_lines(scores, options.round):
            print(json.dumps(line))
    else:
        print(table(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
