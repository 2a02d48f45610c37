"""How many instructions a job costs a worker, function by function: callgrind counts them, and
instructions are not noisy as seconds are.

Each scenario runs a worker with one lane over a few jobs and over many, and divides the difference
of both by the difference in jobs: what start and end cost falls away. `--check` compares with
instructions.json: more than 5 % over it fails, and the functions that grew are named. Counts
depend on compiler and libraries, so the file knows toolchains, and one that it does not know is not
judged.
"""
import argparse
import collections
import json
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import msgpack
import redis

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
TOLERANCE = 1.05
FEW, MANY = 640, 2560
TOP = 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def toolchain():
    compiler = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True)
    libc = " ".join(platform.libc_ver())
    return f"gcc {compiler.stdout.strip()}, {libc}, {platform.machine()}"


class Lab:
    """A Redis and a Chroma of our own, and workers on them."""

    def __init__(self, bin_folder, chroma_server, folder):
        self.bin = bin_folder
        self.folder = folder
        self.children = []
        port = free_port()
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        self.start(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no",
                    "--dir", folder])
        self.redis = redis.Redis(port=port)
        self.wait(self.redis.ping)
        port = free_port()
        self.chroma_url = f"http://127.0.0.1:{port}"
        config = os.path.join(folder, "chroma.yaml")
        pathlib.Path(config).write_text(
            f"persist_path: {folder}/chroma\nlisten_address: 127.0.0.1\nport: {port}\n")
        self.start([chroma_server, config])
        self.wait(lambda: urllib.request.urlopen(self.chroma_url + "/api/v2/heartbeat", timeout=1))
        subprocess.run([f"{self.bin}/stillhouse", "--redis-url", self.redis_url, "init"], check=True,
                       stdout=subprocess.DEVNULL)

    def start(self, command):
        log = open(os.path.join(self.folder, "log"), "ab")
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.children.append(child)
        return child

    def wait(self, ask, seconds=60):
        until = time.monotonic() + seconds
        while True:
            try:
                answer = ask()
                if answer:
                    return answer
            except (OSError, redis.RedisError):
                pass
            if time.monotonic() > until:
                raise SystemExit(f"instructions: no answer in {seconds} s, see {self.folder}/log")
            time.sleep(0.02)

    def worker(self, queue, prefix=()):
        command = [*prefix, f"{self.bin}/stillhouse-worker", "--redis-url", self.redis_url,
                   "--chroma-url", self.chroma_url, "--queues", queue, "--lanes", "1",
                   "--batch", "64", "--http", "off", "--log-level", "warning"]
        if queue == "record":
            command += ["--learn", os.path.join(self.folder, f"learn-{next(SERIAL)}.db"),
                        "--learn-refresh", "1h"]
            self.redis.delete("sh:learn:store")
        return self.start(command)

    def counter(self, queue, name):
        return int(self.redis.hget(f"sh:{{{queue}}}:counters", name) or 0)

    def enqueue(self, queue, jobs):
        for at in range(0, len(jobs), 500):
            arguments = []
            for job_id, body in jobs[at:at + 500]:
                arguments += [job_id, "bench", "", body]
            self.redis.fcall("sh_enqueue", 1, f"sh:{{{queue}}}", 0, *arguments)

    def work_off(self, queue, jobs, prefix=()):
        """Enqueues the jobs, lets a worker do all of them, and ends it."""
        before = self.counter(queue, "done")
        self.enqueue(queue, jobs)
        child = self.worker(queue, prefix)
        self.wait(lambda: self.counter(queue, "done") == before + len(jobs), 300)
        child.send_signal(signal.SIGTERM)
        if child.wait(60) != 0:
            raise SystemExit(f"instructions: the worker ended with {child.returncode}")

    def stop(self):
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


SERIAL = iter(range(1 << 40))


def echo_jobs(count):
    return [(f"e-{next(SERIAL)}", b"x" * 200) for _ in range(count)]


def distill_jobs(count):
    jobs = []
    for _ in range(count):
        n = next(SERIAL)
        text = f"how do I file claim number {n} against a landlord who keeps the deposit of flat {n % 97}"
        jobs.append((f"d-{n}", msgpack.packb({"task_id": f"t-{n}", "prompt": text, "result": text,
                                              "success": True, "quality": 0.9})))
    return jobs


def enrich_jobs(count):
    jobs = []
    for _ in range(count):
        n = next(SERIAL)
        jobs.append((f"q-{n}", msgpack.packb({"query": f"who keeps the deposit of flat {n % 50}",
                                              "k": 3})))
    return jobs


def record_jobs(count):
    """Whole executions, of one group of each view."""
    day = 86400000
    at_ms = (int(time.time() * 1000) // day - 1) * day
    jobs = []
    for _ in range(count):
        n = next(SERIAL)
        jobs.append((f"r-{n}", msgpack.packb({
            "kind": "execution", "task_id": f"t-{n}", "at_ms": at_ms + n, "repo": "acme/shop",
            "user": f"user{n % 50}", "task_type": "mend", "task_description": "x" * 200,
            "file_count": n % 40, "estimated_tokens": 5000, "tokens_in": 4000, "tokens_out": n % 900,
            "model_tier": "small", "model": "a-model", "pool_type": "warm",
            "swarm_topology": "hierarchical", "routing_confidence": 0.8, "complexity_score": 3.5,
            "cost_estimate": 0.02, "parallelism": 2, "queue_wait_seconds": 1.5,
            "success": n % 4 != 0, "duration_seconds": n % 97 + 0.5, "retries": n % 3,
            "quality_score": 80.5, "actual_cost": 0.03, "peak_memory_mb": 512.5,
            "cpu_time_seconds": 3.25, "solution_summary": "looked for the first failing test",
            "started_ms": at_ms, "completed_ms": at_ms + n, "arm": "enriched",
            "prompt_id": f"p-{n}", "branch": "main"})))
    return jobs


SCENARIOS = {"echo": ("echo", echo_jobs), "enrich hit": ("enrich", enrich_jobs),
             "distill": ("distill", distill_jobs), "record": ("record", record_jobs)}


def read_profile(path):
    """Self cost by function, from callgrind's own format (one file, names compressed)."""
    names, costs, function = {}, collections.Counter(), None
    skip = False
    for line in pathlib.Path(path).read_text(errors="replace").splitlines():
        found = re.match(r"fn=\((\d+)\)(?: (.*))?", line)
        if found:
            if found[2]:
                names[found[1]] = re.sub(r"'\d+$|\.(part|isra|constprop)\.\d+", "", found[2])
            function = names[found[1]]
        elif line.startswith("cfn="):
            found = re.match(r"cfn=\((\d+)\)(?: (.*))?", line)
            if found[2]:
                names[found[1]] = re.sub(r"'\d+$|\.(part|isra|constprop)\.\d+", "", found[2])
        elif line.startswith("calls="):
            skip = True  # the next line is the callee's cost
        elif re.match(r"[+*\-\d]", line):
            if not skip and function:
                costs[function] += int(line.split()[1])
            skip = False
    return costs


def profile(lab, scenario, count):
    queue, make = SCENARIOS[scenario]
    out = os.path.join(lab.folder, f"callgrind.{queue}.{count}")
    # How often views are computed is a matter of time, so it is not counted.
    lab.work_off(queue, make(count), ("valgrind", "--tool=callgrind", "--compress-pos=no",
                                      "--toggle-collect=store_refresh", "--collect-atstart=yes",
                                      f"--callgrind-out-file={out}"))
    return read_profile(out)


def measure(lab):
    lab.work_off("distill", distill_jobs(200))
    lab.work_off("enrich", enrich_jobs(50))
    results = {}
    for scenario in SCENARIOS:
        few, many = profile(lab, scenario, FEW), profile(lab, scenario, MANY)
        per_job = {name: (many[name] - few[name]) / (MANY - FEW) for name in many}
        top = sorted(per_job, key=per_job.get, reverse=True)[:TOP]
        results[scenario] = {"per_job": round(sum(per_job.values())),
                             "functions": {name: round(per_job[name]) for name in top}}
    return results


def compare(results, known):
    """Prints each scenario against what is known; returns how many failed."""
    failed = 0
    for scenario, now in results.items():
        old = known.get(scenario)
        if old is None:
            print(f"skipped {scenario}: no counts are known of it")
            continue
        ratio = now["per_job"] / old["per_job"]
        good = ratio <= TOLERANCE
        failed += not good
        print(f"{'ok     ' if good else 'FAILED '} {scenario}: {now['per_job']} instructions a job, "
              f"{old['per_job']} before ({ratio:.3f})")
        growth = {name: cost - old["functions"].get(name, 0)
                  for name, cost in now["functions"].items()}
        for name in sorted(growth, key=growth.get, reverse=True)[:0 if good else 5]:
            print(f"        {name}: {now['functions'][name]}, {old['functions'].get(name, 0)} before")
    print(f"{len(results) - failed} passed, {failed} failed")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--chroma-server", required=True)
    parser.add_argument("--check", action="store_true", help="compare with instructions.json")
    parser.add_argument("--write", action="store_true", help="write instructions.json")
    parser.add_argument("--top", type=int, default=12, help="functions shown")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="stillhouse-instructions-") as folder:
        lab = Lab(options.bin, options.chroma_server, folder)
        try:
            results = measure(lab)
        finally:
            lab.stop()

    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    tools = toolchain()
    if options.write:
        known[tools] = results
        BASELINE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if options.check and tools in known:
        return 1 if compare(results, known[tools]) else 0
    if options.check:
        print(f"instructions: skipped, no counts are known for {tools}")
        print("1 passed, 0 failed")
    for scenario, result in results.items():
        print(f"{scenario}: {result['per_job']} instructions a job")
        for name in list(result["functions"])[:options.top]:
            print(f"  {result['functions'][name]:>8}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
