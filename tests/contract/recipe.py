"""The README's recipe for Python, as it stands there, on a Redis that is well and on ones that are not.

Reads STILLHOUSE_REDIS_URL: a Redis with a fleet behind it that knows something of the domain "legal".
Ends with one line, "N passed, N failed".
"""
import hashlib
import os
import pathlib
import re
import socket
import sys
import threading
import time
import urllib.parse
import uuid

import msgpack
import redis

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
URL = urllib.parse.urlsplit(os.environ["STILLHOUSE_REDIS_URL"])
BASE = "Answer the tenant.\r\n"
MOST_S = 0.6  # .1 to connect and .05 an answer; the rest is for a busy machine
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


def recipe(port):
    """The names that the recipe defines; its Redis listens on this port of the loopback."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    code, = [block for block in blocks if "sh_enqueue" in block]
    names = {}
    exec(compile(code, str(README), "exec"), names)
    names["r"].connection_pool.connection_kwargs.update(host="127.0.0.1", port=port)
    return names


class Server:
    """Listens on the loopback and does with each connection what it is told; `backlog` as listen()."""

    def __init__(self, serve, backlog=16):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.port = self.listener.getsockname()[1]
        if serve is not None:
            threading.Thread(target=self.run, args=(serve,), daemon=True).start()

    def run(self, serve):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def answer(text):
    """Whatever is asked, this is what is said."""
    def serve(connection):
        with connection:
            while connection.recv(65536):
                connection.sendall(text)
    return serve


def hold(connection):
    time.sleep(60)
    connection.close()


def delay(connection):
    """The real Redis, a second late."""
    real = socket.create_connection((URL.hostname, URL.port))
    try:
        while data := connection.recv(65536):
            real.sendall(data)
            late = real.recv(65536)
            time.sleep(1)
            connection.sendall(late)
    except OSError:
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def falls_back(what, port):
    names = recipe(port)
    start = time.monotonic()
    prompts = [names["prompt"]("legal", f"{what} {i}", BASE) for i in range(3)]
    took = (time.monotonic() - start) / 3
    check(prompts == [BASE] * 3, f"{what}: the base prompt, unchanged", prompts)
    check(took < MOST_S, f"{what}: within {MOST_S} s", took)


def well():
    names = recipe(URL.port)
    db = redis.Redis(host=URL.hostname, port=URL.port)
    query = f"notice period for tenants {uuid.uuid4()}"
    check(names["prompt"]("legal", query, BASE) == BASE, "a miss: the base prompt")
    until = time.monotonic() + 20
    prompt = BASE
    while prompt == BASE and time.monotonic() < until:
        time.sleep(0.05)
        prompt = names["prompt"]("legal", query, BASE)
    check(prompt.endswith("\n\n" + BASE) and len(prompt) > len(BASE) + 20,
          "a hit: the examples, a blank line, the base prompt", prompt)
    key = "sh:cache:{legal}:" + hashlib.sha256(b" ".join(query.encode().split())).hexdigest()[:32]
    check(msgpack.unpackb(db.get(key))["few_shot"] + "\n" + BASE == prompt,
          "the block is the one in the cache", prompt)
    for junk in (b"junk", msgpack.packb({"v": 1}), msgpack.packb([1])):
        db.set(key, junk, ex=60)
        check(names["prompt"]("legal", query, BASE) == BASE, f"{junk!r} in the cache: the base prompt")
    db.delete(key)


well()
falls_back("nobody listens", free_port())
falls_back("a Redis that hangs", Server(hold).port)
falls_back("a Redis that is late", Server(delay).port)
falls_back("a Redis that loads", Server(answer(b"-LOADING Redis is loading\r\n")).port)
falls_back("a Redis that is full", Server(answer(b"-OOM command not allowed\r\n")).port)
falls_back("a web server", Server(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")).port)
full = Server(None, backlog=0)
waiting = [socket.socket() for _ in range(4)]
for one in waiting:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", full.port))
falls_back("a host that drops packets", full.port)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
