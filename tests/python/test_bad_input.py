"""Bad input is refused with field, value and what was expected, before anything is sent."""

import datetime
import decimal
import pickle

import pytest
from stillhouse import AsyncStillhouse, ClosedError, InvalidError, Stillhouse

GOOD = {"task_id": "t", "prompt": "p", "result": "r"}
CALLS = {
    "prompt with a number for a query": (lambda sh: sh.prompt("d", 5, "b"), "query 5: expected str, got int"),
    "prompt with bytes for a base": (
        lambda sh: sh.prompt("d", "q", b"b"),
        r"base b'b': expected str, got bytes",
    ),
    "prompt with None": (lambda sh: sh.prompt("d", None, "b"), "query None: expected str"),
    "an empty domain": (lambda sh: sh.prompt("", "q", "b"), 'domain "": expected'),
    "a domain in capitals": (lambda sh: sh.messages("Legal", "q"), 'domain "Legal": expected'),
    "a lone surrogate": (lambda sh: sh.prompt("d", "a\ud800", "b"), r"query 'a\\ud800': .*surrogate\) at 1"),
    "a NUL": (lambda sh: sh.prompt("d", "q", "a\0b"), r"base 'a\\x00b': expected text without NUL"),
    "a negative wait": (lambda sh: sh.prompt("d", "q", "b", wait_ms=-1), "wait_ms -1: expected 0 to"),
    "a huge wait": (lambda sh: sh.prompt("d", "q", "b", wait_ms=2**31), "wait_ms 2147483648: expected 0 to"),
    "a wait of 5000 digits": (lambda sh: sh.prompt("d", "q", "b", wait_ms=10**5000), "wait_ms of 16610 bits: expected"),
    "an integer of 5000 digits": (lambda sh: put(sh, 10**5000), "metadata 'x' of 16610 bits: expected -92"),
    "a float for a wait": (lambda sh: sh.messages("d", "q", wait_ms=0.5), "wait_ms 0.5: expected int"),
    "no examples": (lambda sh: sh.messages("d", "q", 0), "k 0: expected 1 to"),
    "too many examples": (lambda sh: sh.enrich("d", "q", 21), "k.* 21"),
    "True for a number": (lambda sh: sh.enrich("d", "q", True), "k True: expected int, got bool"),
    "an unknown priority": (
        lambda sh: sh.enrich("d", "q", priority="urgent"),
        "priority 'urgent': expected one of",
    ),
    "a task without an id": (lambda sh: sh.distill("d", **{**GOOD, "task_id": ""}), "task_id"),
    "an answer that is none": (
        lambda sh: sh.distill("d", **{**GOOD, "result": None}),
        "result None: expected str",
    ),
    "success as a number": (lambda sh: sh.distill("d", **GOOD, success=1), "success 1: expected bool"),
    "quality over one": (
        lambda sh: sh.distill("d", **GOOD, quality=1.5),
        "quality 1.5: expected a number from 0",
    ),
    "quality NaN": (lambda sh: sh.distill("d", **GOOD, quality=float("nan")), "quality nan: expected"),
    "metadata as a list": (
        lambda sh: sh.distill("d", **GOOD, metadata=["x"]),
        r"metadata \['x'\]: expected a dict",
    ),
    "a Decimal": (
        lambda sh: put(sh, decimal.Decimal("1")),
        r"metadata 'x' Decimal\('1'\): expected str, int",
    ),
    "a datetime": (lambda sh: put(sh, datetime.datetime(2026, 1, 1)), "metadata 'x' datetime.datetime"),
    "NaN": (lambda sh: put(sh, float("nan")), "metadata 'x' nan: expected a finite number"),
    "infinity": (lambda sh: put(sh, float("inf")), "metadata 'x' inf: expected a finite number"),
    "an integer of 65 bits": (lambda sh: put(sh, 2**63), "metadata 'x' 9223372036854775808: expected -92"),
    "a number as a key": (
        lambda sh: sh.distill("d", **GOOD, metadata={1: "x"}),
        "metadata key 1: expected str",
    ),
    "a key of our own": (lambda sh: sh.distill("d", **GOOD, metadata={"domain": "x"}), "domain"),
    "a body over the limit": (lambda sh: sh.distill("d", **{**GOOD, "result": "r" * 300000}), "body of 3000"),
    "no documents": (lambda sh: sh.index("d", []), "documents: 0, expected 1 to 1000"),
    "text for documents": (lambda sh: sh.index("d", "text"), "documents 'text': expected a list of dicts"),
    "a document without text": (
        lambda sh: sh.index("d", [{"id": "1"}]),
        r"documents\[0\] text None: expected str",
    ),
    "a field too many": (
        lambda sh: sh.index("d", [{"id": "1", "text": "t", "url": ""}]),
        r"\[0\] 'url': expected only",
    ),
    "a job's id as a number": (lambda sh: sh.await_result(17, wait_ms=0), "id 17: expected str"),
    "a flush of minus one": (lambda sh: sh.flush(-1), "timeout_ms -1: expected 0 to"),
    "a form that is none": (
        lambda sh: sh.task("d", "t", query="q", examples="xml"),
        "examples 'xml': expected",
    ),
    "a task's query as a number": (lambda sh: sh.task("d", "t", query=1), "query 1: expected str"),
}


def put(sh, value):
    return sh.distill("d", **GOOD, metadata={"x": value})


@pytest.mark.parametrize("what", CALLS)
def test_it_is_refused_and_nothing_is_sent(redis, make, what):
    call, text = CALLS[what]
    sh = make(redis_url=redis.url)
    before = redis.connections()
    with pytest.raises(InvalidError, match=text):
        call(sh)
    assert redis.connections() == before
    assert redis.db.keys("sh:{*") == [] or redis.db.dbsize() == 0


SETTINGS = [
    ({"retry_ms": 0}, "retry_ms 0: expected 1 to"),
    ({"memory_entries": -1}, "memory_entries -1: expected 1 to"),
    ({"connect_timeout_ms": 1.5}, "connect_timeout_ms 1.5: expected int"),
    ({"command_timeout_ms": 2**31 - 1}, "command_timeout_ms"),
    ({"redis_url": "http://here"}, "unknown scheme"),
    ({"prefix": "a b"}, "prefix"),
    ({"outbox": "/no/such/place/at/all"}, "/no/such/place/at/all"),
    ({"examples": "xml"}, "examples 'xml': expected"),
]


@pytest.mark.parametrize("kind", [Stillhouse, AsyncStillhouse])
@pytest.mark.parametrize(("settings", "text"), SETTINGS)
def test_a_wrong_setting_is_refused_when_the_client_is_made(kind, settings, text):
    with pytest.raises(InvalidError, match=text):
        kind(**settings)


def test_a_wrong_url_is_not_shown_for_its_password():
    with pytest.raises(InvalidError) as caught:
        Stillhouse(redis_url="redis://:secret\0@here")
    assert "redis_url: expected str without NUL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wrong_variable_is_refused(monkeypatch):
    monkeypatch.setenv("STILLHOUSE_EXAMPLES", "xml")
    with pytest.raises(InvalidError, match="STILLHOUSE_EXAMPLES"):
        Stillhouse()
    monkeypatch.setenv("STILLHOUSE_EXAMPLES", "block")
    monkeypatch.setenv("STILLHOUSE_MAX_BODY", "many")
    with pytest.raises(InvalidError, match="STILLHOUSE_MAX_BODY"):
        Stillhouse()


def test_a_closed_client_says_so(redis, make):
    sh = make(redis_url=redis.url)
    sh.prompt("d", "q", "b")
    sh.close()
    sh.close()
    assert sh.closed
    for call in (
        lambda: sh.prompt("d", "q", "b"),
        lambda: sh.messages("d", "q"),
        lambda: sh.distill("d", **GOOD),
        lambda: sh.flush(),
        lambda: sh.lookup("d", "q"),
    ):
        with pytest.raises(ClosedError, match="closed"):
            call()
    assert sh.stats().fallback == 1


def test_every_error_is_an_exception_of_its_kind():
    with pytest.raises(ValueError, match="retry_ms"):
        Stillhouse(retry_ms=0)
    error = pickle.loads(pickle.dumps(InvalidError("domain")))
    assert (str(error), error.status) == ("domain", 2)
