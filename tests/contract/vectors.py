"""The golden vectors, read by a program that knows only the contract, and played to a fleet.

Reads STILLHOUSE_REDIS_URL: a Redis with a fleet behind it; nothing of the sources is used. Ends with
one line, "N passed, N failed".
"""
import hashlib
import json
import os
import pathlib
import re
import sys
import time

import msgpack
import redis

FOLDER = pathlib.Path(__file__).resolve().parent / "vectors"
ASIDE = 77  # a partition that no worker serves
ORDER = {"enrich": ["query", "k"], "index": ["documents"], "distill": [
    "task_id", "prompt", "result", "success", "quality", "model", "metadata"]}
FLOATS = {"quality", "distance"}
SERVED = list(ORDER)  # by a worker that is told nothing

# What a record may carry is a table of the contract.
PAGE = pathlib.Path(__file__).resolve().parents[2] / "producer/CONTRACT.md"
TABLE = re.search(r"^\| field \| type \| of the kinds \|\n.*\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"), re.M)[1]
RECORD = re.findall(r"^\| `(\w+)` \| (\w+)", TABLE, re.M)
ORDER["record"] = ["kind"] + [name for name, _ in RECORD] + ["metadata"]
ORDER["vector"] = ["task_id"]
FLOATS |= {name for name, kind in RECORD if kind == "number"}

db = redis.Redis.from_url(os.environ["STILLHOUSE_REDIS_URL"])
passed = failed = 0


def check(ok, text, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED  {text}  {detail}")
    sys.stdout.flush()
    return ok


def vectors(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def name_of(vector):
    return vector.get("what") or vector.get("text") or vector.get("line") or str(vector)[:80]


# ---- what needs no server ----

def names():
    for vector in vectors("names")["hashes"]:
        text = vector["text"].encode()
        normal = b" ".join(text.split())
        check(normal.decode() == vector["normalised"]
              and hashlib.sha256(normal).hexdigest()[:32] == vector["text_hash"]
              and hashlib.sha256(text).hexdigest()[:32] == vector["raw_hash"],
              f"hash: {text[:40]!r}", vector)
    for kind, rule in {"ids": r"[A-Za-z0-9._:-]{1,64}",
                       "domains": r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"}.items():
        for vector in vectors("names")[kind]:
            check((re.fullmatch(rule, vector["text"]) is not None) == vector["good"],
                  f"{kind}: {vector['text']!r}")


def holdouts():
    for vector in vectors("holdouts")["holdouts"]:
        text = vector["domain"].encode() + b"\0" + vector["id"].encode()
        number = int(hashlib.sha256(text).hexdigest()[:8], 16)
        held_out = [share for share in (vector["least"] - 1, vector["least"])
                    if number * 10**6 < share * 2**32]
        check(number == vector["number"] and held_out == [vector["least"]],
              f"holdout: {vector['what']}", number)


def packed(value, name=None):
    """In the order given, shortest forms; what the contract calls a float is one."""
    if isinstance(value, dict):
        head = msgpack.Packer().pack_map_header(len(value))
        return head + b"".join(msgpack.packb(k) + packed(v, k) for k, v in value.items())
    if isinstance(value, list):
        return msgpack.Packer().pack_array_header(len(value)) + b"".join(map(packed, value))
    return msgpack.packb(float(value) if name in FLOATS else value)


def unpacked(hex_digits):
    return msgpack.unpackb(bytes.fromhex(hex_digits), strict_map_key=False)


def bodies():
    for vector in vectors("bodies")["bodies"]:
        if "fields" not in vector:
            continue
        fields, what = vector["fields"], f"{vector['kind']}: {vector['what']}"
        check([name for name in ORDER[vector["kind"]] if name in fields] == list(fields),
              f"{what}: the fields' order", fields)
        check(packed(fields).hex() == vector["canonical"], f"{what}: encodes", fields)
        check(unpacked(vector["canonical"]) == fields, f"{what}: decodes", fields)


def results():
    for vector in vectors("results")["results"]:
        if "fields" in vector:
            check(packed(vector["fields"]).hex() == vector["canonical"]
                  and unpacked(vector["canonical"]) == vector["fields"],
                  f"result: {vector['what']}", vector)
    for vector in vectors("results")["blocks"]:
        result = unpacked(vector["hex"])
        check(result["few_shot"] == vector["few_shot"]
              and [(e["id"], e["text"]) for e in result["examples"]]
              == [(e["id"], e["text"]) for e in vector["examples"]]
              and bool(result["few_shot"]) == bool(result["examples"]), f"block: {vector['what']}")
    for vector in vectors("results")["tasks"]:
        example = unpacked(vector["hex"])["examples"][0]
        text, at = example["text"].encode(), example.get("prompt_bytes")
        halves = (None, None) if at is None else (text[:at].decode(), text[at + 2:].decode())
        check(halves == (vector.get("prompt"), vector.get("result"))
              and (example["text"], example["metadata"])
              == (vector["example"]["text"], vector["example"]["metadata"]),
              f"task: {vector['what']}", example)


def parsed(text):
    """The fields of an options string that is known to be good."""
    fields = dict(pair.split("=", 1) for pair in text.split(" ")) if text else {}
    numbers = {"delay_ms", "deadline_ms", "since"}
    found = {k: int(v) if k in numbers else v == "1" if k == "reply" else v
             for k, v in fields.items()}
    return dict({"priority": "normal"}, **{k: v for k, v in found.items() if v})


def options():
    for vector in vectors("options")["options"]:
        if "fields" in vector:
            check(parsed(vector["text"]) == vector["fields"] == parsed(vector["canonical"]),
                  f"options: {vector['text'][:60]}", vector)


# ---- what a fleet says ----

def base(queue):
    return "sh:{%s}" % queue


def forget(queue):
    keys = list(db.scan_iter(base(queue) + "*", count=1000))
    if keys:
        db.delete(*keys)


def waiting(queue):
    return [fields for stream in (":jobs:high", ":jobs", ":jobs:low")
            for _, fields in db.xrange(base(queue) + stream)]


def aside(queue):
    return f"{queue.split('.')[0]}.{ASIDE}"


def pushes():
    for vector in vectors("push")["push"]:
        good = "error" not in vector
        queue = aside(vector["queue"]) if good else vector["queue"]
        forget(aside(vector["queue"]))
        try:
            db.fcall("sh_push", 1, base(queue), *vector["arguments"])
            job = waiting(queue)[0]
            check(good and (job[b"domain"].decode(), job[b"options"].decode(), job[b"body"].hex())
                  == (vector["domain"], vector["options"], vector["body"]),
                  f"sh_push {vector['queue']} {vector['arguments']}", job)
        except redis.ResponseError as error:
            check(not good and str(error) == vector["error"],
                  f"sh_push {vector['queue']} {vector['arguments']}", error)
        forget(aside(vector["queue"]))


def enqueues():
    queue = aside("echo")
    for vector in vectors("options")["options"]:
        forget(queue)
        accepted = True
        try:
            db.fcall("sh_enqueue", 1, base(queue), 10, "vector", "x", vector["text"], b"\x80")
        except redis.ResponseError:
            accepted = False
        check(accepted == ("fields" in vector), f"sh_enqueue, options {vector['text'][:60]!r}")
    forget(queue)
    for kind in ("ids", "domains"):
        for vector in vectors("names")[kind]:
            text = vector["text"]
            job = (text, "x") if kind == "ids" else ("vector", text)
            accepted = True
            try:
                db.fcall("sh_enqueue", 1, base(queue), 10, *job, "", b"\x80")
            except redis.ResponseError:
                accepted = False
            check(accepted == vector["good"], f"sh_enqueue, {kind}: {text!r}")
            forget(queue)


def letters():
    expected, queue = vectors("letters"), aside("echo")
    forget(queue)
    db.fcall("sh_prepare", 1, base(queue))
    for number, letter in enumerate(expected["letters"]):
        since = str(int(time.time() * 1000) - 1000)
        text = letter["options"].replace("since=1", "since=" + since)
        stream, place = (":jobs:low", 2) if "low" in text else (":jobs", 1)
        db.fcall("sh_enqueue", 1, base(queue), 10, f"v{number}", "x", text, b"\x80")
        check([name.decode() for name in waiting(queue)[0]] == expected["entry"],
              "a waiting job's fields", waiting(queue))
        entry = db.xreadgroup("fleet", "vectors", {base(queue) + stream: ">"})[0][1][0][0]
        db.fcall("sh_bury", 1, base(queue), "vectors", "vectors", place, entry, 1, "rejected", "a test",
                 0, "")
        dead = db.xrevrange(base(queue) + ":dead", count=1)[0][1]
        check([name.decode() for name in dead] == letter["fields"], "a dead letter's fields", dead)
    stats = db.fcall_ro("sh_stats", 1, base(queue))
    check([name.decode() for name in stats[::2]] == expected["stats"], "sh_stats", stats)
    counters = {name.decode() for name in db.hgetall(base(queue) + ":counters")}
    check(counters <= set(expected["counters"]), "counters", counters)
    forget(queue)


def dead(queue):
    return {fields[b"id"].decode(): fields for _, fields in db.xrange(base(queue) + ":dead")}


def refused():
    """What a worker says of each body that it cannot take."""
    for kind in SERVED:
        jobs = {f"vector-{kind}-{i}": vector
                for i, vector in enumerate(vectors("bodies")["bodies"])
                if vector["kind"] == kind and "error" in vector and "worker" not in vector}
        for job, vector in jobs.items():
            db.fcall("sh_enqueue", 1, base(kind), 10000, job, "x", "", bytes.fromhex(vector["hex"]))
        until = time.monotonic() + 30
        while time.monotonic() < until and not set(jobs) <= set(dead(kind)):
            time.sleep(0.05)
        found = dead(kind)
        for job, vector in jobs.items():
            letter = found.get(job, {})
            check(letter.get(b"reason") in (b"malformed", b"rejected")
                  and letter.get(b"error", b"").decode() == vector["error"],
                  f"dead letter, {kind}: {vector['what']}", letter)


for part in (names, holdouts, bodies, results, options, pushes, enqueues, letters, refused):
    try:
        part()
    except Exception as error:  # one broken vector must not hide the others
        check(False, part.__name__, repr(error))
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
