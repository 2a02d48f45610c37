"""Redis dead, hung, full, read-only, silent, and back: prompts come out in time, jobs say why they do not.

The bound of a call: 100 ms to connect and two round trips of 50 ms to be sent and 50 to be answered. The
machine may be busy with other tests: a second is what a call may take here; the median may not.
"""

import logging
import socket
import threading
import time

import pytest
from conftest import BOUNDED, until
from stillhouse import FailedError, Status, UnreachableError

GOOD = {"task_id": "t", "prompt": "p", "result": "r"}
CALLS = 30


def timed(call):
    times, out = [], None
    for i in range(CALLS):
        begin = time.perf_counter()
        out = call(i)
        times.append(time.perf_counter() - begin)
    assert max(times) < 1
    assert sorted(times)[CALLS // 2] < 0.06
    return out


def check_falls_back(sh, status):
    prompt = timed(lambda i: sh.prompt("legal", f"question {i}", "base"))
    assert (prompt, prompt.kind, prompt.status) == ("base", "fallback", status)
    assert prompt.reason
    messages = timed(lambda i: sh.messages("legal", f"question {i}"))
    assert (messages, messages.kind, messages.status) == ([], "fallback", status)


def check_is_back(sh):
    until(lambda: sh.prompt("legal", "once more", "base").status == Status.NOT_FOUND, "the connection")


def test_nobody_listens(make):
    sh = make(**BOUNDED, redis_url="redis://127.0.0.1:1/0")
    check_falls_back(sh, Status.UNREACHABLE)
    with pytest.raises(ConnectionError, match="cannot connect"):
        sh.distill("legal", **GOOD)


def test_redis_hangs_and_comes_back(own_redis, make):
    sh = make(**BOUNDED, redis_url=own_redis.url, retry_ms=50)
    assert sh.prompt("legal", "q", "base").status == Status.NOT_FOUND
    own_redis.stop()
    try:
        check_falls_back(sh, Status.UNREACHABLE)
        with pytest.raises(UnreachableError):
            sh.enrich("legal", "q")
    finally:
        own_redis.go_on()
    check_is_back(sh)


def test_redis_dies_and_comes_back(own_redis, make):
    sh = make(**BOUNDED, redis_url=own_redis.url, retry_ms=50)
    assert sh.prompt("legal", "q", "base").status == Status.NOT_FOUND
    own_redis.end()
    check_falls_back(sh, Status.UNREACHABLE)
    own_redis.start()
    check_is_back(sh)


def test_redis_is_full(own_redis, make):
    own_redis.db.config_set("maxmemory", 1)
    sh = make(**BOUNDED, redis_url=own_redis.url)
    check_falls_back(sh, Status.FAILED)
    with pytest.raises(FailedError, match="OOM|memory"):
        sh.distill("legal", **GOOD)


def test_redis_is_read_only(own_redis, make):
    own_redis.db.replicaof("127.0.0.1", 1)
    sh = make(**BOUNDED, redis_url=own_redis.url)
    prompt = timed(lambda i: sh.prompt("legal", f"question {i}", "base"))
    assert (prompt, prompt.kind) == ("base", "fallback")
    with pytest.raises((FailedError, UnreachableError)):
        sh.distill("legal", **GOOD)


def test_half_an_answer(make):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        going = threading.Event()

        def answer():
            heard = []
            while not going.is_set():
                try:
                    heard.append(server.accept()[0])
                    heard[-1].sendall(b"$100\r\nhalf")
                except OSError:
                    continue
            for one in heard:
                one.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            sh = make(**BOUNDED, redis_url=f"redis://127.0.0.1:{server.getsockname()[1]}/0", retry_ms=50)
            check_falls_back(sh, Status.UNREACHABLE)
        finally:
            going.set()
            thread.join()


def test_what_memory_has_comes_out_while_redis_is_away(fleet, make):
    sh, domain = make(**BOUNDED, redis_url=fleet.redis.url), fleet.domain()
    sh.distill(domain, task_id="1", prompt="notice period", result="three months")
    fleet.settle()
    known = sh.prompt(domain, "notice periods", "base", wait_ms=5000)
    assert known.kind == "enriched"
    fleet.redis.stop()
    try:
        assert timed(lambda i: sh.prompt(domain, "notice periods", "base")) == known
        assert timed(lambda i: sh.messages(domain, "notice periods")).kind == "enriched"
    finally:
        fleet.redis.go_on()


def test_an_outage_is_logged_once_and_so_is_its_end(own_redis, make, caplog):
    caplog.set_level(logging.INFO, "stillhouse")
    sh = make(**BOUNDED, redis_url=own_redis.url, retry_ms=1)
    own_redis.end()
    for i in range(5):
        sh.prompt("legal", f"q {i}", "base")
    own_redis.start()
    check_is_back(sh)
    for i in range(5):
        sh.prompt("legal", f"q {i}", "base")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_job_that_redis_takes_ends_an_outage_too(own_redis, make, caplog):
    caplog.set_level(logging.INFO, "stillhouse")
    sh = make(**BOUNDED, redis_url=own_redis.url, retry_ms=1)
    for levels in (["WARNING", "INFO"], ["WARNING", "INFO"] * 2):
        own_redis.end()
        sh.prompt("legal", "q", "base")
        own_redis.start()
        until(lambda: handed_in(sh), "the connection")
        assert [record.levelname for record in caplog.records] == levels


def handed_in(sh):
    try:
        return sh.distill("legal", **GOOD)
    except UnreachableError:
        return None
