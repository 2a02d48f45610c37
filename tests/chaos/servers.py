"""What runs: Redis, Chroma, an embedder, a proxy before each, and the workers. All of it dies with
this program.

    lab = Lab(options, folder, log)
    lab.start()
    ...
    lab.stop()

Children are started by one thread that lives as long as the program, since the signal by which the
kernel ends a child with its parent (PR_SET_PDEATHSIG) is sent when the *thread* that started it
ends.
"""
import concurrent.futures
import contextlib
import ctypes
import glob
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedder import DIMENSION

SENT = ("enrich", "distill", "index", "echo", "record")  # the producer's
QUEUES = (*SENT, "vector")  # and what a recorder orders
START_S = 30
DRAIN_S = 5
# Fleet and producer log in as a user of their own, so that rights can be taken from them alone.
USER, PASSWORD, RIGHTS = "fleet", "chaos", ("~*", "&*", "+@all")

# Short times, so that a minute holds many lives of a job; every limit is the default.
WORKER_SETTINGS = {
    "STILLHOUSE_VISIBILITY": "5s",
    "STILLHOUSE_RETRY_BASE": "100ms",
    "STILLHOUSE_RETRY_MAX": "2s",
    "STILLHOUSE_BREAKER_PAUSE": "1s",
    "STILLHOUSE_CHROMA_TIMEOUT": "3s",
    "STILLHOUSE_EMBED_TIMEOUT": "3s",
    "STILLHOUSE_EMBEDDER": "openai",
    "STILLHOUSE_EMBED_MODEL": "words",
    "STILLHOUSE_EMBED_DIMENSION": f"{DIMENSION}",
    "STILLHOUSE_DRAIN": f"{DRAIN_S}s",
    "STILLHOUSE_BATCH": "16",
    "STILLHOUSE_HTTP": "off",
    "STILLHOUSE_RECORD": "distill",
    "STILLHOUSE_LEARN_SIMILAR": "on",
}
# What a recorder lacks though it is root: then a file's mode counts for it as for everybody else.
ROOTS_RIGHTS = "-dac_override,-dac_read_search"
DISK_BYTES = 512 << 20
CLONE_NEWNS = 0x20000


class Broken(Exception):
    """The run cannot go on; the text says why."""


class Skipped(Exception):
    """There is nothing to run it with; the text says what is missing."""


def free_ports(count):
    """Outside of the range the kernel takes for outgoing connections."""
    found = []
    for port in random.SystemRandom().sample(range(20000, 32000), 400):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Broken("no free ports")


def wait_until(condition, seconds, step=0.05):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(step)
    return bool(condition())


class Weather:
    """Which servers are out of reach by our own doing, and since when they are not."""

    def __init__(self):
        self.lock = threading.Lock()
        self.down = 0
        self.cleared = time.monotonic()

    def __enter__(self):
        with self.lock:
            self.down += 1

    def __exit__(self, *exception):
        with self.lock:
            self.down -= 1
            self.cleared = time.monotonic()

    def clear_since(self):
        """A time of time.monotonic(): now, while something is down."""
        with self.lock:
            return time.monotonic() if self.down else self.cleared


class Disk:
    """Where the learning store stands: a small file system of our own, that the kernel takes away
    with this program, or where we may not mount one a folder, and a bound on a recorder's files."""

    def __init__(self, folder):
        self.folder = folder / "store"
        self.folder.mkdir()
        self.store = self.folder / "learn.db"
        self.where = str(self.store)
        self.is_mounted = self.try_mount()
        self.what = "a file system of its own" if self.is_mounted else "RLIMIT_FSIZE"

    def try_mount(self):
        """In the main thread, before there are others: they share its view of what is mounted."""
        return (os.getuid() == 0 and ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
                and self.mount("--make-rprivate", "/")
                and self.mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", self.folder))

    def resize(self, size):
        return self.mount("-o", f"remount,size={size}", self.folder)

    @staticmethod
    def mount(*arguments):
        return subprocess.run(["mount", *map(str, arguments)], capture_output=True,
                              check=False).returncode == 0

    @contextlib.contextmanager
    def full(self, recorders):
        """Not a byte more than there is."""
        self.bound(recorders, True)
        try:
            yield
        finally:
            self.bound(recorders, False)

    def bound(self, recorders, is_full):
        if self.is_mounted:
            wait_until(lambda: self.resize(self.used() if is_full else DISK_BYTES), 5)
            return
        for recorder in recorders:
            limit = 4096 if is_full else resource.RLIM_INFINITY
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(recorder.process.pid, resource.RLIMIT_FSIZE,
                                 (limit, resource.RLIM_INFINITY))

    def used(self):
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


class Postgres:
    """The learning store on a server of our own, on a socket in our folder; where we are root it is
    nobody's, since it refuses to be root's."""

    what = "nobody: it is on a server"

    def __init__(self, lab, folder):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise Skipped("no PostgreSQL in /usr/lib/postgresql (deploy/install-dependencies test)")
        self.bin, self.folder = found[-1], folder / "postgres"
        self.folder.mkdir()
        self.as_nobody = []
        if os.getuid() == 0:
            folder.chmod(0o711)
            shutil.chown(self.folder, "nobody", "nogroup")
            self.as_nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup",
                              "--clear-groups", "--pdeathsig", "KILL", "--"]
        self.run("initdb", "-D", self.folder / "data", "--auth=trust", "--username=stillhouse",
                 "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self.program = Program(lab, "postgres", [
            *self.as_nobody, f"{self.bin}/postgres", "-D", f"{self.folder}/data",
            "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"])
        self.where = f"postgresql://stillhouse@/learn?host={self.folder}"

    def run(self, program, *arguments, check=True):
        return subprocess.run([*self.as_nobody, f"{self.bin}/{program}", *map(str, arguments)],
                              check=check, capture_output=True, cwd="/").returncode == 0

    def answers(self):
        """What the processes of one that was killed hold keeps the next from its start."""
        if self.program.process.poll() is not None:
            self.program.start()
        return self.run("pg_isready", "-h", self.folder, "-U", "stillhouse", check=False)

    def start(self):
        self.program.start()
        if not wait_until(self.answers, START_S, 0.2):
            raise Broken(f"PostgreSQL does not answer within {START_S} s")

    def make(self):
        self.start()
        self.run("createdb", "-h", self.folder, "-U", "stillhouse", "learn")


class Clock:
    """The wall clock of one program: moved through the page that clock_shim.c looks at."""

    def __init__(self, folder, name):
        self.file = folder / f"{name}.clock"
        self.move(0)

    def move(self, offset_ms):
        with open(self.file, "r+b" if self.file.exists() else "w+b") as page:
            page.write(struct.pack("=qq", offset_ms, 0))

    @contextlib.contextmanager
    def moved(self, offset_ms):
        self.move(offset_ms)
        try:
            yield
        finally:
            self.move(0)


class Program:
    """One child at a time; `lock` is held by whoever makes it misbehave."""

    def __init__(self, lab, name, argv, environment=None, **pipes):
        self.lab, self.name, self.argv, self.pipes = lab, name, argv, pipes
        self.environment = environment
        self.process = None
        self.lock = threading.Lock()

    def start(self):
        with open(self.lab.folder / f"{self.name}.log", "ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **self.pipes}
            self.process = self.lab.spawner.submit(
                subprocess.Popen, ["setpriv", "--pdeathsig", "KILL", "--", *self.argv],
                env=self.environment, start_new_session=True, **streams).result()

    def send(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def kill(self):
        if self.process is not None:
            self.send(signal.SIGKILL)
            self.process.wait()


class Puppet(Program):
    """A script beside this one that obeys commands on its standard input."""

    def __init__(self, lab, script, name, *arguments):
        here = os.path.dirname(os.path.abspath(__file__))
        super().__init__(lab, name, [sys.executable, f"{here}/{script}", *map(str, arguments)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self):
        super().start()
        self.answer()

    def answer(self):
        line = self.process.stdout.readline().decode().split()
        if not line or line[0] != "ok":
            raise Broken(f"{self.name}: answered {line}")
        return int(line[1])

    def tell(self, command):
        """How many connections it concerned. Thread-safe through `lock`, which the caller holds."""
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()


class Lab:
    def __init__(self, options, folder, log):
        self.options, self.folder, self.log = options, folder, log
        self.spawner = concurrent.futures.ThreadPoolExecutor(1)
        self.weather = Weather()
        self.store_weather = Weather()  # which only records wait for
        self.disk = Postgres(self, folder) if options.postgres else Disk(folder)
        self.stopping = threading.Event()
        self.ended = []  # (worker, exit code) of workers that ended though nobody told them to
        self.strangers = dict.fromkeys(QUEUES, 0)  # entries put into its stream by hand
        self.redis_port, self.chroma_port, self.embedder_port, *proxied = free_ports(6)
        self.redis_proxy_port, self.chroma_proxy_port, self.embedder_proxy_port = proxied
        self.shim = self.build_shim()
        self.clocks = {}
        self.redis = Program(self, "redis", self.redis_argv(), self.clocked("redis", {}))
        self.chroma = Program(self, "chroma", self.chroma_argv())
        self.embedder = Puppet(self, "embedder.py", "embedder", self.embedder_port)
        self.redis_proxy = Puppet(self, "proxy.py", "redis-proxy", self.redis_proxy_port,
                                  self.redis_port)
        self.chroma_proxy = Puppet(self, "proxy.py", "chroma-proxy", self.chroma_proxy_port,
                                   self.chroma_port, "http")
        self.embedder_proxy = Puppet(self, "proxy.py", "embedder-proxy", self.embedder_proxy_port,
                                     self.embedder_port, "http")
        self.proxies = (self.redis_proxy, self.chroma_proxy, self.embedder_proxy)
        self.workers = [
            Program(self, name, [f"{options.bin}/stillhouse-worker"],
                    self.clocked(name, dict(
                        self.environment(self.redis_proxy_port, self.chroma_proxy_port),
                        STILLHOUSE_QUEUES=",".join(name for name in QUEUES if name != "record"))))
            for name in (f"worker-{i + 1}" for i in range(options.workers))]
        self.recorders = [
            Program(self, name, self.recorder_argv(), dict(
                self.environment(self.redis_proxy_port, self.chroma_port),
                STILLHOUSE_QUEUES="record"))
            for name in (("recorder-1", "recorder-2") if options.postgres else ("recorder",))]
        self.direct = self.connect(self.redis_port)

    def recorder_argv(self):
        worker = [f"{self.options.bin}/stillhouse-worker"]
        if os.getuid() != 0:
            return worker
        return ["setpriv", f"--bounding-set={ROOTS_RIGHTS}", f"--inh-caps={ROOTS_RIGHTS}", *worker]

    def redis_argv(self):
        return ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1",
                "--dir", str(self.folder), "--save", "", "--appendonly", "yes",
                "--appendfsync", self.options.appendfsync, "--maxmemory-policy", "noeviction",
                "--user", USER, "on", f">{PASSWORD}", *RIGHTS]

    def chroma_argv(self):
        config = self.folder / "chroma.yaml"
        config.write_text(f'persist_path: "{self.folder}/chroma"\nlisten_address: "127.0.0.1"\n'
                          f"port: {self.chroma_port}\n")
        return [self.options.chroma_server, str(config)]

    def environment(self, redis_port, chroma_port):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STILLHOUSE_")}
        return {**kept, **WORKER_SETTINGS,
                "STILLHOUSE_REDIS_URL": f"redis://{USER}:{PASSWORD}@127.0.0.1:{redis_port}/0",
                "STILLHOUSE_CHROMA_URL": f"http://127.0.0.1:{chroma_port}",
                "STILLHOUSE_EMBED_URL": f"http://127.0.0.1:{self.embedder_proxy_port}/v1",
                "STILLHOUSE_LEARN": self.disk.where}

    def build_shim(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib/preload/clock_shim.c")
        shim = self.folder / "clock_shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
        return shim

    def clocked(self, name, environment):
        self.clocks[name] = Clock(self.folder, name)
        return {**(environment or os.environ), "LD_PRELOAD": str(self.shim),
                "CLOCK_FILE": str(self.clocks[name].file)}

    @staticmethod
    def connect(port, timeout=2.0, **options):
        """Without repetitions of its own: whoever asks wants to know."""
        return redis.Redis(host="127.0.0.1", port=port, socket_timeout=timeout,
                           socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), **options)

    def redis_answers(self):
        try:
            return self.direct.ping()
        except redis.RedisError:
            return False

    def chroma_answers(self):
        url = f"http://127.0.0.1:{self.chroma_port}/api/v2/heartbeat"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def start_redis(self):
        self.redis.start()
        if not wait_until(self.redis_answers, START_S):
            raise Broken(f"Redis does not answer within {START_S} s")

    def start_chroma(self):
        self.chroma.start()
        if not wait_until(self.chroma_answers, START_S):
            raise Broken(f"Chroma does not answer within {START_S} s")

    def start(self):
        self.start_redis()
        self.start_chroma()
        if self.options.postgres:
            self.disk.make()
        self.embedder.start()
        for proxy in self.proxies:
            proxy.start()
        done = self.stillhouse("init")
        if done.returncode != 0:
            raise Broken(f"stillhouse init: {done.stdout}{done.stderr}")
        fleet = (*self.workers, *self.recorders)
        for worker in fleet:
            worker.start()
        if not wait_until(lambda: self.direct.zcard("sh:workers") == len(fleet), START_S):
            raise Broken(f"the workers do not register within {START_S} s")
        threading.Thread(target=self.supervise, daemon=True).start()

    def supervise(self):
        """Restarts a worker that ended by itself, as any supervisor would, and remembers it."""
        while not self.stopping.wait(0.5):
            for worker in (*self.workers, *self.recorders):
                if worker.process.poll() is None or not worker.lock.acquire(blocking=False):
                    continue
                try:
                    code = worker.process.poll()
                    if code is not None and not self.stopping.is_set():
                        self.ended.append((worker.name, code))
                        self.log(f"{worker.name}: ended by itself, exit code {code}; restarted")
                        worker.start()
                finally:
                    worker.lock.release()

    def stillhouse(self, *arguments):
        """The operator's program, past the proxies."""
        return subprocess.run([f"{self.options.bin}/stillhouse", *arguments], text=True,
                              capture_output=True, timeout=60,
                              env=self.environment(self.redis_port, self.chroma_port))

    def stop(self):
        self.stopping.set()
        for program in (*self.workers, *self.recorders, *self.proxies, self.embedder, self.chroma, self.redis):
            program.kill()
        if self.options.postgres:
            self.disk.program.kill()
        self.spawner.shutdown()
