"""A program that knows only producer/CONTRACT.md: redis-py, msgpack, plain HTTP, and the two programs.

Reads STILLHOUSE_REDIS_URL, STILLHOUSE_CHROMA_URL and STILLHOUSE_WORKER_URLS (separated by spaces),
finds `stillhouse` and `redis-cli` in PATH. Nothing of the sources is used. Ends with one line,
"N passed, N failed".
"""
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import msgpack
import redis

REDIS_URL = os.environ["STILLHOUSE_REDIS_URL"]
CHROMA = (os.environ["STILLHOUSE_CHROMA_URL"]
          + "/api/v2/tenants/default_tenant/databases/default_database/collections")
WORKERS = os.environ.get("STILLHOUSE_WORKER_URLS", "").split()
DISTILL, ENRICH, CALL = 5000, 2000, 500
DOMAINS = ["legal", "medicine", "ops.network", "cooking", "music-theory"]
BACKLOG = 100000
DAY_MS = 24 * 60 * 60 * 1000

db = redis.Redis.from_url(REDIS_URL)
chance = random.Random(20260101)
passed = failed = 0


def check(ok, text, detail=""):
    global passed, failed
    if ok:
        passed += 1
        print(f"ok      {text}")
    else:
        failed += 1
        print(f"FAILED  {text}  {detail}")
    sys.stdout.flush()
    return ok


def base(queue):
    return "sh:{%s}" % queue


def text_hash(text):
    return hashlib.sha256(b" ".join(text.encode().split())).hexdigest()[:32]


def cache_key(domain, query):
    return "sh:cache:{%s}:%s" % (domain, text_hash(query))


def new_id():
    return "py-%016x" % chance.getrandbits(64)


def enqueue(queue, jobs, backlog=BACKLOG):
    """jobs: (id, domain, options, body); the answers in their order."""
    answers = []
    for start in range(0, len(jobs), CALL):
        arguments = []
        for job in jobs[start:start + CALL]:
            arguments += job
        answers += db.fcall("sh_enqueue", 1, base(queue), backlog, *arguments)
    return [answer.decode() for answer in answers]


def stats(queue):
    flat = db.fcall_ro("sh_stats", 1, base(queue))
    return {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}


def outstanding(queue):
    now = stats(queue)
    return now["waiting"] + now["running"] + now["delayed"]


def wait_until(condition, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def drained(queue, seconds):
    start = time.monotonic()
    ok = wait_until(lambda: outstanding(queue) == 0, seconds)
    check(ok, f"{queue}: nothing is outstanding after {time.monotonic() - start:.1f} s",
          stats(queue))
    return ok


def http(url, document=None):
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def collection(domain):
    code, body = http(f"{CHROMA}/sh-{domain}")
    return json.loads(body) if code == 200 else {}


def documents(domain):
    """id -> (document, metadata) of a whole collection."""
    uuid = collection(domain).get("id")
    found, offset = {}, 0
    while uuid:
        _, body = http(f"{CHROMA}/{uuid}/get", {"limit": 500, "offset": offset,
                                                "include": ["documents", "metadatas"]})
        page = json.loads(body)
        for i, name in enumerate(page["ids"]):
            found[name] = (page["documents"][i], page["metadatas"][i])
        if len(page["ids"]) < 500:
            break
        offset += 500
    return found


def cli(*arguments, program="stillhouse"):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def cached(domain, query):
    raw = db.get(cache_key(domain, query))
    return None if raw is None else msgpack.unpackb(raw)


WORDS = """contract tenant notice period fever dosage router subnet latency butter onion simmer
chord scale tempo claim court appeal therapy nurse switch packet firewall oven garlic melody rhythm
lease breach witness vaccine symptom cable gateway flour yeast violin octave judge clause pulse
ward proxy port recipe spice choir treble""".split()


def sentence(length):
    return " ".join(chance.choice(WORDS) for _ in range(length))


# ---- the main job ----

def experience(number):
    domain = DOMAINS[number % len(DOMAINS)]
    body = {"task_id": f"task-{number}", "prompt": f"{sentence(8)} case {number}",
            "result": f"{sentence(12)}.", "success": True, "quality": 0.5 + number % 50 / 100,
            "model": "model-1", "metadata": {"source": "contract", "number": number, "ratio": 0.25,
                                             "reviewed": number % 2 == 0}}
    return domain, body


def distill_many():
    experiences = [experience(number) for number in range(DISTILL)]
    before = int(time.time() * 1000)
    ids = [new_id() for _ in experiences]
    answers = enqueue("distill", [(i, domain, "", msgpack.packb(body))
                                  for i, (domain, body) in zip(ids, experiences)])
    check(answers == ids, f"distill: {DISTILL} jobs are accepted under their own ids")
    drained("distill", 240)
    after = int(time.time() * 1000)
    for domain in DOMAINS:
        check_collection(domain, [body for where, body in experiences if where == domain],
                         before, after)


def check_collection(domain, bodies, before, after):
    found = documents(domain)
    check(set(found) == {body["task_id"] for body in bodies},
          f"sh-{domain}: holds exactly the {len(bodies)} tasks", f"{len(found)} there")
    wrong = [body["task_id"] for body in bodies
             if not is_as_promised(found.get(body["task_id"]), domain, body, before, after)]
    check(not wrong, f"sh-{domain}: every document and its metadata are the contract's",
          wrong and (len(wrong), found.get(wrong[0])))


def is_as_promised(entry, domain, body, before, after):
    if entry is None or entry[0] != body["prompt"] + "\n\n" + body["result"]:
        return False
    metadata = entry[1]
    promised = dict(body["metadata"], source="distill", caller_source=body["metadata"]["source"],
                    task_id=body["task_id"], domain=domain, success=True,
                    model=body["model"])
    return (all(metadata.get(key) == value for key, value in promised.items())
            and abs(metadata["quality"] - body["quality"]) < 1e-6
            and before - 1000 <= metadata["created_ms"] <= after + 1000
            and abs(metadata["expires_ms"] - metadata["created_ms"] - 7 * DAY_MS) < 1000)


def enrich_many():
    asked = [(DOMAINS[i % len(DOMAINS)], f"  {sentence(5)}\t question {i} ") for i in range(ENRICH)]
    ids = [new_id() for _ in asked]
    answers = enqueue("enrich", [(i, domain, f"unique={text_hash(query)}.3",
                                  msgpack.packb({"query": query, "k": 3}))
                                 for i, (domain, query) in zip(ids, asked)])
    check(answers == ids, f"enrich: {ENRICH} jobs are accepted under their own ids")
    drained("enrich", 180)
    missing = wrong = 0
    example = None
    for domain, query in asked:
        result = cached(domain, query)
        if result is None:
            missing += 1
        elif not is_result(result, domain, query, 3):
            wrong += 1
            example = result
    check(missing == 0, "enrich: every cache key is where the contract's line computes it", missing)
    check(wrong == 0, "enrich: every cached result has the contract's fields", (wrong, example))
    ttl = db.ttl(cache_key(*asked[0]))
    check(0 < ttl <= 3600, "enrich: a cached result lives for STILLHOUSE_CACHE_TTL", ttl)


def is_result(result, domain, query, k):
    examples = result.get("examples", [])
    distances = [example["distance"] for example in examples]
    return (result.get("v") == 1 and result["domain"] == domain
            and result["query_hash"] == text_hash(query)
            and abs(result["created_ms"] - time.time() * 1000) < 600000
            and result["epoch"] == int(db.get("sh:epoch:{%s}" % domain) or 0)
            and len(examples) == k and distances == sorted(distances)
            and all(isinstance(e["id"], str) and e["text"] and e["metadata"]["domain"] == domain
                    for e in examples)
            and isinstance(result["few_shot"], str) and len(result["few_shot"]) > 20)


def books():
    for queue in ("enrich", "distill", "index", "echo", "record", "vector"):
        n = stats(queue)
        left = n["enqueued"] + n["requeued"]
        right = (n["done"] + n["buried"] + n["expired"] + n["waiting"] + n["running"]
                 + n["delayed"])
        check(left == right and n["buried"] == n["dead"] + n["requeued"] + n["discarded"],
              f"{queue}: the books balance", n)
        lengths = [db.xlen(base(queue) + stream) for stream in (":jobs", ":jobs:high", ":jobs:low")]
        check(lengths == [0, 0, 0], f"{queue}: XLEN of its three streams is 0", lengths)
    done = cli("verify")
    check(done.returncode == 0, "stillhouse verify: exit code 0", done.stdout + done.stderr)
    document = json.loads(cli("stats", "--json").stdout)
    check(document["queues"]["distill"]["counters"]["done"] == stats("distill")["done"]
          and document["workers"] == max(len(WORKERS), 1),
          "stillhouse stats --json: the same numbers, and every worker", document)


# ---- each promise by itself ----

def push_from_redis_cli():
    query = "notice period for tenants"
    done = cli("-u", REDIS_URL, "FCALL", "sh_push", "1", base("enrich"), "domain", "legal",
               "query", query, program="redis-cli")
    check(done.returncode == 0 and len(done.stdout.strip()) > 0 and "ERR" not in done.stdout,
          "redis-cli FCALL sh_push: answers an id", done.stdout + done.stderr)
    check(wait_until(lambda: cached("legal", query) is not None, 20),
          "redis-cli FCALL sh_push: the job gets done")
    done = cli("-u", REDIS_URL, "FCALL", "sh_push", "1", base("distill"), "domain", "pushed",
               "task_id", "pushed-1", "prompt", "by hand", "result", "it works", "success", "true",
               program="redis-cli")
    check(wait_until(lambda: "pushed-1" in documents("pushed"), 20),
          "redis-cli FCALL sh_push: an experience too", done.stdout + done.stderr)


def paused(queue):
    class Pause:
        def __enter__(self):
            done = cli("pause", queue)
            check(done.returncode == 0 and db.exists(base(queue) + ":paused") == 1,
                  f"stillhouse pause {queue}", done.stderr)
            # A read that began before may still take jobs: the longest block is 2 s.
            time.sleep(2.5)

        def __exit__(self, *exception):
            done = cli("resume", queue)
            check(done.returncode == 0 and db.exists(base(queue) + ":paused") == 0,
                  f"stillhouse resume {queue}", done.stderr)
    return Pause()


def waiting_jobs():
    with paused("enrich"):
        one, twin, other = new_id(), new_id(), new_id()
        query = "which clause protects a witness"
        body = msgpack.packb({"query": query, "k": 2})
        options = f"unique={text_hash(query)}.2"
        before = stats("enrich")
        check(enqueue("enrich", [(one, "legal", options, body)]) == [one], "unique: the first is added")
        entries = db.xrange(base("enrich") + ":jobs")
        fields = list(entries[0][1].items()) if entries else []
        check([name for name, _ in fields] == [b"id", b"domain", b"attempt", b"options", b"body"],
              "XRANGE of a waiting job: its five fields in their order", entries)
        check(dict(fields).get(b"id") == one.encode() and dict(fields).get(b"domain") == b"legal"
              and dict(fields).get(b"attempt") == b"0" and dict(fields).get(b"body") == body,
              "XRANGE of a waiting job: reads well", fields)
        check(enqueue("enrich", [(twin, "legal", options, body)]) == [one],
              "unique: the twin gets the id of the first")
        ttl = db.ttl(base("enrich") + ":unique:" + f"{text_hash(query)}.2")
        check(ttl == -2 or ttl > 0, "unique: its key has a time to live", ttl)
        check(enqueue("enrich", [(other, "legal", "", body)], backlog=1) == ["FULL"],
              "the bound: FULL")
        # A read that blocked since before the pause may have brought it, and gives it back.
        wait_until(lambda: stats("enrich")["waiting"] == 1, 5)
        now = stats("enrich")
        check((now["enqueued"] - before["enqueued"], now["deduplicated"] - before["deduplicated"],
               now["refused"] - before["refused"], now["waiting"], now["paused"]) == (1, 1, 1, 1, 1),
              "sh_stats: one accepted, one twin, one refused, one waiting, paused", now)
        done = cli("peek", "enrich")
        check(done.returncode == 0 and one in done.stdout, "stillhouse peek shows it", done.stdout)
    drained("enrich", 20)
    result = cached("legal", query)
    check(result is not None and len(result["examples"]) == 2, "k is respected", result)


def priorities():
    with paused("echo"):
        for word in ("high", "normal", "low"):
            enqueue("echo", [(new_id(), "x", f"priority={word}", b"\x80") for _ in range(20)])
        lengths = [db.xlen(base("echo") + stream) for stream in (":jobs:high", ":jobs", ":jobs:low")]
        check(lengths == [20, 20, 20], "priority: each has its stream", lengths)
    drained("echo", 20)


def replies():
    job = new_id()
    body = msgpack.packb({"hello": "world", "n": [1, 2, 3]})
    enqueue("echo", [(job, "x", "reply=1", body)])
    key = f"{base('echo')}:reply:{job}"
    first = db.blmove(key, key, 10, "LEFT", "LEFT")
    second = db.blmove(key, key, 1, "LEFT", "LEFT")
    check(first == body == second, "reply: echo's body, for each who waits", (first, second))
    check(db.ttl(key) > 0, "reply: has a time to live", db.ttl(key))
    job, query = new_id(), "a melody in another octave"
    enqueue("enrich", [(job, "music-theory", "reply=1", msgpack.packb({"query": query}))])
    key = f"{base('enrich')}:reply:{job}"
    raw = db.blmove(key, key, 10, "LEFT", "LEFT")
    check(raw is not None and is_result(msgpack.unpackb(raw), "music-theory", query, 3),
          "reply: an enrichment's result, k = 3 by itself", raw)


def delay_and_deadline():
    job = new_id()
    start = time.monotonic()
    enqueue("echo", [(job, "x", "delay_ms=1500 reply=1", b"\x80")])
    check(stats("echo")["delayed"] == 1 and db.zcard(base("echo") + ":delayed") == 1,
          "delay: it stands in the delayed set", stats("echo"))
    key = f"{base('echo')}:reply:{job}"
    answer = db.blmove(key, key, 15, "LEFT", "LEFT")
    took = time.monotonic() - start
    check(answer is not None and 1.4 <= took < 10, "delay: not before its time", took)
    before = stats("echo")
    with paused("echo"):
        deadline = int(time.time() * 1000) + 300
        enqueue("echo", [(new_id(), "x", f"deadline_ms={deadline}", b"\x80")])
        time.sleep(0.5)
    wait_until(lambda: stats("echo")["expired"] == before["expired"] + 1, 20)
    after = stats("echo")
    check(after["expired"] == before["expired"] + 1 and after["done"] == before["done"],
          "deadline: past it the job is expired and not run", after)


def dead_letters():
    good = {"task_id": "t", "prompt": "p", "result": "r", "success": True}
    bad = {"success false": dict(good, success=False), "quality": dict(good, quality=0.1),
           "empty prompt": dict(good, prompt=""), "missing result": {"task_id": "t", "prompt": "p",
                                                                      "success": True}}
    ids = {name: new_id() for name in bad}
    enqueue("distill", [(ids[name], "legal", "", msgpack.packb(body)) for name, body in bad.items()])
    broken = {"not msgpack": b"\xc1 no", "truncated": msgpack.packb(good)[:-3],
              "four billion": b"\xdf\xff\xff\xff\xff", "deep": b"\x91" * 1000 + b"\x80"}
    broken_ids = {name: new_id() for name in broken}
    enqueue("distill", [(broken_ids[name], "legal", "", body) for name, body in broken.items()])
    wait_until(lambda: stats("distill")["dead"] >= len(bad) + len(broken), 20)
    letters = {fields[b"id"].decode(): fields
               for _, fields in db.xrange(base("distill") + ":dead")}
    for name, job in list(ids.items()) + list(broken_ids.items()):
        fields = letters.get(job, {})
        reason = fields.get(b"reason", b"").decode()
        expected = ("rejected", "malformed") if name == "missing result" else \
            ("rejected",) if name in ids else ("malformed",)
        check(reason in expected and all(key in fields for key in (
            b"id", b"domain", b"attempt", b"options", b"body", b"error", b"attempts",
            b"deliveries", b"died", b"worker")) and len(fields[b"error"]) > 5,
            f"dead letter, {name}: {reason}, {fields.get(b'error', b'').decode()[:80]}", fields)
    listed = cli("dead", "list", "distill")
    check(listed.returncode == 0 and all(job in listed.stdout for job in ids.values()),
          "stillhouse dead list shows them", listed.stdout + listed.stderr)
    done = cli("dead", "discard", "distill", "--all")
    check(done.returncode == 0 and stats("distill")["dead"] == 0, "stillhouse dead discard --all",
          done.stderr)


def malformed_calls():
    before = stats("echo")
    for name, arguments in {"three arguments a job": ("100", "id", "x", ""),
                            "no backlog": ("many", "id", "x", "", b"\x80"),
                            "an unknown option": ("100", "id", "x", "colour=red", b"\x80"),
                            "a bad id": ("100", "i d", "x", "", b"\x80"),
                            "a bad one after a good one": ("100", "good", "x", "", b"\x80",
                                                           "", "x", "", b"\x80")}.items():
        try:
            answer = db.fcall("sh_enqueue", 1, base("echo"), *arguments)
            check(False, f"malformed call, {name}: is an error", answer)
        except redis.ResponseError as error:
            check(True, f"malformed call, {name}: {error}")
    check(stats("echo")["enqueued"] == before["enqueued"], "malformed calls add nothing")


def same_task_twice():
    body = {"task_id": "again", "prompt": "the same task", "result": "first", "success": True}
    for result in ("first", "second"):
        enqueue("distill", [(new_id(), "twice", "", msgpack.packb(dict(body, result=result)))])
        wait_until(lambda: outstanding("distill") == 0, 20)
    found = documents("twice")
    check(list(found) == ["again"], "the same task twice leaves one document", found)
    epoch = int(db.get("sh:epoch:{twice}") or 0)
    check(epoch >= 1, "a write moves the domain's epoch", epoch)


def index():
    body = msgpack.packb({"documents": [
        {"id": f"doc-{i}", "text": f"{sentence(10)} {i}", "metadata": {"page": i}} for i in range(50)]})
    enqueue("index", [(new_id(), "library", "", body)])
    drained("index", 30)
    found = documents("library")
    check(len(found) == 50 and found["doc-7"][1]["page"] == 7, "index: 50 documents are there",
          len(found))
    epoch = db.get("sh:epoch:{library}")
    enqueue("index", [(new_id(), "library", "", body)])
    wait_until(lambda: outstanding("index") == 0, 30)
    check(len(documents("library")) == 50 and db.get("sh:epoch:{library}") == epoch,
          "index: unchanged documents are not written again")


def unknown_domain():
    query = "anything at all"
    enqueue("enrich", [(new_id(), "nobody-was-here", "", msgpack.packb({"query": query}))])
    wait_until(lambda: cached("nobody-was-here", query) is not None, 20)
    result = cached("nobody-was-here", query)
    check(result is not None and result["examples"] == [], "a domain without a collection: no examples",
          result)


METRICS = """stillhouse_jobs_total stillhouse_job_seconds stillhouse_job_wait_seconds
stillhouse_upstream_seconds stillhouse_upstream_errors_total stillhouse_http_requests_total
stillhouse_http_connections_total stillhouse_breaker_state stillhouse_breaker_opened_total
stillhouse_cache_lookups_total stillhouse_prompts_total stillhouse_embedded_texts_total
stillhouse_queue_jobs stillhouse_lanes stillhouse_fleet_jobs_total""".split()


def endpoints():
    for url in WORKERS:
        code, _ = http(url + "/healthz")
        check(code == 200, "healthz: 200", code)
        code, body = http(url + "/readyz")
        check(code == 200 and isinstance(json.loads(body), dict), "readyz: 200 and JSON", body)
        code, body = http(url + "/metrics")
        text = body.decode()
        missing = [name for name in METRICS if f"# TYPE {name} " not in text]
        check(code == 200 and not missing, "metrics: every one of the contract", missing)
        for outcome, count in db.hgetall("sh:{distill}:counters").items():
            series = 'stillhouse_fleet_jobs_total{queue="distill",outcome="%s"} ' % outcome.decode()
            check(f"{series}{count.decode()}\n" in text, f"metrics: {series}is Redis' count", count)
    members = db.zrange("sh:workers", 0, -1)
    check(len(members) == len(WORKERS) and all(
        db.hget(b"sh:worker:" + member, "pid") and db.ttl(b"sh:worker:" + member) > 0
        for member in members), "sh:workers: all are registered", members)


# ---- the page itself: what a running fleet has, and what the page names ----

PAGE = pathlib.Path(__file__).resolve().parents[2] / "producer/CONTRACT.md"
HOLES = {"{Q}": r"\{(?:enrich|distill|index|echo|record|vector)(?:\.\d{1,4})?\}", "{<domain>}": r"\{[a-z0-9._-]+\}"}


def section(number):
    return re.search(rf"^## {number}\..*?(?=^## |\Z)", PAGE.read_text(encoding="utf-8"),
                     re.DOTALL | re.MULTILINE)[0]


def key_pattern(name):
    parts = re.split(r"(\{Q\}|\{<domain>\}|<[a-z_ ]+>)", name)
    return "".join(HOLES.get(part, ".*" if part.startswith("<") else re.escape(part)) for part in parts)


def named_keys():
    """The keys of section 6 as patterns; `:jobs:high` stands for the queue's."""
    names = set()
    for row in re.findall(r"^\| (`s?h?:.*?) \|", section(6), re.MULTILINE):
        names.update(re.findall(r"`([^`]+)`", row))
    return {name: key_pattern(name if name.startswith("sh:") else "sh:{Q}" + name) for name in names}


def page():
    library, = db.function_list(library="stillhouse")
    fields = dict(zip(library[::2], library[1::2]))
    there = {dict(zip(row[::2], row[1::2]))[b"name"].decode() for row in fields[b"functions"]}
    named = set(re.findall(r"`(sh_\w+)`", section(8)))
    check(there == named, "the page names every function of the library, and no other", there ^ named)
    there = set(re.findall(r"^# TYPE (stillhouse_\w+) ", http(WORKERS[0] + "/metrics")[1].decode(),
                           re.MULTILINE))
    named = set(re.findall(r"`(stillhouse_\w+)`", section(9)))
    check(there == named, "the page names every metric of a worker, and no other", there ^ named)
    patterns = named_keys()
    check(len(patterns) > 25, "the page names the keys", patterns)
    unknown = [key for key in (key.decode() for key in db.scan_iter("*", count=1000))
               if not any(re.fullmatch(pattern, key) for pattern in patterns.values())]
    check(not unknown, "the page names every key that the fleet made", unknown[:5])
    counters = {name.decode() for queue in ("enrich", "distill", "index", "echo", "record", "vector")
                for name in db.hgetall(base(queue) + ":counters")}
    named = set(re.findall(r"`(\w+)`", section(7)))
    check(counters <= named and set(stats("echo")) <= set(re.findall(r"\w+", section(7))),
          "the page names every counter", counters - named)


def main():
    start = time.monotonic()
    distill_many()
    enrich_many()
    books()
    for part in (push_from_redis_cli, waiting_jobs, priorities, replies, delay_and_deadline,
                 dead_letters, malformed_calls, same_task_twice, index, unknown_domain, endpoints, page):
        try:
            part()
        except Exception as error:  # one broken promise must not hide the others
            check(False, part.__name__, repr(error))
    for queue in ("enrich", "distill", "index", "echo", "record", "vector"):
        wait_until(lambda: outstanding(queue) == 0, 20)
    books()
    print(f"{time.monotonic() - start:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
