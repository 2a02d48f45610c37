"""What is recorded, and what a learning store must hold of it in the end.

    Records       makes parts of executions: in any order, some doubled, some never sent
    Outbox        sends some of them as a program does that keeps what Redis does not take
    merged()      the rows that they make, computed here from the contract alone
    audit_store() the store's rows against them
"""
import json
import subprocess
import threading
import time
import urllib.request

from servers import wait_until

WINDOW_MS = 20 * 86400 * 1000
ATTACHED = 0.25  # the share of tasks whose outcome a distill job leaves
DOUBLED = 0.15
OPEN_PARTS = 60  # are shuffled together
KEPT_BACK = 0.1  # the share of parts that are never sent
TYPES = ("bugfix", "feature", "review", "Прогон", "a'; DROP TABLE executions; --")
TIERS = ("small", "middle", "large")
POOLS = ("cpu", "gpu", "swarm")
SOLUTIONS = ("retry with a longer timeout", "pin the version", "\"quoted\" 'text' \\ % _",
             "ветвь 🌱")
OUTCOME_RANK = {"outcome": 2, "execution": 2, "feedback": 0}
TABLE_WAIT_S = 20
VECTORS_WAIT_S = 30
GROUPED = ("task_type", "model_tier", "pool_type")  # '' where there is none
# Fields of a part that are no column of an execution.
NO_COLUMN = {"kind", "task_id", "pool_id", "at_ms", "feedback_type", "comment", "metadata", "lane"}


class Records:
    """Part number N of a seed is always the same."""

    def __init__(self, chance, name):
        self.chance, self.name = chance, name
        self.now_ms = int(time.time() * 1000)
        self.tasks = 0
        self.parts = []
        self.finished = []  # (domain, task id) of distill jobs, whose outcomes workers leave

    def next(self, domains):
        """(domain, part)"""
        while len(self.parts) < OPEN_PARTS:
            self.begin(self.chance.choice(domains))
        while True:
            at = self.chance.randrange(len(self.parts))
            self.parts[at], self.parts[-1] = self.parts[-1], self.parts[at]
            domain, part = self.parts.pop()
            if self.chance.random() < DOUBLED:
                self.parts.append((domain, part))
            if self.chance.random() >= KEPT_BACK:
                return domain, part

    def begin(self, domain):
        """All parts of one execution, or of something else that is kept."""
        self.tasks += 1
        chance, number = self.chance, self.tasks
        if self.finished and chance.random() < ATTACHED:
            domain, task_id = self.finished.pop()
            self.add(domain, dict(self.routing(), task_id=task_id))
            return
        task_id = f"{self.name}-{number}"
        at_ms = self.now_ms - chance.randrange(WINDOW_MS)
        shape = chance.random()
        if shape < 0.05:
            parts = [{"kind": "policy", "repo": chance.choice(("", "org/one", "org/two")),
                      "maturity": chance.choice(("new", "old")), "strictness": "high",
                      "coverage_threshold": chance.random(), "reason": f"because of {number}"}]
        elif shape < 0.15:
            parts = [{"kind": "pool_start", "pool_id": f"pool-{task_id}", "pool_type": "swarm",
                      "parallelism": chance.randint(1, 8)},
                     {"kind": "pool_end", "pool_id": f"pool-{task_id}", "task_id": task_id,
                      "duration_seconds": chance.random() * 100, "cpu_time_seconds": 1.5}]
        elif shape < 0.35:
            parts = [self.routing() | self.outcome() | {"kind": "execution", "task_id": task_id}]
        else:
            parts = [dict(self.routing(), task_id=task_id), dict(self.outcome(), task_id=task_id),
                     {"kind": "pool_end", "task_id": task_id,
                      "peak_memory_mb": chance.random() * 9},
                     {"kind": "solution", "task_id": task_id,
                      "solution_summary": chance.choice(SOLUTIONS)}]
        if shape >= 0.15:
            parts += [{"kind": "feedback", "task_id": task_id, "user_rating": chance.randint(1, 5),
                       "comment": f"said of {task_id}", "user": "somebody else"}
                      for _ in range(chance.choice((0, 0, 1, 2)))]
        for i, part in enumerate(parts):
            self.add(domain, dict(part, at_ms=at_ms + (0 if chance.random() < 0.1 else 1000 * i)))

    def add(self, domain, part):
        self.parts.append((domain, part))

    def routing(self):
        """Half of them say what the task is about, each something else."""
        chance = self.chance
        about = f"{chance.choice(SOLUTIONS)} for {chance.choice(TYPES)}, task {self.tasks}"
        described = {"task_description": about} if chance.random() < 0.5 else {}
        return described | {"kind": "routing", "task_type": chance.choice(TYPES),
                "model_tier": chance.choice(TIERS), "pool_type": chance.choice(POOLS),
                "routing_confidence": chance.random(), "cost_estimate": chance.random(),
                "estimated_tokens": chance.randint(1, 10000), "lane": chance.randint(1, 4)}

    def outcome(self):
        chance = self.chance
        done = {"kind": "outcome", "success": chance.random() < 0.7,
                "retries": chance.randint(0, 3),
                "duration_seconds": chance.random() * 60, "actual_cost": chance.random(),
                "tokens_in": chance.randint(1, 5000), "tokens_out": chance.randint(1, 5000),
                "quality_score": chance.random() * 100, "metadata": {"exit": chance.randint(0, 2)}}
        if not done["success"]:
            done.update(error_type="timeout", error_message="no answer;\nsee 'log' \"x\"")
        return done

    def poison(self):
        """Parts that must be dead letters."""
        good = {"kind": "routing", "task_id": f"{self.name}-poison", "at_ms": self.now_ms}
        feedback = dict(good, kind="feedback")
        return self.chance.choice((
            dict(good, kind="gossip"), {"kind": "routing"}, {"task_id": "x"},
            dict(feedback, user_rating=6), dict(good, kind="outcome", quality_score=-1),
            dict(good, kind="outcome", actual_cost=float("nan")),
            dict(good, at_ms=self.now_ms + 400 * 86400 * 1000)))


class Outbox(threading.Thread):
    """`stillhouse enqueue record --outbox` now and then, through all that happens to Redis."""

    def __init__(self, lab, records, domains, every_s):
        super().__init__(daemon=True)
        self.lab, self.records, self.domains, self.every_s = lab, records, domains, every_s
        self.ending = threading.Event()
        self.parts = []  # (domain, part) that were taken, by Redis or by the folder
        self.problems = []

    def command(self, *arguments, **options):
        environment = dict(self.lab.environment(self.lab.redis_proxy_port, self.lab.chroma_port),
                           STILLHOUSE_OUTBOX=str(self.lab.folder / "outbox"))
        return subprocess.run([f"{self.lab.options.bin}/stillhouse", *arguments], text=True,
                              capture_output=True, timeout=120, env=environment, **options)

    def run(self):
        while not self.ending.wait(self.every_s):
            some = []
            for _ in range(5):
                domain, part = self.records.next(self.domains)
                # Nobody is told the ids of these jobs, by which equal times would be decided.
                some.append((domain, dict(part, at_ms=part["at_ms"] + len(self.parts) + len(some))))
            lines = "".join(json.dumps(dict(part, domain=domain)) + "\n" for domain, part in some)
            done = self.command("enqueue", "record", "--jsonl", "-", input=lines)
            if done.returncode != 0:
                self.problems.append(f"enqueue --outbox: exit code {done.returncode}: "
                                     f"{done.stdout}{done.stderr}")
                return
            self.parts += some

    def end(self):
        """What is kept is sent."""
        self.ending.set()
        self.join()
        done = self.command("flush", "--wait", "60s")
        if done.returncode != 0:
            self.problems.append(f"flush: exit code {done.returncode}: {done.stdout}{done.stderr}")


# ---- what must be there ----

class Row:
    """Of two values the later stands: the greater time, of equals the greater id of the job."""

    def __init__(self):
        self.values, self.pairs, self.kinds, self.at = {}, {}, set(), (-1, (0, b""))

    def take(self, part, job_id):
        kind = part["kind"]
        stamp = (part.get("at_ms", 0), job_id.encode())
        self.kinds.add(kind)
        self.at = max(self.at, (OUTCOME_RANK.get(kind, 1), stamp))
        pairs = dict(part.get("metadata", {}))
        if "lane" in part:
            pairs["lane"] = part["lane"]
        if kind == "feedback":
            pairs = {}
        for name, value in part.items():
            if name not in NO_COLUMN and not (kind == "feedback" and name == "user"):
                self.put(self.values, name, stamp, value)
        for name, value in pairs.items():
            self.put(self.pairs, name, stamp, value)

    @staticmethod
    def put(into, name, stamp, value):
        into[name] = max(into.get(name, (stamp, value)), (stamp, value), key=lambda pair: pair[0])

    @property
    def is_incomplete(self):
        return not self.kinds & {"routing", "execution"}


def merged(parts):
    """{(domain, task id): Row} of (domain, part, job id)"""
    rows = {}
    for domain, part, job_id in parts:
        if "task_id" in part and part["kind"] != "policy":
            rows.setdefault((domain, part["task_id"]), Row()).take(part, job_id)
    return rows


def parts_of(jobs, outbox):
    """Of all that was accepted, as (domain, part, job id): also the outcomes that workers left."""
    parts = [(job.domain, part, job.id) for job in jobs for part in job.parts if not job.poison]
    parts += [(job.domain, job.outcome, f"{job.id}.o") for job in jobs if job.outcome]
    return parts + [(domain, part, "") for domain, part in outbox.parts]


def differences(row, found):
    """What an exported execution says otherwise."""
    names = set(found) - {"domain", "task_id", "at_ms", "incomplete", "metadata", "cost_error",
                          "token_error", "confidence_error"}
    said = []
    for name in sorted(names | set(row.values)):
        expected = row.values.get(name, (None, None))[1]
        if expected is None and name in GROUPED:
            expected = ""
        if found.get(name) != expected:
            said.append(f"{name} is {found.get(name)!r}, expected {expected!r}")
    pairs = {name: value for name, (_, value) in row.pairs.items()}
    if (found["metadata"] or {}) != pairs:
        said.append(f"metadata is {found['metadata']!r}, expected {pairs!r}")
    if row.at[1][0] not in (0, found["at_ms"]):  # 0: when its job was enqueued
        said.append(f"at_ms is {found['at_ms']}, expected {row.at[1][0]}")
    if bool(found["incomplete"]) != row.is_incomplete:
        said.append(f"incomplete is {found['incomplete']}, of the kinds {sorted(row.kinds)}")
    return said


def is_fresh(lab):
    """No figure waits to be computed again."""
    done = lab.stillhouse("learn", "stats", "--json")
    return done.returncode == 0 and json.loads(done.stdout)[0]["stale_since_ms"] is None


def audit_store(lab, jobs, outbox, account):
    """One row a task, with what its parts say; the views as recomputed from the rows."""
    if not wait_until(lambda: is_fresh(lab), TABLE_WAIT_S, 0.5):
        account.problems.append(f"the views are not fresh {TABLE_WAIT_S} s after the last part")
    check = lab.stillhouse("learn", "check")
    export = lab.stillhouse("learn", "export")
    for done in (check, export):
        if done.returncode != 0:
            account.problems.append(f"learn {done.args[2]}: exit code {done.returncode}: "
                                    f"{done.stdout[-300:]}{done.stderr}")
    parts = parts_of(jobs, outbox)
    rows = merged(parts)
    found = {}
    for line in export.stdout.splitlines():
        row = json.loads(line)
        if found.setdefault((row["domain"], row["task_id"]), row) is not row:
            account.doubled.append(f"the row of {row['domain']} {row['task_id']}")
    account.rows, account.parts = len(found), len(parts)
    account.lost["record"] |= {" ".join(key) for key in set(rows) - set(found)}
    account.problems += [f"a row that nobody recorded: {key}" for key in set(found) - set(rows)]
    for key in set(found) & set(rows):
        account.problems += [f"the row of {key}: {text}"
                             for text in differences(rows[key], found[key])]
    audit_vectors(lab, found, account)
    audit_policies(lab, parts, account)
    audit_feedback(lab, parts, account)
    if account.stats["record"]["retried"] != 0:
        account.problems.append(f"record: {account.stats['record']['retried']} attempts were burnt")


def vectors_of(lab, domain):
    """The ids of all that stands in the domain's collection of tasks."""
    root = (f"http://127.0.0.1:{lab.chroma_port}/api/v2/tenants/default_tenant"
            "/databases/default_database/collections/")
    with urllib.request.urlopen(f"{root}sh_tasks-{domain}", timeout=60) as answer:
        collection = json.loads(answer.read())["id"]
    request = urllib.request.Request(f"{root}{collection}/get", b'{"include": []}',
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["ids"]


def is_drained(lab, queue):
    flat = lab.direct.execute_command("FCALL_RO", "sh_stats", 1, "sh:{%s}" % queue)
    n = {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}
    return n["waiting"] + n["running"] + n["delayed"] == 0


def audit_vectors(lab, rows, account):
    """Exactly the tasks whose row says what they are about. A Redis without room is given no job for
    a vector, which the recorder says; `learn embed` makes up for it."""
    left_out = any("get no vector" in (lab.folder / f"{recorder.name}.log").read_text("utf-8")
                   for recorder in lab.recorders)
    if left_out and lab.stillhouse("learn", "embed").returncode != 0:
        account.problems.append("learn embed failed")
    if not wait_until(lambda: is_drained(lab, "vector"), VECTORS_WAIT_S, 0.3):
        account.problems.append(f"vectors are not done within {VECTORS_WAIT_S} s")
    for domain in {domain for domain, _ in rows}:
        expected = {task_id for (of, task_id), row in rows.items()
                    if of == domain and row["task_description"]}
        found = set(vectors_of(lab, domain)) if expected else set()
        account.vectors += len(found)
        account.problems += [f"the vector of {domain} {name} is missing"
                             for name in sorted(expected - found)]
        account.problems += [f"a vector that is no task's: {domain} {name}"
                             for name in sorted(found - expected)]


def ask(lab, account, *arguments):
    done = lab.stillhouse("learn", *arguments, "--json")
    if done.returncode != 0:
        account.problems.append(f"learn {arguments}: exit code {done.returncode}: {done.stderr}")
        return []
    return json.loads(done.stdout)


def audit_policies(lab, parts, account):
    expected = {}
    for domain, part, job_id in parts:
        if part["kind"] == "policy":
            stamp = (part["at_ms"], job_id.encode())
            key = (domain, part["repo"])
            expected[key] = max(expected.get(key, (stamp, part)), (stamp, part),
                                key=lambda of: of[0])
    found = {(domain, row["repo"]): row["reason"] for domain in {domain for domain, _ in expected}
             for row in ask(lab, account, "policy", "--domain", domain)}
    for key, (_, part) in expected.items():
        if found.pop(key, None) != part["reason"]:
            account.problems.append(f"the policy of {key} is not that of {part['reason']!r}")
    account.problems += [f"a policy that nobody made: {key}" for key in found]


def audit_feedback(lab, parts, account, most=25):
    """Each is kept, however many a task has; of some tasks, as each is a question of its own."""
    said = {}
    for domain, part, job_id in parts:
        if part["kind"] == "feedback" and job_id:
            said.setdefault((domain, part["task_id"]), []).append(part["user_rating"])
    for domain, task_id in sorted(said)[:most]:
        found = ask(lab, account, "feedback", "--domain", domain, "--task-id", task_id)
        if sorted(row["user_rating"] for row in found) != sorted(said[domain, task_id]):
            account.problems.append(f"feedback of {task_id}: {found}, expected the ratings "
                                    f"{sorted(said[domain, task_id])}")
