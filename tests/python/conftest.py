"""Servers of the tests' own, and both clients behind one face.

STILLHOUSE_TEST_BIN is the folder of the programs, STILLHOUSE_TEST_CHROMA starts a Chroma server.
"""

import asyncio
import inspect
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import pytest
import redis as redis_py
from stillhouse import AsyncStillhouse, Stillhouse

BIN = pathlib.Path(os.environ["STILLHOUSE_TEST_BIN"])
CHROMA = os.environ.get("STILLHOUSE_TEST_CHROMA", "")

# Bounds that a busy machine keeps, where the test is not about them; and those that clients have.
PATIENT = {"connect_timeout_ms": 5000, "command_timeout_ms": 5000}
BOUNDED = dict.fromkeys(PATIENT)

for name in [name for name in os.environ if name.startswith("STILLHOUSE_") and "TEST" not in name]:
    if name != "STILLHOUSE_LIBRARY":
        del os.environ[name]

# A sanitizer that is preloaded is not for the servers.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def free_port():
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def until(condition, what, seconds=20):
    """Waits for it; the test fails where it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class Program:
    """A server in the background, killed at the end."""

    def __init__(self, folder, name, *command, env=None):
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**ENVIRONMENT, **(env or {})})

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class RedisServer:
    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self.program = Program(self.folder, "redis", *command, str(self.folder))
        self.db = redis_py.Redis(port=self.port)
        until(self.answers, "Redis")
        subprocess.run(
            [BIN / "stillhouse", "init", "--redis-url", self.url], check=True, capture_output=True, env=ENVIRONMENT
        )

    def answers(self):
        try:
            return self.db.ping()
        except redis_py.ConnectionError:
            return False

    def end(self):
        self.db.close()
        self.program.end()

    def stop(self):
        """It accepts connections and says nothing."""
        self.program.signal(signal.SIGSTOP)

    def go_on(self):
        self.program.signal(signal.SIGCONT)

    def waiting(self, queue):
        return self.db.xlen(f"sh:{{{queue}}}:jobs")

    def connections(self):
        return self.db.info("stats")["total_connections_received"]


class Fleet:
    """Redis, Chroma and a worker."""

    def __init__(self, folder):
        self.redis = RedisServer(folder)
        port = free_port()
        (folder / "chroma.yaml").write_text(
            f'persist_path: "{folder}/chroma"\nlisten_address: "127.0.0.1"\nport: {port}\n'
        )
        self.chroma = Program(folder, "chroma", CHROMA, str(folder / "chroma.yaml"))
        until(lambda: _accepts(port), "Chroma", 30)
        self.folder, self.chroma_url = folder, f"http://127.0.0.1:{port}"
        self.domains = 0
        self.start_worker()

    def start_worker(self, settings=None):
        env = {"STILLHOUSE_REDIS_URL": self.redis.url, "STILLHOUSE_CHROMA_URL": self.chroma_url, **(settings or {})}
        self.worker = Program(self.folder, "worker", BIN / "stillhouse-worker", "--http", "off", env=env)

    def domain(self):
        """A new one, so that tests share nothing."""
        self.domains += 1
        return f"domain-{self.domains}"

    def settle(self):
        """Until the worker has done what is enqueued."""
        idle = ("distill", "index", "enrich")
        until(lambda: not any(self.redis.waiting(queue) for queue in idle), "the worker")

    def end(self):
        self.worker.end()
        self.chroma.end()
        self.redis.end()


def _accepts(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.end()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.end()


@pytest.fixture
def redis(shared_redis):
    """A Redis with nothing in it and no worker."""
    shared_redis.db.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path):
    """A Redis that the test may stop, kill and break."""
    server = RedisServer(tmp_path)
    yield server
    server.end()


class Driven:
    """An AsyncStillhouse as a program without asyncio sees it: each call is run to its end."""

    def __init__(self, client, loop):
        self.client, self.loop = client, loop

    def __getattr__(self, name):
        found = getattr(self.client, name)
        if not callable(found):
            return found

        def call(*args, **keywords):
            out = found(*args, **keywords)
            return self.loop.run_until_complete(out) if inspect.isawaitable(out) else out

        return call


def _loop(kind):
    if kind == "uvloop":
        return pytest.importorskip("uvloop", reason="uvloop is not installed here").new_event_loop()
    return asyncio.new_event_loop()


@pytest.fixture(params=["sync", "asyncio", "uvloop"])
def make(request):
    """Makes clients of one kind, patient ones, and closes them."""
    if request.param == "sync":
        made = []

        def make(**settings):
            made.append(Stillhouse(**{**PATIENT, **settings}))
            return made[-1]

        yield make
        for client in made:
            client.close()
        return
    loop = _loop(request.param)
    made = []

    def make_driven(**settings):
        made.append(Driven(AsyncStillhouse(**{**PATIENT, **settings}), loop))
        return made[-1]

    yield make_driven
    for client in made:
        client.close()
    loop.close()
