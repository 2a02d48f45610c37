"""The no-op job on Stillhouse: the queue `echo` is filled while it is paused, then drained by worker
processes and watched through its counters, which move in the same atomic step as the jobs.

Measured as the peers are, from the first job done to the last; the first is as near as two looks at
the counters are (a millisecond or two). That each job was done exactly once: as many done as
enqueued, none taken over, retried or left, and the books balance.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid

import redis

JOBS = int(os.environ["BENCH_JOBS"])
PORT = int(os.environ["BENCH_REDIS_PORT"])
BIN = os.environ["BENCH_BIN"]
VARIANT = os.environ["BENCH_VARIANT"]
# workers, flags, what the table says
SETTINGS = {"default": (1, [], "1 worker, 4 lanes, batch 64"),
            "best": (2, ["--batch", "256", "--lanes", "2"], "2 workers of 2 lanes, batch 256")}
BASE = "sh:{echo}"
CALL_JOBS = 1000
WAIT_S = 60

db = redis.Redis(port=PORT)


def stillhouse(*words):
    subprocess.run([f"{BIN}/stillhouse", *words], check=True, stdout=subprocess.DEVNULL)


def fill():
    stillhouse("init")
    stillhouse("pause", "echo")
    for begin in range(0, JOBS, CALL_JOBS):
        jobs = []
        for number in range(begin, min(begin + CALL_JOBS, JOBS)):
            jobs += [str(uuid.uuid4()), "bench", "", f"{number:08d}".ljust(200, "x")]
        db.fcall("sh_enqueue", 1, BASE, 0, *jobs)


def wait_until(reached):
    deadline = time.monotonic() + WAIT_S
    while not reached():
        if time.monotonic() > deadline:
            sys.exit("peers: stillhouse: stuck")
        time.sleep(0.001)
    return time.monotonic()


def done():
    return int(db.hget(f"{BASE}:counters", "done") or 0)


def drain(workers):
    """Jobs a second."""
    wait_until(lambda: db.zcard("sh:workers") == workers)
    stillhouse("resume", "echo")
    begin = wait_until(lambda: done() > 0)
    before = done()
    end = wait_until(lambda: done() >= JOBS)
    return (JOBS - before) / (end - begin)


def is_exact():
    time.sleep(0.4)
    subprocess.run([f"{BIN}/stillhouse", "verify"], check=True, stdout=subprocess.DEVNULL)
    answer = db.fcall_ro("sh_stats", 1, BASE)
    stats = {name.decode(): int(value) for name, value in zip(answer[0::2], answer[1::2])}
    zero = ("waiting", "running", "delayed", "dead", "retried", "buried", "expired", "reclaimed")
    return (stats["enqueued"] == stats["done"] == JOBS
            and all(stats[name] == 0 for name in zero))


def main():
    os.environ["STILLHOUSE_REDIS_URL"] = f"redis://127.0.0.1:{PORT}/0"
    workers, flags, said = SETTINGS[VARIANT]
    fill()
    command = [f"{BIN}/stillhouse-worker", "--queues", "echo", "--http", "off", *flags]
    with tempfile.TemporaryFile() as log:
        running = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(workers)]
        try:
            value = drain(workers)
            checked = is_exact()
        finally:
            for process in running:
                process.terminate()
                process.wait(10)
    version = subprocess.run([f"{BIN}/stillhouse", "--version"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()[-1]
    print(json.dumps({
        "group": "peers", "variant": f"stillhouse, {VARIANT}",
        "round": int(os.environ["BENCH_ROUND"]), "value": round(value, 1), "unit": "jobs/s",
        "jobs": JOBS, "checked": checked, "version": version, "settings": said,
        "store": "Redis"}))
    sys.exit(0 if checked else "peers: stillhouse: not every job was done exactly once")


if __name__ == "__main__":
    main()
