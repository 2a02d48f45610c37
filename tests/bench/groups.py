"""What is measured: groups of commands whose rounds are interleaved, what is compared with what, and
the targets.

A command is a program that makes `--rounds 1 --round N` and prints one JSON object a line for each
measurement: group, variant, series, round, value, unit, jobs, checked, and any further fields. One
that ends with exit code 77 is skipped; the last line of its standard error says why.
"""
import re
from dataclasses import dataclass, field
from pathlib import Path

SKIPPED = 77

# Sizes of a whole run, and of a quick one that only shows that everything works.
FULL, QUICK = "full", "quick"


@dataclass
class Command:
    program: str
    arguments: list
    label: str = ""  # added to the variants' names where a group has several commands
    fields: dict = field(default_factory=dict)  # added to each of its lines


@dataclass
class Ratio:
    """Of two variants of one group, within a round; of several names the best one of the round."""
    name: str
    over: object  # a variant's name, or a list of them; "*" in it stands for anything
    under: object


@dataclass
class Plot:
    name: str  # of the file
    title: str
    kind: str  # bars: medians of variants; lines: by the field `x`
    unit: str
    x: str = ""
    x_title: str = ""
    keep: object = lambda line: True
    log_y: bool = False
    y: str = "value"  # the field that is shown
    y_title: str = ""  # instead of the unit


@dataclass
class Group:
    name: str
    help: str
    commands: object  # size -> [Command]
    rounds: int = 5
    inside: bool = False  # the programs make all rounds by themselves: their set-up is dear
    ratios: list = field(default_factory=list)
    plots: list = field(default_factory=list)
    by_name_only: bool = False  # takes long and tells of no speed: run only where --group names it


@dataclass
class Target:
    text: str
    group: str
    what: str  # a ratio's name or a variant's
    sign: str  # ">=" or "<=", or ">" or "<"
    limit: float


def flags(**values):
    """jobs=1000, body=200 -> --jobs 1000 --body 200"""
    out = []
    for name, value in values.items():
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        out += ["--" + name.replace("_", "-"), text]
    return out


def one(program, full, quick):
    return lambda size: [Command(program, flags(**(full if size == FULL else quick)))]


# ---- growth ------------------------------------------------------------------------------------------

def human(number):
    return f"{number:,}"


def backlog(size):
    steps = [10000, 100000, 1000000] if size == FULL else [500, 1000]
    return [Command("bench_consume", flags(jobs=jobs, batches=[64], consumers=[1], workers=[1]),
                    f"backlog {human(jobs)}", {"backlog": jobs}) for jobs in steps]


def body(size):
    steps = [200, 1024, 4096, 16384, 65536] if size == FULL else [200, 4096]
    budget = 256 * 1024 * 1024 if size == FULL else 1024 * 1024
    commands = []
    for bytes_ in steps:
        jobs = min(100000, budget // bytes_)
        commands.append(Command(
            "bench_consume", flags(jobs=jobs, body=bytes_, batches=[64], consumers=[1], workers=[1]),
            f"body {human(bytes_)} B"))
        commands.append(Command(
            "bench_enqueue", flags(jobs=jobs, single=0, body=bytes_, depths=[100]),
            f"body {human(bytes_)} B"))
    return commands


def append(size):
    jobs, single = (100000, 5000) if size == FULL else (1000, 100)
    commands = []
    for mode in ("off", "everysec", "always") if size == FULL else ("off", "always"):
        commands.append(Command(
            "bench_consume",
            flags(jobs=jobs, batches=[64], consumers=[1], workers=[1], append=mode),
            f"append-only {mode}"))
        commands.append(Command(
            "bench_enqueue", flags(jobs=jobs, single=single, append=mode), f"append-only {mode}"))
    return commands


def group_flag(commands, name):
    """The same commands, their lines under the group's name."""
    return lambda size: [
        Command(c.program, [*c.arguments, "--group", name], c.label, c.fields)
        for c in commands(size)]


def growth(name, help_, commands, plots, rounds=5):
    return Group(name, help_, group_flag(commands, name), rounds=rounds, plots=plots)


def workers(size):
    counts = [1, 2, 3, 4, 6, 8] if size == FULL else [1, 2]
    jobs = 100000 if size == FULL else 1000
    return [Command("bench_consume", flags(jobs=jobs, batches=[64], consumers=counts, workers=counts))]


def batch(size):
    batches = [1, 4, 16, 64, 256] if size == FULL else [1, 64]
    jobs = 50000 if size == FULL else 500
    return [Command("bench_consume", flags(jobs=jobs, batches=batches, batch=batches, consumers=[1],
                                           workers=[1])),
            Command("bench_enqueue", flags(jobs=jobs, single=0, depths=batches))]


def executions(size):
    kinds = ([("90 days", dict(records=315000, days=90)),
              ("1,000,000, 10 domains", dict(records=1000000)),
              ("1,000,000, 1 domain", dict(records=1000000, domains=1)),
              ("1,000,000, 100 domains", dict(records=1000000, domains=100)),
              ("1,000,000, on a server", dict(records=1000000, postgres=1))] if size == FULL else
             [("90 days", dict(records=1000, days=90, asks=5, seconds=1, drain=0))])
    return [Command("bench_learn", flags(bare=0, batch=1024, **values), label)
            for label, values in kinds]


def learn_server(size):
    records, drain = (100000, dict()) if size == FULL else (1000, dict(asks=5, seconds=1, drain=1000))
    return [Command("bench_learn_server", flags(records=records)),
            Command("bench_learn", flags(records=records, postgres=1, workers=[1, 2, 4], **drain))]


CHROMA_FULL = dict(queries=5120, records=6000)
CHROMA_QUICK = dict(queries=192, records=120, workers=[1, 2])


def experiences(size):
    if size == QUICK:
        return [Command("bench_chroma", flags(experiences=500, **{**CHROMA_QUICK, "workers": [1]}),
                        "500 experiences")]
    return [Command("bench_chroma", flags(experiences=count, workers=[1], **CHROMA_FULL),
                    f"{human(count)} experiences") for count in (1000, 10000, 100000)]


def domains(size):
    if size == QUICK:
        return [Command("bench_chroma", flags(experiences=500, domains=10, **CHROMA_QUICK),
                        "10 domains")]
    return [Command("bench_chroma", flags(experiences=10000, domains=count, workers=[1],
                                          **CHROMA_FULL),
                    f"{count} domain{'s' * (count > 1)}") for count in (1, 10, 100)]


# ---- peers -------------------------------------------------------------------------------------------

PEERS_ON_REDIS = ("bullmq", "bee-queue", "sidekiq", "asynq", "celery", "rq", "dramatiq", "arq", "taskiq")
PEERS_APART = ("nats", "beanstalkd", "gearmand")  # with servers of their own
PEERS_RUN = str(Path(__file__).resolve().parent / "peers" / "run")


def peers(size):
    if size == QUICK:
        return [Command(PEERS_RUN, ["--alone", "--no-table", "--jobs", "2000", "stillhouse"])]
    return [Command(PEERS_RUN, ["--alone", "--no-table", name], fields={"ours": name == "stillhouse"})
            for name in ("stillhouse", *PEERS_ON_REDIS, *PEERS_APART)]


LIFT = str(Path(__file__).resolve().parent / "lift.py")


# ---- the groups --------------------------------------------------------------------------------------

def bars(name, title, unit, keep=lambda line: True, log_y=False):
    return Plot(name, title, "bars", unit, keep=keep, log_y=log_y)


def lines(name, title, unit, x, x_title, **more):
    return Plot(name, title, "lines", unit, x, x_title, **more)


def of_series(*names):
    return lambda line: line["series"] in names


GROUPS = [
    Group("enqueue", "enqueueing in bulk and one at a time, next to bare XADD",
          one("bench_enqueue", dict(jobs=100000, single=20000), dict(jobs=2000, single=200)),
          rounds=9,
          ratios=[
              Ratio("sh_enqueue, 1,000 jobs a pipeline / bare XADD", "sh_enqueue, depth 1000",
                    "bare XADD, depth 1000"),
              Ratio("the library's many / bare XADD, 3 windows",
                    "stillhouse_enqueue_distill_many, depth 1000",
                    "bare XADD, 3 windows in flight, depth 1000"),
              Ratio("one at a time / bare XADD", "stillhouse_enqueue_raw",
                    "bare XADD, one at a time"),
          ],
          plots=[bars("enqueue", "Enqueueing, 200 B a body", "jobs/s")]),
    Group("consume", "echo jobs through 1, 2 and 4 workers, next to bare consumers",
          one("bench_consume", dict(jobs=100000), dict(jobs=1000, batches=[64], consumers=[1, 2],
                                                       workers=[1, 2])),
          ratios=[
              Ratio(f"echo, {count} worker{'s' * (count > 1)} / bare consumer, batch 64",
                    f"echo, batch 64, {count} worker{'s' * (count > 1)}",
                    "bare consumer, batch 64, 1 at once") for count in (1, 2, 4)],
          plots=[bars("consume", "Working off jobs that do nothing", "jobs/s")]),
    Group("latency", "enqueue-to-start and enqueue-to-reply at 200/s and 1,000/s, open loop",
          one("bench_latency", dict(seconds=5), dict(seconds=1)), rounds=7,
          ratios=[
              Ratio(f"enqueue to {what}, {q}, {rate}/s / bare consumer",
                    f"echo, enqueue to {what}, {q}, {rate}/s",
                    f"bare consumer, enqueue to {what}, {q}, {rate}/s")
              for rate in (200, 1000) for what in ("start", "reply") for q in ("p50", "p99")],
          plots=[bars("latency-start", "Enqueue to start", "us",
                      keep=lambda line: line["what"] == "start"),
                 bars("latency-reply", "Enqueue to reply", "us",
                      keep=lambda line: line["what"] == "reply")]),
    Group("size", "bytes a queued job, a worker's memory, start-up, CPU a job",
          one("bench_size", dict(jobs=100000), dict(jobs=2000))),
    Group("learn", "executions into the learning store, synchronous=FULL, next to bare upserts; "
          "questions, alone and while records come in; the recorder",
          one("bench_learn", dict(records=100000),
              dict(records=1000, asks=5, seconds=2, drain=1000)),
          ratios=[Ratio("store_put / bare upserts", "store_put", "bare upserts"),
                  Ratio("recorder, 1 worker / bare upserts", "recorder, 1 worker",
                        "bare upserts, behind those")],
          plots=[bars("learn", "Executions into the learning store", "records/s")]),
    Group("learn-server", "the same on a server of PostgreSQL that syncs each commit, by 1, 2 and 4 "
          "recorders, next to bare upserts and COPY", group_flag(learn_server, "learn-server"),
          rounds=1,
          ratios=[Ratio(f"{who} / {bare}", who, bare)
                  for who in ("recorder, 1 worker", "recorder, 2 workers", "recorder, 4 workers")
                  for bare in ("bare upserts", "COPY")],
          plots=[bars("learn-server", "Executions into the learning store on a server",
                      "records/s")]),
    Group("outbox", "jobs that wait on the disk while Redis is away, and are sent when it is back",
          one("bench_outbox", dict(single=2000, many=100000), dict(single=20, many=500)),
          ratios=[Ratio("kept one by one / bare append", "kept one by one", "bare append")],
          plots=[bars("outbox", "Jobs kept on the disk and sent from there", "jobs/s", log_y=True)]),
    Group("lookup", "a prompt whose examples are cached: from memory, from Redis, next to bare GET",
          one("bench_lookup", dict(memory=2000000, redis=20000), dict(memory=20000, redis=500)),
          rounds=9,
          ratios=[Ratio("prompt from Redis / bare GET", "prompt from Redis", "bare GET")],
          plots=[bars("lookup", "Cached prompts, one thread", "lookups/s", log_y=True)]),
    Group("embed", "the builtin embedder alone, by the length of the text",
          one("bench_embed", dict(), dict(total=20000))),
    Group("chroma", "enrich, distill and index through Chroma with 10,000 experiences, next to bare "
          "libcurl",
          one("bench_chroma", dict(experiences=10000, documents=10000, **CHROMA_FULL),
              dict(experiences=500, documents=100, **CHROMA_QUICK)),
          inside=True,
          ratios=[
              *(Ratio(f"enrich, {count} worker{'s' * (count > 1)} / bare query at its best",
                      f"enrich, {count} worker{'s' * (count > 1)}",
                      ["bare query, 1 connection", "bare query, 2 connections"])
                for count in (1, 2, 4)),
              *(Ratio(f"distill, {count} worker{'s' * (count > 1)} / bare upsert",
                      f"distill, {count} worker{'s' * (count > 1)}", "bare upsert, 1 writer")
                for count in (1, 2, 4)),
              Ratio("distill, 4 workers / 1 worker", "distill, 4 workers", "distill, 1 worker"),
              Ratio("index / bare upsert", "index, 1 worker", "bare upsert, 1 writer"),
          ],
          plots=[bars("chroma-query", "Queries of Chroma, 10,000 experiences", "queries/s"),
                 bars("chroma-write", "Writing to Chroma, 10,000 experiences", "records/s")]),
    Group("peers", "the same no-op job through other queues: default settings, best settings", peers,
          ratios=[
              Ratio("Stillhouse / best peer on Redis", "stillhouse, *",
                    [f"{name}, *" for name in PEERS_ON_REDIS]),
              *(Ratio(f"Stillhouse / {name}, both with their best settings", "stillhouse, best",
                      f"{name}, best") for name in (*PEERS_ON_REDIS, *PEERS_APART))],
          plots=[bars("peers", "No-op jobs, best settings", "jobs/s",
                      keep=lambda line: line["variant"].endswith(", best"), log_y=True)]),
    growth("growth-backlog", "drain rate and memory at backlogs of 10,000 to 1,000,000", backlog, [
        lines("growth-backlog", "Drain rate by backlog", "jobs/s", "jobs", "jobs waiting"),
        lines("growth-backlog-memory", "Memory of Redis by backlog, 200 B a body", "jobs/s", "jobs",
              "jobs waiting", y="redis_bytes", y_title="bytes", log_y=True)]),
    growth("growth-workers", "drain rate with 1 to 8 workers", workers, [
        lines("growth-workers", "Drain rate by workers (consumers)", "jobs/s", "workers", "workers")]),
    growth("growth-batch", "enqueueing and drain rate at batches of 1 to 256", batch, [
        lines("growth-batch", "Drain rate by batch", "jobs/s", "batch", "batch",
              keep=of_series("echo", "bare consumer")),
        lines("growth-depth", "Enqueueing by jobs a call", "jobs/s", "depth", "jobs a call",
              keep=of_series("bare XADD", "sh_enqueue"))]),
    growth("growth-body", "enqueueing and drain rate with bodies of 200 B to 64 KiB", body, [
        lines("growth-body", "Jobs a second by body", "jobs/s", "body", "bytes a body", log_y=True)]),
    Group("growth-experiences", "enrich and distill with 1,000 to 100,000 experiences",
          group_flag(experiences, "growth-experiences"), rounds=5, inside=True,
          plots=[lines("growth-experiences-query", "Queries by experiences", "queries/s",
                       "experiences", "experiences"),
                 lines("growth-experiences-write", "Writing by experiences", "records/s",
                       "experiences", "experiences")]),
    Group("growth-domains", "enrich and distill with 1, 10 and 100 domains, 10,000 experiences",
          group_flag(domains, "growth-domains"), rounds=5, inside=True,
          plots=[bars("growth-domains-query", "Queries by domains", "queries/s"),
                 bars("growth-domains-write", "Writing by domains", "records/s")]),
    growth("growth-learn", "the learning store with 90 days of 3,500 executions, and with 1,000,000",
           executions, [
               bars("growth-learn", "Questions of a large learning store, p95", "ms",
                    keep=lambda line: line["series"].endswith("p95"), log_y=True)], rounds=1),
    growth("append", "append-only file off, everysec, always", append, [
        bars("append", "Append-only file", "jobs/s", log_y=True)]),
    Group("lift", "answers of a small chat model that are right, by the form of its examples (only where "
          "it is named; an hour)",
          lambda size: [Command(LIFT, ["--lines", "--questions", "400" if size == FULL else "5"])],
          rounds=1, by_name_only=True),
]

TARGETS = [
    Target("enqueue in bulk / bare pipelined XADD of the same entry and depth", "enqueue",
           "sh_enqueue, 1,000 jobs a pipeline / bare XADD", ">=", 0.8),
    Target("the same through the library, which encodes the jobs too", "enqueue",
           "the library's many / bare XADD, 3 windows", ">=", 0.8),
    Target("enqueue one at a time / bare XADD (round trip)", "enqueue", "one at a time / bare XADD",
           ">=", 0.8),
    Target("echo jobs, 1 worker / bare consumer of batch 64", "consume",
           "echo, 1 worker / bare consumer, batch 64", ">=", 0.7),
    Target("echo jobs / best peer on Redis, both with their best settings", "peers",
           "Stillhouse / best peer on Redis", ">=", 10),
    Target("enqueue-to-start p50 at 200/s / bare blocking consumer", "latency",
           "enqueue to start, p50, 200/s / bare consumer", "<=", 1.5),
    Target("enqueue-to-start p99 at 200/s / bare blocking consumer", "latency",
           "enqueue to start, p99, 200/s / bare consumer", "<=", 2),
    Target("enrich uncached through Chroma / bare client at its best", "chroma",
           "enrich, 1 worker / bare query at its best", ">=", 0.8),
    Target("distill, 1 worker / bare upsert by one writer, batch 100", "chroma",
           "distill, 1 worker / bare upsert", ">=", 0.8),
    Target("distill, 2 workers / bare upsert", "chroma", "distill, 2 workers / bare upsert", ">=",
           0.8),
    Target("distill, 4 workers / bare upsert", "chroma", "distill, 4 workers / bare upsert", ">=",
           0.8),
    Target("distill, 4 workers / 1 worker", "chroma", "distill, 4 workers / 1 worker", ">=", 1),
    Target("records into the learning store / bare upserts in the same batches", "learn",
           "store_put / bare upserts", ">=", 0.7),
    Target("the same through the queue and a recorder", "learn",
           "recorder, 1 worker / bare upserts", ">=", 0.7),
    Target("records a second through the queue and a recorder", "learn", "recorder, 1 worker", ">=",
           3000),
    Target("slowest question at 100,000 executions, p95 (ms)", "learn", "slowest question, p95", "<",
           20),
    Target("the same, 4 at once, 500 records/s coming in (ms)", "learn",
           "slowest question, 4 at once, 500 records/s, p95", "<", 100),
    Target("the same over HTTP (ms)", "learn",
           "slowest question, 4 at once over HTTP, 500 records/s, p95", "<", 100),
    Target("age of the oldest stale figure meanwhile, p95 (s)", "learn",
           "age of the oldest stale figure, 4 at once, 500 records/s, p95", "<", 10),
    Target("slowest question at 100,000 executions on a server, p95 (ms)", "learn-server",
           "slowest question, p95", "<", 20),
    Target("the same, 4 at once, 500 records/s coming in (ms)", "learn-server",
           "slowest question, 4 at once, 500 records/s, p95", "<", 100),
    Target("age of the oldest stale figure meanwhile, p95 (s)", "learn-server",
           "age of the oldest stale figure, 4 at once, 500 records/s, p95", "<", 10),
    Target("file of 100,000 executions (MB)", "learn", "file", "<", 150),
    Target("file of 90 days at 3,500 executions a day (MB)", "growth-learn", "file, 90 days", "<",
           500),
    *(Target(f"slowest question at 1,000,000 executions, {of}, p95 (ms)", "growth-learn",
             f"slowest question, p95, 1,000,000, {of}", "<", 100)
      for of in ("1 domain", "10 domains", "100 domains", "on a server")),
    Target("prompt from Redis cache / bare GET", "lookup", "prompt from Redis / bare GET", ">=", 0.9),
    Target("prompts from memory a second, one core", "lookup", "prompt from memory", ">", 2000000),
    Target("resident memory of a worker, idle (MiB)", "size", "worker, resident, idle", "<=", 6),
    Target("the same of a recorder (MiB)", "size", "recorder, resident, idle", "<=", 8),
    Target("resident memory of a worker, loaded, 4 lanes, batch 64 (MiB)", "size",
           "worker, resident, loaded", "<=", 16),
    Target("the same with enrichments through Chroma (MiB)", "chroma",
           "worker, resident, enrich, 1 worker", "<=", 16),
    Target("start to first job (ms)", "size", "start to first job", "<=", 30),
    Target("bytes per queued job over its body", "size", "bytes a queued job over its body", "<=", 120),
]


def natural(name):
    """A key that sorts "depth 64" before "depth 1000" and "1,000"."""
    return [(int(part.replace(",", "")), "") if part[0].isdigit() else (0, part)
            for part in re.findall(r"\d[\d,]*|\D+", name)]


def named(name):
    return next((group for group in GROUPS if group.name == name), None)
