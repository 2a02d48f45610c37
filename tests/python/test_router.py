"""README.md's router as it stands there: a simulation through a real queue, recorder and Redis."""

import json
import os
import pathlib
import random
import re
import time

import pytest
from conftest import BIN, Program, free_port, until

README = pathlib.Path(os.environ["STILLHOUSE_TEST_SOURCE"]) / "README.md"

# What a try costs, and how often it succeeds: each type of task has another best tier.
COST = {"small": 0.01, "medium": 0.03, "large": 0.10}
SUCCESS = {
    "docs": {"small": 0.95, "medium": 0.97, "large": 0.98},
    "bugfix": {"small": 0.15, "medium": 0.85, "large": 0.95},
    "refactor": {"small": 0.03, "medium": 0.15, "large": 0.85},
}
SEEDS = (1, 2, 3)
ROUNDS, TASKS_A_ROUND = 10, 48
MOST_S = 0.6  # .1 to connect and .05 an answer; the rest is for a busy machine


def router(port):
    """The names that the block defines; its Redis listens on this port of the loopback."""
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "sh:learn" in block
    ]
    assert code.count("\n") <= 30
    names = {}
    exec(compile(code, str(README), "exec"), names)
    names["r"].connection_pool.connection_kwargs.update(host="127.0.0.1", port=port, socket_timeout=5)
    return names


def tries(seed, task, choose):
    """(tier, success) of a task until it succeeds; what happens at a tier does not hang on who chose it."""
    task_type = list(SUCCESS)[task % len(SUCCESS)]
    for number in range(200):
        tier = choose(task_type)
        success = random.Random(f"{seed}/{task}/{number}/{tier}").random() < SUCCESS[task_type][tier]
        yield task_type, tier, success
        if success:
            return


def paid(seed, choose):
    tasks = range(ROUNDS * TASKS_A_ROUND)
    return sum(COST[tier] for task in tasks for _, tier, _ in tries(seed, task, choose))


@pytest.fixture
def recorder(redis, tmp_path):
    env = {"STILLHOUSE_REDIS_URL": redis.url, "STILLHOUSE_LEARN_REFRESH": "100ms"}
    store = str(tmp_path / "learn.db")
    program = Program(
        tmp_path,
        "recorder",
        BIN / "stillhouse-worker",
        "--queues",
        "record",
        "--learn",
        store,
        "--http",
        "off",
        env=env,
    )
    yield program
    program.end()


def executions(redis, domain):
    told = json.loads(redis.db.get(f"sh:learn:{{{domain}}}") or '{"tiers": []}')
    return sum(row["executions"] for row in told["tiers"] if row["task_type"] is None)


def test_the_router_pays_less_than_any_tier_that_is_fixed(redis, recorder):
    names = router(redis.port)
    spent = dict.fromkeys(SEEDS, 0.0)
    told = dict.fromkeys(SEEDS, 0)
    random.seed(7)
    for number in range(ROUNDS):
        for seed in SEEDS:
            domain = f"router-{seed}"
            outcomes = []
            for task in range(number * TASKS_A_ROUND, (number + 1) * TASKS_A_ROUND):
                outcomes += tries(seed, task, lambda task_type, domain=domain: names["choose"](domain, task_type))
            for task_type, tier, success in outcomes:
                spent[seed] += COST[tier]
                told[seed] += 1
                names["tell"](
                    domain,
                    task_id=f"t-{told[seed]}",
                    task_type=task_type,
                    model_tier=tier,
                    success=success,
                    actual_cost=COST[tier],
                )
        for seed in SEEDS:
            until(lambda seed=seed: executions(redis, f"router-{seed}") == told[seed], "the figures of a round")
    for seed in SEEDS:
        fixed = {tier: paid(seed, lambda _, tier=tier: tier) for tier in COST}
        saved = 1 - spent[seed] / min(fixed.values())
        print(f"seed {seed}: {spent[seed]:.2f} against {fixed}, {saved:.0%} saved, {told[seed]} tries")
        assert saved > 0.15, (seed, spent[seed], fixed)


def test_a_router_whose_redis_cannot_say_takes_the_usual_tier_at_once(redis):
    away = router(free_port())
    start = time.monotonic()
    assert away["choose"]("legal", "docs") == "medium"
    assert time.monotonic() - start < MOST_S
    names = router(redis.port)
    for junk in ("junk", "[]", "7", "{}", '{"tiers": 7}', '{"tiers": [{}]}'):
        redis.db.set("sh:learn:{legal}", junk)
        assert names["choose"]("legal", "docs") == "medium", junk
    redis.db.delete("sh:learn:{legal}")
    assert {names["choose"]("legal", "docs") for _ in range(100)} == set(COST)
