"""The books: what was accepted, what is seen of it while the run goes on, and the final account.

    Books     the accepted jobs, and the replies to those that asked for one
    Sampler   asks sh_stats a few times a second: conservation, and how long nothing moved
    audit()   once everything is drained: where is each job?
"""
import collections
import json
import threading
import time
import urllib.error
import urllib.request

import msgpack
import redis

from load import DOMAINS, text_hash
from records import audit_store
from servers import QUEUES

SAMPLE_EVERY_S = 0.2
REPLIES_EVERY_S = 1.0
STALL_SAID_S = 2.5
SLICE = 500


def base(queue):
    return "sh:{%s}" % queue


class Books(threading.Thread):
    """Looks for the replies as the run goes on, since they live for five minutes only."""

    def __init__(self, lab, run):
        super().__init__(daemon=True)
        self.lab, self.run_id = lab, run
        self.lock = threading.Lock()
        self.jobs = []
        self.waiting = {}  # id -> job whose reply was not seen yet
        self.answered = collections.deque()  # jobs whose reply was seen
        self.wrong = []  # replies that are not what was asked for
        self.doubled = []  # replies there more than once

    def accept(self, job):
        with self.lock:
            self.jobs.append(job)
            if job.replies:
                self.waiting[job.id] = job

    def run(self):
        while not self.lab.stopping.wait(REPLIES_EVERY_S):
            try:
                self.look()
            except redis.RedisError:
                pass  # asked again the next time

    def look(self):
        with self.lock:
            jobs = list(self.waiting.values())
        for start in range(0, len(jobs), SLICE):
            some = jobs[start:start + SLICE]
            for job, found in zip(some, self.read(some)):
                if found:
                    self.judge(job, found)

    def read(self, jobs):
        with self.lab.direct.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.lrange(f"{base(job.queue)}:reply:{job.id}", 0, -1)
            return pipe.execute()

    def judge(self, job, found):
        with self.lock:
            if self.waiting.pop(job.id, None) is None:
                return
            self.answered.append(job)
        if len(found) != 1:
            self.doubled.append(job.id)
        if not is_answer(job, found[0]):
            self.wrong.append(f"{job.queue} {job.id}: {found[0][:200]!r}")

    def look_again(self):
        """The replies that still stand there: run at the end, when a late second one would show."""
        jobs = list(self.answered)
        for start in range(0, len(jobs), SLICE):
            some = jobs[start:start + SLICE]
            for job, found in zip(some, self.read(some)):
                if len(found) > 1:
                    self.doubled.append(job.id)


def is_answer(job, reply):
    if job.queue == "echo":
        return reply == job.body
    result = msgpack.unpackb(reply)
    return (result.get("v") == 1 and result.get("domain") == job.domain
            and result.get("query_hash") == text_hash(job.query)
            and isinstance(result.get("examples"), list) and not result.get("error"))


class Sampler(threading.Thread):
    def __init__(self, lab, log):
        super().__init__(daemon=True)
        self.lab, self.log = lab, log
        self.samples = self.unanswered = 0
        self.closed = False  # the books are repaired
        self.unbalanced = []
        self.went_back = []  # a counter that fell: Redis lost what it had acknowledged
        self.now = {}  # queue -> its last statistics
        self.stall = (0.0, "")  # the longest, and where
        self.longest_answer_s = 0.0  # of Redis, with every server up
        self.still = {}  # queue -> how long nothing has moved in it
        self.still_since = dict.fromkeys(QUEUES, time.monotonic())

    def run(self):
        while not self.lab.stopping.wait(SAMPLE_EVERY_S):
            self.sample()

    def sample(self):
        """One atomic read a queue. True when all were answered."""
        if self.closed:
            return True
        strangers = dict(self.lab.strangers)
        began = time.monotonic()
        try:
            with self.lab.direct.pipeline(transaction=False) as pipe:
                for queue in QUEUES:
                    pipe.execute_command("FCALL_RO", "sh_stats", 1, base(queue))
                answers = pipe.execute()
        except redis.RedisError:
            self.unanswered += 1
            return False
        if began > self.lab.weather.clear_since():
            self.longest_answer_s = max(self.longest_answer_s, time.monotonic() - began)
        for queue, flat in zip(QUEUES, answers):
            n = {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}
            self.samples += 1
            self.check_balance(queue, n, range(strangers[queue], self.lab.strangers[queue] + 1))
            self.check_progress(queue, n)
            self.now[queue] = n
        return True

    def check_balance(self, queue, n, strangers):
        """`strangers`: how many entries nobody counted, since they were put there by hand."""
        left = n["enqueued"] + n["requeued"] + n.get("adjusted", 0)
        right = (n["done"] + n["buried"] + n["expired"] + n["waiting"] + n["running"]
                 + n["delayed"])
        if (right - left not in strangers
                or n["buried"] != n["dead"] + n["requeued"] + n["discarded"]):
            self.unbalanced.append(f"{queue}: {left} != {right} or buried is wrong: {n}")
            self.log(f"UNBALANCED {self.unbalanced[-1]}")

    def check_progress(self, queue, n):
        before = self.now.get(queue, n)
        fallen = [name for name in ("enqueued", "done", "buried") if n[name] < before[name]]
        if fallen:
            self.went_back.append(f"{queue}: {', '.join(fallen)} fell: {before} -> {n}")
            self.log(f"WENT BACK {self.went_back[-1]}")
        now = time.monotonic()
        if n["done"] + n["buried"] != before["done"] + before["buried"] or n["waiting"] == 0:
            self.still_since[queue] = now
        clear = self.lab.weather.clear_since()
        if queue in ("record", "vector"):
            clear = max(clear, self.lab.store_weather.clear_since())
        still = now - max(self.still_since[queue], clear)
        if still < self.still.get(queue, 0) > STALL_SAID_S:
            self.log(f"{queue}: nothing moved for {self.still[queue]:.1f} s: {before}")
        self.still[queue] = still
        if still > self.stall[0]:
            self.stall = (still, queue)

    def outstanding(self):
        return sum(n[state] for n in self.now.values()
                   for state in ("waiting", "running", "delayed"))

    def total(self, counter):
        return sum(n[counter] for n in self.now.values())


# ---- the final account ----

class Account:
    """Per queue: jobs accepted, lost (by id; or by the counters alone), accepted twice."""

    def __init__(self):
        self.accepted = dict.fromkeys(QUEUES, 0)
        self.lost = {queue: set() for queue in QUEUES}
        self.lost_uncounted = dict.fromkeys(QUEUES, 0)
        self.doubled = []
        self.twice = dict.fromkeys(QUEUES, 0)  # accepted once more after an unknown outcome
        self.stats = {}
        self.problems = []
        self.rows = self.parts = self.vectors = 0  # of the learning store

    def lost_count(self, queue):
        return max(len(self.lost[queue]), self.lost_uncounted[queue])


def audit(lab, books, sampler, producer, outbox):
    account = Account()
    books.look()
    books.look_again()
    if not sampler.sample():
        account.problems.append("sh_stats is not answered at the end")
    account.stats = dict(sampler.now)
    audit_dead(lab, books, account)
    audit_replies(books, account)
    for domain in DOMAINS:
        audit_collection(lab, domain, books.jobs, account)
    audit_store(lab, books.jobs, outbox, account)
    audit_counters(lab, books, producer, outbox, account)
    audit_keys(lab, account)
    sampler.closed = True
    for arguments in (("verify", "--repair"), ("verify",)):
        done = lab.stillhouse(*arguments)
        if done.returncode != 0:
            account.problems.append(f"stillhouse {' '.join(arguments)}: exit code "
                                    f"{done.returncode}: {done.stdout}{done.stderr}")
    return account


def audit_dead(lab, books, account):
    """The dead are the poisoned, and nobody else."""
    for queue in QUEUES:
        letters, strangers = {}, 0
        for _, fields in lab.direct.xrange(base(queue) + ":dead"):
            if fields.get(b"id", b"").startswith(books.run_id.encode()):
                letters[fields[b"id"].decode()] = fields
            else:
                strangers += 1
        if strangers != lab.strangers[queue]:
            account.problems.append(f"{queue}: {lab.strangers[queue]} entries that are no jobs were "
                                    f"put there, {strangers} are dead")
        poison = {job.id for job in books.jobs if job.poison and job.queue == queue}
        account.lost[queue] |= poison - set(letters)
        for name in set(letters) - poison:
            fields = {k: v[:200] for k, v in letters[name].items()}
            account.problems.append(f"{queue}: job {name} is dead: {fields}")


def audit_replies(books, account):
    for job in books.waiting.values():
        account.lost[job.queue].add(job.id)
    account.doubled += [f"reply of {name}" for name in books.doubled]
    account.problems += [f"a wrong reply: {text}" for text in books.wrong]


def http(lab, path, document=None):
    root = (f"http://127.0.0.1:{lab.chroma_port}/api/v2/tenants/default_tenant"
            "/databases/default_database/collections/")
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(root + path, data=data,
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def audit_collection(lab, domain, jobs, account):
    """Holds each document of each job, as it was given, and not one more."""
    owners = {name: job for job in jobs if job.domain == domain for name in job.documents}
    if not owners:
        return
    found = {}
    try:
        collection = http(lab, f"sh-{domain}")["id"]
        count = http(lab, f"{collection}/count")
        names = list(owners)
        for start in range(0, len(names), SLICE):
            page = http(lab, f"{collection}/get", {"ids": names[start:start + SLICE],
                                                   "include": ["documents"]})
            found.update(zip(page["ids"], page["documents"]))
    except urllib.error.URLError as error:
        account.problems.append(f"sh-{domain}: {error}")
        count = 0
    for name, job in owners.items():
        if name not in found:
            account.lost[job.queue].add(job.id)
        elif found[name] != job.documents[name]:
            account.problems.append(f"sh-{domain}: {name} is {found[name][:200]!r}")
    account.doubled += [f"a document of sh-{domain}"] * max(0, count - len(found))


def audit_counters(lab, books, producer, outbox, account):
    """Jobs that leave no trace of their own are seen here; so is one accepted twice."""
    # An outbox sends again what it had no answer for; an outcome is left anew when its job is.
    again = account.stats["distill"]
    unknown = dict(producer.unknown)
    unknown["vector"] = 0
    unknown["record"] += (len(outbox.parts) + unknown["distill"]
                          + again["reclaimed"] + again["retried"] + again["parked"])
    for queue, n in account.stats.items():
        accepted = sum(job.queue == queue for job in books.jobs)
        if queue == "record":
            accepted += sum(job.outcome is not None for job in books.jobs) + len(outbox.parts)
        elif queue == "vector":
            accepted = n["enqueued"]  # by recorders; that each has its effect audit_vectors sees
        account.accepted[queue] = accepted
        ended = n["done"] + n["buried"] - lab.strangers[queue]
        account.lost_uncounted[queue] = max(0, accepted - ended)
        account.twice[queue] = max(0, n["enqueued"] - accepted)
        if account.twice[queue] > unknown[queue]:
            account.problems.append(
                f"{queue}: {n['enqueued']} accepted for {accepted} jobs, though only "
                f"{unknown[queue]} were sent again")


def audit_keys(lab, account):
    """What a drained queue leaves behind: nothing."""
    for queue in QUEUES:
        for stream in (":jobs", ":jobs:high", ":jobs:low"):
            if lab.direct.xlen(base(queue) + stream) != 0:
                account.problems.append(f"XLEN of {base(queue)}{stream} is not 0")
        if lab.direct.zcard(base(queue) + ":delayed") != 0:
            account.problems.append(f"{base(queue)}:delayed is not empty")
        left = sum(1 for _ in lab.direct.scan_iter(f"{base(queue)}:unique:*", count=1000))
        if left > 0:
            account.problems.append(f"{queue}: {left} unique keys of jobs that ended are left")
