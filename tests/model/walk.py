"""Random walks through the queue's functions, each step held against the model beside this file.
Started by tests/model/run; see --help.

A Redis of its own has a clock that stands still and moves by steps (tests/lib/preload/clock_shim.c). After
every step the function's answer, all entries, who holds them and since when, delayed jobs with their
due times, dead letters, unique keys and replies with their times to live, and every counter must be
the model's. A clean walk does what programs do, and the books balance at every step; a rough one
also has an operator's fingers in it.
"""
import argparse
import collections
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

import msgpack
import redis

from queue_model import COUNTERS, PRIORITIES, Draft, Pending, Queue, is_job, read_options

BASE = "sh:{echo}"
STREAMS = [BASE + ":jobs:high", BASE + ":jobs", BASE + ":jobs:low"]
GROUP = "fleet"
CONSUMERS = ("w1.0", "w1.1", "w2.0", "w2.1")
WORKER = "w9"
VISIBILITY_MS = 60000
START_MS = 1700000000000
# The unique keys of queries, which count per domain, and others; one reads like an option.
UNIQUE = ("u1", "u2", "since=5.17", "0123456789abcdef0123456789abcdef.3",
          "ffffffffffffffffffffffffffffffff.20")
# Two of them ask the same.
BODIES = ("b", "\n", "x y\n\0z", "", *(msgpack.packb(body).decode("latin-1") for body in (
    {"query": "a b", "k": 3}, {"query": " a  b\n"}, {"query": "a c", "k": 3})))
SAID = 12
BACKLOG_MAX = 60


class Differs(Exception):
    pass


def must_be(what, real, model):
    if real != model:
        raise Differs(f"{what}:\n  real  {real!r}\n  model {model!r}")


def entry_of(text):
    ms, serial = text.split("-")
    return int(ms), int(serial)


def text_of(entry):
    return "%d-%d" % entry


class Server:
    """A Redis whose clock stands."""

    def __init__(self, binary, folder):
        self.folder = pathlib.Path(folder)
        shim = self.folder / "clock_shim.so"
        source = pathlib.Path(__file__).parent / "../lib/preload/clock_shim.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
        self.clock = self.folder / "clock"
        self.clock.write_bytes(struct.pack("=qq", 0, START_MS))
        socket = self.folder / "redis.sock"
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""],
            env={"LD_PRELOAD": str(shim), "CLOCK_FILE": str(self.clock), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL)
        self.db = redis.Redis(unix_socket_path=str(socket), encoding="latin-1", decode_responses=True)
        for _ in range(200):
            try:
                self.db.ping()
                break
            except redis.RedisError:
                time.sleep(0.02)
        subprocess.run([f"{binary}/stillhouse", "init"], check=True, capture_output=True,
                       env={"STILLHOUSE_REDIS_URL": f"unix://{socket}", "PATH": "/usr/bin:/bin"})

    def set_clock(self, unix_ms):
        with open(self.clock, "r+b") as page:
            page.write(struct.pack("=qq", 0, unix_ms))

    def call(self, name, *arguments):
        return self.db.execute_command("FCALL", name, 1, BASE, *arguments)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Walk:
    def __init__(self, server, seed, rough):
        self.server, self.db, self.rough = server, server.db, rough
        self.chance = random.Random(f"{seed} {rough}")
        self.model = Queue()
        self.model.now = START_MS
        self.said = collections.deque(maxlen=SAID)
        self.known = {}  # (stream, entry) -> the fields as its lane read them
        self.strangers = 0  # entries and members put there by hand, less those taken away
        self.done = collections.Counter()
        self.db.flushall()
        server.set_clock(START_MS)
        self.db.ping()
        server.call("sh_prepare")
        self.steps = [step for step, weight in self.weights() for _ in range(weight)]

    def weights(self):
        weights = [(self.enqueue, 22), (self.enqueue_wrongly, 1), (self.push, 2), (self.read, 22),
                   (self.finish, 8), (self.finish_shortly, 7), (self.retry, 7), (self.bury, 5),
                   (self.release, 4), (self.heartbeat, 3), (self.reclaim, 7), (self.promote, 7),
                   (self.requeue, 4), (self.discard, 2), (self.trim, 2), (self.pause, 1),
                   (self.leave, 1), (self.reap, 1), (self.take_reply, 2), (self.let_time_pass, 12)]
        if self.rough:
            weights += [(self.add_by_hand, 3), (self.delete_by_hand, 3), (self.delay_by_hand, 2),
                        (self.claim_by_hand, 3), (self.read_again, 1), (self.destroy_group, 1),
                        (self.delete_unique, 1)]
        return weights

    def step(self):
        crowded = self.model.backlog() > BACKLOG_MAX
        step = self.chance.choice(self.steps)
        if crowded and step in (self.enqueue, self.push):
            step = self.chance.choice((self.finish, self.finish_shortly, self.read))
        self.model.expire()
        self.done[step.__name__] += 1
        step()
        self.compare()

    def call(self, name, *arguments):
        self.said.append((name, *arguments))
        return self.server.call(name, *arguments)

    def maybe(self, share):
        return self.chance.random() < share

    # ---- producers ----

    def some_options(self):
        options = []
        if self.maybe(0.4):
            options.append("priority=" + self.chance.choice(PRIORITIES))
        if self.maybe(0.3):
            options.append(f"delay_ms={self.chance.choice((0, 1, 5000, 10**8))}")
        if self.maybe(0.2):
            options.append(f"deadline_ms={self.chance.choice((1, self.model.now + 3000, 10**14))}")
        if self.maybe(0.5):
            options.append("unique=" + self.chance.choice(UNIQUE))
        if self.maybe(0.4):
            options.append("reply=1")
        if self.maybe(0.1):
            options.append("traceparent=00-a")
        self.chance.shuffle(options)
        return " ".join(options) if self.maybe(0.7) else ""

    def enqueue(self):
        limit = self.chance.choice((0, 0, self.chance.randrange(1, BACKLOG_MAX)))
        drafts = [Draft(f"j{self.chance.randrange(400)}", self.chance.choice(("legal", "code")),
                        self.some_options(), self.chance.choice(BODIES))
                  for _ in range(self.chance.choice((1, 1, 2, 5)))]
        room = 10**9 if limit == 0 else limit - self.model.backlog()
        real = self.call("sh_enqueue", limit, *(
            field for d in drafts for field in (d.id, d.domain, d.options, d.body)))
        must_be("sh_enqueue", real, self.model.enqueue(room, drafts))

    def enqueue_wrongly(self):
        for arguments in (("x",), (0, "id", "legal", ""), (0, "bad id", "legal", "", "b"),
                          (0, "a", "Legal", "", "b"), (0, "a", "legal", "foo=1", "b"),
                          (0, "a", "legal", "unique=u1 unique=u1", "b"),
                          (0, "ok", "legal", "unique=u1", "b", "FULL", "legal", "", "b")):
            try:
                self.call("sh_enqueue", *arguments)
            except redis.ResponseError as error:
                must_be("the error", str(error)[:9], "SHINVALID")
            else:
                raise Differs(f"sh_enqueue takes {arguments}")

    def push(self):
        pairs = self.chance.choice(((), ("unique", "u1"), ("delay_ms", "5000"),
                                    ("unique", "u2", "reply", "1")))
        id_ = self.call("sh_push", "domain", "legal", "text", "hi", *pairs)
        given = dict(zip(pairs[::2], pairs[1::2]))
        options = " ".join(f"{key}={given[key]}" for key in ("delay_ms", "unique", "reply")
                           if key in given)
        body = msgpack.packb({"text": "hi"}).decode("latin-1")
        held = self.model.unique.get(given.get("unique"))
        is_twin = held is not None and held.value == id_
        draft = Draft("push" if is_twin else id_, "legal", options, body)
        must_be("sh_push", [id_], self.model.enqueue(10**9, [draft]))

    # ---- the fleet ----

    def some_running(self, most, stale=0.15):
        """A consumer and some of the jobs that it holds, or thinks so: (stream, entry, deliveries)."""
        held = [(s, e) for s in range(3) for e in self.model.streams[s].pending]
        if not held:
            return None, []
        consumer, jobs = None, []
        for _ in range(self.chance.choice((1, 2, most))):
            stream, entry = self.chance.choice(held)
            pending = self.model.streams[stream].pending[entry]
            consumer = consumer or pending.consumer
            deliveries = pending.deliveries
            if self.maybe(stale):
                deliveries = max(0, deliveries + self.chance.choice((-1, 1)))
            jobs.append((stream, entry, deliveries))
        if self.maybe(0.1):
            consumer = self.chance.choice(CONSUMERS)
        return consumer, jobs

    def fields_of(self, stream, entry):
        """What a lane knows of its job: from when it read it."""
        return self.known.get((stream, entry),
                              self.model.streams[stream].entries.get(entry, {}))

    def read(self):
        stream, consumer = self.chance.randrange(3), self.chance.choice(CONSUMERS)
        count = self.chance.choice((1, 2, 5))
        self.said.append(("XREADGROUP", stream, consumer, count))
        real = self.db.xreadgroup(GROUP, consumer, {STREAMS[stream]: ">"}, count=count)
        entries = self.model.read(stream, consumer, count)
        must_be("XREADGROUP", [entry_of(e) for e, _ in real[0][1]] if real else [], entries)
        for entry in entries:
            self.known[stream, entry] = self.model.streams[stream].entries[entry]

    def finish(self):
        consumer, jobs = self.some_running(4)
        rows, arguments = [], []
        for stream, entry, deliveries in jobs:
            fields = self.fields_of(stream, entry)
            if not is_job(fields):
                continue  # a lane buries it
            flags = self.chance.choice((0, 0, 2, 2, 1, 3))
            reply = f"reply {self.chance.randrange(99)}"
            unique = read_options(fields.get("options", "")).get("unique", "")
            rows.append((stream, entry, deliveries, fields, flags % 2 == 1, flags >= 2, reply))
            arguments += (stream, text_of(entry), deliveries, fields.get("id", ""),
                          fields.get("domain", ""), unique, flags, reply)
        if rows:
            real = self.call("sh_finish", consumer, *arguments)
            must_be("sh_finish", real, self.model.finish(consumer, rows))

    def finish_shortly(self):
        consumer, jobs = self.some_running(4, stale=0)
        jobs = [job for job in jobs if job[0] == jobs[0][0] and "unique" not in
                read_options(self.fields_of(*job[:2]).get("options", ""))]
        if jobs:
            stream, _, deliveries = jobs[0]
            deliveries += self.chance.choice((1, 0, 0, 0, 0))
            entries = [entry for _, entry, _ in jobs]
            real = self.call("sh_done", consumer, stream, deliveries, *map(text_of, entries))
            must_be("sh_done", real, self.model.done(consumer, stream, deliveries, entries))

    def retry(self):
        consumer, jobs = self.some_running(4)
        rows = [(*job, self.chance.choice((0, 1, 30000)), self.maybe(0.5)) for job in jobs]
        if rows:
            real = self.call("sh_retry", consumer, *(
                field for stream, entry, deliveries, delay, parked in rows
                for field in (stream, text_of(entry), deliveries, delay, int(parked))))
            must_be("sh_retry", real, self.model.retry(consumer, rows))

    def bury(self):
        consumer, jobs = self.some_running(4)
        rows = [(*job, self.chance.choice(("rejected", "malformed", "retries_exhausted")), "said",
                 self.maybe(0.5), f"reply {self.chance.randrange(99)}") for job in jobs]
        if rows:
            real = self.call("sh_bury", consumer, WORKER, *(
                field for stream, entry, deliveries, reason, error, replies, reply in rows
                for field in (stream, text_of(entry), deliveries, reason, error, 2 * replies, reply)))
            must_be("sh_bury", real, self.model.bury(consumer, WORKER, rows))

    def release(self):
        consumer, jobs = self.some_running(4)
        again = self.maybe(0.5)
        if jobs:
            real = self.call("sh_release", consumer, VISIBILITY_MS, int(again), *self.named(jobs))
            must_be("sh_release", real, self.model.release(consumer, VISIBILITY_MS, again, jobs))

    def heartbeat(self):
        consumer, jobs = self.some_running(4)
        if jobs:
            real = self.call("sh_heartbeat", consumer, *self.named(jobs))
            must_be("sh_heartbeat", real, self.model.heartbeat(consumer, jobs))

    @staticmethod
    def named(jobs):
        return [field for stream, entry, deliveries in jobs
                for field in (stream, text_of(entry), deliveries)]

    def reclaim(self):
        stream, consumer = self.chance.randrange(3), self.chance.choice(CONSUMERS)
        visibility = self.chance.choice((0, VISIBILITY_MS))
        limit, count = self.chance.choice((1, 2, 3, 5)), self.chance.choice((1, 2, 8))
        suspects = self.maybe(0.5)
        real = self.call("sh_reclaim", stream, consumer, WORKER, visibility, limit, count, "0-0",
                         int(suspects))
        must_be("sh_reclaim", (real[1], [(entry_of(row[0]), row[1]) for row in real[2:]]),
                self.model.reclaim(stream, consumer, WORKER, visibility, limit, count, suspects))
        for row in real[2:]:
            entry = entry_of(row[0])
            self.known[stream, entry] = self.model.streams[stream].entries[entry]

    # ---- the janitor and operators ----

    def let_time_pass(self):
        self.model.now += self.chance.choice((1, 10, 900, 5000, VISIBILITY_MS, 10**7, 10**8))
        self.said.append(("the time is", self.model.now))
        self.server.set_clock(self.model.now)
        self.db.ping()  # a command in which Redis looks at its clock
        self.model.expire()

    def promote(self):
        limit = self.chance.choice((1, 3, 1000))
        real = self.call("sh_promote", limit, "paused")
        must_be("sh_promote", tuple(real), self.model.promote(limit))

    def some_dead(self):
        dead = sorted(self.model.dead.entries)
        return self.chance.sample(dead, min(len(dead), self.chance.choice((1, 3))))

    def requeue(self):
        entries = self.some_dead()
        if entries:
            entries += [(1, 1)] if self.maybe(0.1) else []
            real = self.call("sh_requeue", *map(text_of, entries))
            must_be("sh_requeue", real, self.model.requeue(entries))

    def discard(self):
        entries = self.some_dead()
        if entries:
            real = self.call("sh_discard", *map(text_of, entries))
            must_be("sh_discard", real, self.model.discard(entries))

    def trim(self):
        most, age = self.chance.choice((0, 3, 20)), self.chance.choice((0, 0, 5000, 10**8))
        real = self.call("sh_trim", most, age)
        must_be("sh_trim", real, self.model.trim(most, age))

    def pause(self):
        self.model.paused = not self.model.paused
        self.call("sh_pause", int(self.model.paused))

    def leave(self):
        self.call("sh_leave", self.chance.choice(CONSUMERS))

    def reap(self):
        self.call("sh_reap", 0)

    def take_reply(self):
        if self.model.replies:
            id_ = self.chance.choice(sorted(self.model.replies))
            self.said.append(("a reply is taken", id_))
            must_be("the reply", self.db.lpop(f"{BASE}:reply:{id_}"),
                    self.model.replies.pop(id_).value)

    # ---- an operator's fingers ----

    def add_by_hand(self):
        stream = self.chance.randrange(3)
        job = {"id": "hand", "domain": "legal", "attempt": "0", "options": "", "body": "x"}
        fields = self.chance.choice((
            {"a": "b"}, job, dict(job, id="FULL"), dict(job, domain="LEGAL"), dict(job, attempt="x"),
            dict(job, options="a\tb"), dict(job, options="unique=u1 unique=u2"),
            dict(job, options="x" * 3000), {f"k{i}": "v" for i in range(50)}))
        self.said.append(("XADD", stream, fields))
        self.db.xadd(STREAMS[stream], fields)
        self.model.streams[stream].add(self.model.now, fields)
        self.strangers += 1

    def delete_by_hand(self):
        held = [(s, e) for s in range(3) for e in self.model.streams[s].entries]
        if held:
            stream, entry = self.chance.choice(held)
            self.said.append(("XDEL", stream, entry))
            self.db.xdel(STREAMS[stream], text_of(entry))
            del self.model.streams[stream].entries[entry]

    def delay_by_hand(self):
        member = self.chance.choice(("junk", "two words\nbody", "id legal x \nb", "", " \n",
                                     "hand legal 7 priority=low\nbody"))
        self.said.append(("ZADD", member))
        self.db.zadd(BASE + ":delayed", {member: 1})
        self.model.delayed[member] = 1

    def claim_by_hand(self):
        _, jobs = self.some_running(1)
        if jobs:
            stream, entry, _ = jobs[0]
            quietly = self.maybe(0.5)
            self.said.append(("XCLAIM", stream, entry, quietly))
            self.db.xclaim(STREAMS[stream], GROUP, "operator", 0, [text_of(entry)], justid=quietly)
            pending = self.model.streams[stream].pending
            if entry not in self.model.streams[stream].entries:
                del pending[entry]
            else:
                pending[entry] = Pending("operator", pending[entry].deliveries + (not quietly),
                                         self.model.now)

    def read_again(self):
        stream = self.chance.randrange(3)
        self.said.append(("XGROUP SETID 0", stream))
        self.db.xgroup_setid(STREAMS[stream], GROUP, "0")
        self.model.streams[stream].delivered = (0, 0)

    def destroy_group(self):
        stream = self.chance.randrange(3)
        self.said.append(("XGROUP DESTROY", stream))
        self.db.xgroup_destroy(STREAMS[stream], GROUP)
        self.server.call("sh_prepare")
        self.model.streams[stream].delivered = (0, 0)
        self.model.streams[stream].pending = {}

    def delete_unique(self):
        if self.model.unique:
            name = self.chance.choice(sorted(self.model.unique))
            self.said.append(("DEL unique", name))
            self.db.delete(f"{BASE}:unique:{name}")
            del self.model.unique[name]

    # ---- the whole state ----

    def compare(self):
        model = self.model
        for stream, name in zip(model.streams, STREAMS):
            must_be(name, {entry_of(e): f for e, f in self.db.xrange(name)}, stream.entries)
            rows = self.db.xpending_range(name, GROUP, "-", "+", 10**5)
            must_be(f"what is running of {name}",
                    {entry_of(row["message_id"]): (row["consumer"], row["times_delivered"],
                                                   row["time_since_delivered"]) for row in rows},
                    {e: (p.consumer, p.deliveries, model.now - p.since)
                     for e, p in stream.pending.items()})
        must_be("delayed", self.plain(self.db.zrange(BASE + ":delayed", 0, -1, withscores=True)),
                self.plain(model.delayed.items()))
        must_be("dead", {entry_of(e): self.known_of(f, entry_of(e))
                         for e, f in self.db.xrange(BASE + ":dead")}, model.dead.entries)
        for kind, read, table in (
                ("unique", lambda key: self.db.get(key).split(" ")[0], model.unique),
                ("wanted", self.db.get, model.wanted),
                ("reply", lambda key: self.db.lindex(key, 0), model.replies)):
            keys = self.db.keys(f"{BASE}:{kind}:*")
            must_be(kind, {key[len(f"{BASE}:{kind}:"):]: (read(key), self.db.pttl(key) + model.now)
                           for key in keys},
                    {name: (timed.value, timed.until) for name, timed in table.items()})
        self.compare_books()

    @staticmethod
    def plain(members):
        """Which serial a copy got is not the model's affair."""
        return sorted((re.sub(r"(since=\d+)\.\d+", r"\1.n", member), int(due))
                      for member, due in members)

    def known_of(self, fields, entry):
        """A letter as the model knows it: what a crash loop's says of phases it does not."""
        expected = self.model.dead.entries.get(entry, {})
        return {k: None if k == "error" and expected.get(k, "") is None else v
                for k, v in fields.items()}

    def compare_books(self):
        flat = self.db.execute_command("FCALL_RO", "sh_stats", 1, BASE)
        stats = dict(zip(flat[::2], flat[1::2]))
        model = self.model
        must_be("counters", {name: stats[name] for name in COUNTERS},
                {name: model.counters[name] for name in COUNTERS})
        running = sum(len(stream.pending) for stream in model.streams)
        must_be("stats", {name: stats[name] for name in ("waiting", "running", "delayed", "dead",
                                                         "paused")},
                {"waiting": sum(max(len(s.entries) - len(s.pending), 0) for s in model.streams),
                 "running": running, "delayed": len(model.delayed),
                 "dead": len(model.dead.entries), "paused": int(model.paused)})
        if not self.rough:
            must_be("the balance", stats["enqueued"] + stats["requeued"],
                    sum(stats[name] for name in ("done", "buried", "expired", "waiting", "running",
                                                 "delayed")))


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="tests/model/run", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Random steps through the queue's functions, held against a model.")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="how long")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="steps of a walk")
    parser.add_argument("--seed", type=int, metavar="N", help="one walk of each kind, with this seed")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse_arguments()
    first = options.seed if options.seed is not None else random.SystemRandom().getrandbits(20)
    until = time.monotonic() + options.seconds
    walks, steps, seed = 0, 0, first
    with tempfile.TemporaryDirectory(prefix="stillhouse-model-") as folder:
        server = Server(options.bin, folder)
        try:
            while walks == 0 or (options.seed is None and time.monotonic() < until):
                for rough in (False, True):
                    walk = Walk(server, seed, rough)
                    for _ in range(options.steps):
                        walk.step()
                        steps += 1
                    walks += 1
                seed += 1
        except (Differs, redis.ResponseError) as difference:
            print(f"seed {seed}, {'rough' if rough else 'clean'}, step {sum(walk.done.values())}: "
                  f"{difference}")
            for line in walk.said:
                print("   ", *(str(word)[:100] for word in line))
            print(f"again: tests/model/run --seed {seed} --steps {options.steps}")
            print("0 passed, 1 failed")
            return 1
        finally:
            server.stop()
    print(f"model: {walks} walks, {steps:,} steps, seeds {first} to {seed - 1}, not one difference")
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
