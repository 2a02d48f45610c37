"""Examples help one domain, hurt another and change nothing in a third: what is said of them.

Tasks get their examples from a fleet, a share is held out, outcomes go through a real recorder.
"""

import json
import math
import random
import subprocess

import pytest
from conftest import BIN, PATIENT, Program, until
from stillhouse import Stillhouse

TASKS = 400
# How often a task succeeds with examples, and without.
WORLDS = {"helped": (0.80, 0.55), "hurt": (0.45, 0.75), "idle": (0.70, 0.70)}
Z_95, Z_999 = 1.959963984540054, 3.290526731491926


class Recorder:
    """With a file of its own; the lift of all domains is looked at when it starts."""

    def __init__(self, fleet, folder):
        self.fleet, self.folder, self.store = fleet, folder, str(folder / "learn.db")
        self.start()

    def start(self):
        env = {"STILLHOUSE_REDIS_URL": self.fleet.redis.url, "STILLHOUSE_LEARN_REFRESH": "100ms"}
        command = ["--queues", "record", "--learn", self.store, "--http", "off"]
        self.program = Program(self.folder, "recorder", BIN / "stillhouse-worker", *command, env=env)

    def ask(self, *words):
        """A command of the program, with the store."""
        command = [BIN / "stillhouse", *words, "--redis-url", self.fleet.redis.url, "--learn", self.store]
        done = subprocess.run(
            [*command, "--chroma-url", self.fleet.chroma_url, "--json"], capture_output=True, check=False
        )
        return json.loads(done.stdout)

    def tasks_compared(self, domain):
        said = self.ask("lift", "--domain", domain)
        return said["with"]["tasks"] + said["without"]["tasks"]


@pytest.fixture
def recorder(fleet, tmp_path):
    made = Recorder(fleet, tmp_path)
    yield made
    made.program.end()
    fleet.redis.db.delete("sh:learn:store")


def wilson(successes, tasks, z):
    rate = successes / tasks
    middle = (rate + z * z / (2 * tasks)) / (1 + z * z / tasks)
    half = z / (1 + z * z / tasks) * math.sqrt(rate * (1 - rate) / tasks + z * z / (4 * tasks * tasks))
    return rate, middle - half, middle + half


def newcombe(arms, z):
    p, p_low, p_high = wilson(*arms["with"], z)
    q, q_low, q_high = wilson(*arms["without"], z)
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def told_lift(fleet):
    return json.loads(fleet.redis.db.get("sh:learn:lift"))


def live_through(sh, domain, name):
    """{arm: [successes, tasks]}, as this program saw it."""
    rolls = random.Random(name)
    arms = {"with": [0, 0], "without": [0, 0]}
    for number in range(TASKS):
        got = sh.messages(domain, "notice period for tenants", task_id=f"t-{number}")
        assert got.kind in ("enriched", "stale", "holdout")
        assert (got == []) == (got.kind == "holdout")
        arm = "without" if got.kind == "holdout" else "with"
        success = rolls.random() < WORLDS[name][arm == "without"]
        arms[arm][0] += success
        arms[arm][1] += 1
        told = {"success": success, "arm": got.kind, "prompt_id": got.id, "tokens_out": 10}
        sh.record(domain, kind="outcome", task_id=f"t-{number}", **told)
    return arms


def test_lift_says_whom_examples_help_and_whom_they_hurt_with_the_right_interval(fleet, recorder):
    domains = {name: f"lift-{name}" for name in WORLDS}  # who is held out hangs on the name
    with Stillhouse(**PATIENT, redis_url=fleet.redis.url, holdout="40%") as sh:
        for domain in domains.values():
            sh.distill(domain, task_id="past", prompt="notice period", result="three months", success=True)
        fleet.settle()
        for domain in domains.values():
            sh.messages(domain, "notice period for tenants", wait_ms=10000)
        seen = {name: live_through(sh, domains[name], name) for name in WORLDS}
    for name, arms in seen.items():
        until(lambda name=name: recorder.tasks_compared(domains[name]) == TASKS, "all outcomes")
        said = recorder.ask("lift", "--domain", domains[name])
        assert [said["with"]["successes"], said["with"]["tasks"]] == arms["with"]
        assert [said["without"]["successes"], said["without"]["tasks"]] == arms["without"]
        assert said["with"]["tokens"] == 10 * arms["with"][1]
        assert (said["low"], said["high"]) == pytest.approx(newcombe(arms, Z_95))
        assert said["low"] < WORLDS[name][0] - WORLDS[name][1] < said["high"]
        assert said["examples"] == {"helped": "help", "hurt": "hurt", "idle": "unknown"}[name]

    recorder.program.end()
    recorder.start()
    until(lambda: told_lift(fleet)["compared"] == 3, "the recorder's round")
    told = told_lift(fleet)
    assert (told["compared"], told["hurt"]) == (3, 1)
    verdicts = {one["domain"]: one for one in told["domains"]}
    assert {domain: one["examples"] for domain, one in verdicts.items()} == {
        domains["helped"]: "help",
        domains["hurt"]: "hurt",
    }
    hurt = verdicts[domains["hurt"]]
    assert (hurt["low"], hurt["high"]) == pytest.approx(newcombe(seen["hurt"], Z_999))
    found = {check["check"]: check for check in recorder.ask("doctor")["checks"]}
    assert found[f"domain {domains['hurt']}"]["state"] == "warning"
    assert "examples hurt: -" in found[f"domain {domains['hurt']}"]["found"]
    assert f"domain {domains['helped']}" not in found
