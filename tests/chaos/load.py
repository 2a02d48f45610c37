"""The jobs, and the producer that enqueues them whatever happens.

A call whose outcome is unknown is repeated with the same ids, and with unique=<id>, so that a job
that is outstanding is not added twice. One that was done meanwhile is: its effects are idempotent,
and the books allow for it (`Producer.unknown`).
"""
import dataclasses
import hashlib
import random
import threading
import time

import msgpack
import redis

from embedder import POISON
from records import Records
from servers import PASSWORD, SENT, USER

DOMAINS = ("legal", "medicine", "cooking", "ops.network", "music-theory")
CALL_MAX = 100
CALM_CALL = 5
BACKLOG = 100000
BODY_MAX = 256 * 1024
LARGE = 0.004  # the share of jobs with a body of up to that
# An error reply that says: nothing was done, ask again.
TOLERATED = ("unction not found", "LOADING", "loading", "NOPERM", "no permissions",
             "run this command")
WORDS = """contract tenant notice period fever dosage router subnet latency butter onion simmer
chord scale tempo claim court appeal therapy nurse switch packet firewall oven garlic melody rhythm
lease breach witness vaccine symptom cable gateway flour yeast violin octave judge clause pulse
ward proxy port recipe spice choir treble""".split()


def text_hash(text):
    return hashlib.sha256(b" ".join(text.encode().split())).hexdigest()[:32]


@dataclasses.dataclass
class Job:
    id: str
    queue: str
    domain: str
    options: str
    body: bytes
    # What proves that it was done: a reply, documents (id -> text), a dead letter. A job with none
    # of them is seen in the counters only.
    query: str = ""
    replies: bool = False
    documents: dict = dataclasses.field(default_factory=dict)
    poison: bool = False
    parts: list = dataclasses.field(default_factory=list)  # what a record job says
    outcome: dict = None  # what a distill job leaves for the learning store


class Jobs:
    """Job number N of a seed is always the same, for all that it was."""

    def __init__(self, seed):
        self.chance = random.Random(f"jobs {seed}")
        self.run = f"{random.SystemRandom().getrandbits(32):08x}"
        self.made = 0
        self.records = Records(self.chance, self.run)

    def words(self, count):
        return " ".join(self.chance.choice(WORDS) for _ in range(count))

    def make(self, calm=False):
        number = self.made
        self.made += 1
        chance = self.chance
        queue = chance.choices(SENT, (26, 25, 4, 20, 25))[0]
        job = Job(f"{self.run}-{number}", queue, chance.choice(DOMAINS), "", b"")
        job.poison = queue != "echo" and chance.random() < 0.04 and not calm
        getattr(self, queue)(job, number)
        if job.poison:
            job.replies, job.documents = False, {}
            job.body = self.poison(job)
        elif job.queue == "distill" and chance.random() < 0.05:
            self.fail(job)
        options = [f"unique={job.id}"]
        if job.replies:
            options.append("reply=1")
        if chance.random() < 0.2:
            options.append("priority=" + chance.choice(("high", "low")))
        if chance.random() < 0.1 and not calm:
            options.append(f"delay_ms={chance.randint(1, 3000)}")
        job.options = " ".join(options)
        return job

    def enrich(self, job, number):
        # A third asks what was asked before.
        asked = number if self.chance.random() < 0.7 else number % 40
        job.query = f"{WORDS[asked % len(WORDS)]} {self.words(4)} question {asked}"
        job.replies = self.chance.random() < 0.9
        job.body = msgpack.packb({"query": job.query, "k": self.chance.randint(1, 5)})

    def padding(self, job, share=1.0):
        """Nothing, or for some jobs text that makes the body as large as it may be."""
        if job.poison or self.chance.random() >= LARGE:
            return ""
        return "x" * int(self.chance.uniform(0.1, share) * (BODY_MAX - 4096))

    def distill(self, job, number):
        prompt = f"{self.words(8)} case {number}"
        result = f"{self.words(12)}.{self.padding(job)}"
        job.documents = {f"task-{job.id}": f"{prompt}\n\n{result}"}
        job.body = msgpack.packb({
            "task_id": f"task-{job.id}", "prompt": prompt, "result": result, "success": True,
            "quality": 0.9, "model": "model-1",
            "metadata": {"number": number, "arm": "enriched"}})
        self.leaves(job)

    def leaves(self, job):
        task = msgpack.unpackb(job.body)
        job.outcome = {"kind": "outcome", "task_id": task["task_id"], "success": task["success"],
                       "quality_score": task["quality"] * 100, "model": task["model"],
                       "arm": "enriched"}
        self.records.finished.append((job.domain, task["task_id"]))

    def fail(self, job):
        """A task that failed is a lesson for the learning store, and no experience."""
        job.body = msgpack.packb(dict(msgpack.unpackb(job.body), success=False))
        job.documents, job.outcome["success"] = {}, False

    def index(self, job, number):
        job.documents = {f"doc-{job.id}-{i}": f"{self.words(10)} page {number}.{i}"
                         f" {self.padding(job, 0.2)}".rstrip()
                         for i in range(self.chance.randint(1, 4))}
        job.body = msgpack.packb({"documents": [
            {"id": name, "text": text, "metadata": {"number": number}}
            for name, text in job.documents.items()]})

    def echo(self, job, number):
        job.replies = self.chance.random() < 0.7
        job.body = msgpack.packb({"number": number, "text": self.words(6) + self.padding(job)})

    def record(self, job, _number):
        job.domain, part = self.records.next(DOMAINS)
        job.parts = [part]
        job.body = msgpack.packb(part)

    def poison(self, job):
        if job.queue == "record" and self.chance.random() < 0.6:
            return msgpack.packb(self.records.poison())
        broken = [b"\xc1 no", job.body[:-3], b"\xdf\xff\xff\xff\xff", msgpack.packb({"other": 1})]
        if job.queue == "distill":
            good = msgpack.unpackb(job.body)
            broken += [msgpack.packb(dict(good, prompt=""))]
            readable = [msgpack.packb(dict(good, quality=0.1)),
                        msgpack.packb(dict(good, prompt=f"{good['prompt']} {POISON}"))]
            chosen = self.chance.choice(broken + readable)
            if chosen in readable:
                job.outcome["quality_score"] = msgpack.unpackb(chosen)["quality"] * 100
            else:
                job.outcome = None
            return chosen
        return self.chance.choice(broken)


class Producer(threading.Thread):
    """Enqueues `total` jobs spread over `seconds`; accepted ones are handed to the books."""

    def __init__(self, lab, jobs, total, seconds, books):
        super().__init__(daemon=True)
        self.lab, self.total, self.seconds, self.books = lab, total, seconds, books
        self.jobs = jobs
        self.db = lab.connect(lab.redis_proxy_port, username=USER, password=PASSWORD)
        self.chance = random.Random(jobs.run)
        self.accepted = 0
        self.unknown = dict.fromkeys(SENT, 0)  # jobs of calls that had to be repeated blindly
        self.refused = 0  # calls refused because Redis was out of memory
        self.longest_call_s = 0.0  # of those with every server up
        self.problem = None

    def run(self):
        began = time.monotonic()
        try:
            while self.accepted < self.total and not self.lab.stopping.is_set():
                share = min(1.0, (time.monotonic() - began) / self.seconds)
                due = int(self.total * share) - self.jobs.made
                if due > 0:
                    self.enqueue([self.jobs.make() for _ in range(due)])
                time.sleep(0.05)
        except Exception as error:  # the main thread must know
            self.problem = f"the producer: {error!r}"

    def enqueue_thinly(self, seconds, every_s, stop):
        """A job now and then, while whole outages pass by."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not stop():
            self.total += 1
            self.enqueue([self.jobs.make()])
            time.sleep(every_s)

    def enqueue_calm(self, total, seconds):
        """Jobs of every kind for a fleet that has nothing else to do, in many small calls."""
        self.total += total
        for _ in range(total // CALM_CALL):
            jobs = [self.jobs.make(calm=True) for _ in range(CALM_CALL)]
            self.enqueue(jobs)
            time.sleep(seconds * CALM_CALL / total)

    def enqueue(self, jobs):
        for queue in SENT:
            these = [job for job in jobs if job.queue == queue]
            for start in range(0, len(these), CALL_MAX):
                left = these[start:start + CALL_MAX]
                while left and not self.lab.stopping.is_set():
                    left = self.call(queue, left)

    def call(self, queue, jobs):
        """One FCALL. Returns the jobs that are still to be enqueued."""
        arguments = []
        for job in jobs:
            arguments += (job.id, job.domain, job.options, job.body)
        began = time.monotonic()
        try:
            answers = self.db.fcall("sh_enqueue", 1, "sh:{%s}" % queue, BACKLOG, *arguments)
            if began > self.lab.weather.clear_since():
                self.longest_call_s = max(self.longest_call_s, time.monotonic() - began)
        except (redis.BusyLoadingError, redis.ResponseError) as error:
            self.tolerate(str(error))
            answers = []
        except redis.RedisError:
            self.unknown[queue] += len(jobs)
            answers = []
        if not answers:
            time.sleep(self.chance.uniform(0.02, 0.2))
            return jobs
        return self.sort_answers(jobs, [answer.decode() for answer in answers])

    def tolerate(self, text):
        """An error reply: nothing was done, and it may be asked again."""
        if "command not allowed when used memory" in text or text.startswith("OOM"):
            self.refused += 1
        elif not any(known in text for known in TOLERATED):
            raise RuntimeError(text)

    def sort_answers(self, jobs, answers):
        left = []
        for job, answer in zip(jobs, answers, strict=True):
            if answer == job.id:
                self.accepted += 1
                self.books.accept(job)
            elif answer == "FULL":
                left.append(job)
            else:
                raise RuntimeError(f"job {job.id} was answered {answer!r}")
        return left
