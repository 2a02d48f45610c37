"""What each call does, of both clients, against a Redis and, where it takes one, a fleet."""

import pickle

import pytest
from stillhouse import FailedError, FullError, NotFoundError, Status

BASE = "Answer the tenant.\n\tÄ ✓ "


def learn(fleet, sh, domain, count=3):
    for i in range(count):
        sh.distill(domain, task_id=f"t-{i}", prompt=f"notice period for tenants {i}", result=f"{i} months")
    fleet.settle()


def test_a_prompt_is_the_base_byte_for_byte_and_its_enrichment_is_enqueued(redis, make):
    prompt = make(redis_url=redis.url).prompt("legal", "notice period", BASE)
    assert prompt == BASE
    assert isinstance(prompt, str)
    assert (prompt.kind, prompt.examples, prompt.status) == ("fallback", 0, Status.NOT_FOUND)
    assert "enqueued" in prompt.reason
    assert redis.waiting("enrich") == 1


def test_each_call_has_an_id_of_its_own(redis, make):
    sh = make(redis_url=redis.url)
    ids = {sh.prompt("legal", "q", "b").id for _ in range(3)} | {sh.messages("legal", "q").id for _ in range(3)}
    assert len(ids) == 6
    assert {one[14] for one in ids} == {"7"}


def test_a_prompt_is_enriched_by_what_was_distilled(fleet, make):
    sh, domain = make(redis_url=fleet.redis.url), fleet.domain()
    learn(fleet, sh, domain)
    prompt = sh.prompt(domain, "notice period for landlords", BASE, wait_ms=5000)
    assert prompt.kind == "enriched"
    assert prompt.examples == 3
    assert prompt.endswith(BASE)
    assert "2 months" in prompt
    assert sh.prompt(domain, "notice period for landlords", BASE) == prompt


def test_messages_are_user_and_assistant_by_turns_the_nearest_last(fleet, make):
    sh, domain = make(redis_url=fleet.redis.url), fleet.domain()
    learn(fleet, sh, domain)
    messages = sh.messages(domain, "notice period for tenants 1", wait_ms=5000)
    assert (messages.kind, messages.examples, len(messages)) == ("enriched", 3, 6)
    assert [one["role"] for one in messages] == ["user", "assistant"] * 3
    assert messages[-2:] == [
        {"role": "user", "content": "notice period for tenants 1"},
        {"role": "assistant", "content": "1 months"},
    ]
    examples = sh.lookup(domain, "notice period for tenants 1").examples
    assert messages.distances == tuple(example.distance for example in reversed(examples))
    assert messages.distances == tuple(sorted(messages.distances, reverse=True))
    assert abs(messages.distances[-1]) < 1e-3
    one = sh.messages(domain, "notice period for tenants 2", 1, wait_ms=5000)
    assert [message["content"] for message in one] == ["notice period for tenants 2", "2 months"]


def test_messages_of_a_domain_without_any_are_none(redis, make):
    messages = make(redis_url=redis.url).messages("legal", "notice period")
    assert messages == []
    assert (messages.kind, messages.status, messages.distances) == ("fallback", Status.NOT_FOUND, ())


def test_a_result_has_the_two_halves_of_each_task(fleet, make):
    sh, domain = make(redis_url=fleet.redis.url), fleet.domain()
    sh.distill(domain, task_id="t-1", prompt="a\n\nb", result="c\n\nd", metadata={"i": 3, "f": 0.5, "b": True})
    fleet.settle()
    job = sh.enrich(domain, "a b", reply=True)
    result = sh.await_result(job, wait_ms=5000)
    assert result.domain == domain
    assert result.error is None
    (example,) = result.examples
    assert (example.prompt, example.result) == ("a\n\nb", "c\n\nd")
    assert example.metadata["i"] == 3
    assert example.metadata["f"] == 0.5
    assert example.metadata["b"] is True
    assert example.metadata["task_id"] == "t-1"
    assert sh.lookup(domain, "a b").examples == result.examples


def test_indexed_documents_are_examples_without_halves(fleet, make):
    sh, domain = make(redis_url=fleet.redis.url), fleet.domain()
    sh.index(domain, [{"id": "d-1", "text": "tenants give notice", "metadata": {"page": 7}}])
    fleet.settle()
    result = sh.await_result(sh.enrich(domain, "tenants notice", reply=True), wait_ms=5000)
    (example,) = result.examples
    assert example.text == "tenants give notice"
    assert (example.prompt, example.result) == (None, None)
    assert example.metadata["page"] == 7


def test_the_same_enrichment_is_one_job(redis, make):
    sh = make(redis_url=redis.url)
    first = sh.enrich("legal", "notice period")
    assert sh.enrich("legal", " notice  period ") == first
    assert redis.waiting("enrich") == 1


def test_what_is_not_there_is_not_found(redis, make):
    sh = make(redis_url=redis.url)
    with pytest.raises(NotFoundError):
        sh.lookup("legal", "notice period")
    with pytest.raises(LookupError):
        sh.await_result("no-such-job", wait_ms=0)


def test_a_full_queue_says_so(redis, make):
    sh = make(redis_url=redis.url, max_backlog=1)
    sh.distill("legal", task_id="1", prompt="p", result="r")
    with pytest.raises(FullError):
        sh.distill("legal", task_id="2", prompt="p", result="r")


def test_options_reach_the_job(redis, make):
    sh = make(redis_url=redis.url)
    sh.distill("legal", task_id="1", prompt="p", result="r", delay_ms=60000)
    assert redis.waiting("distill") == 0
    sh.distill("legal", task_id="2", prompt="p", result="r", priority="high", deadline_ms=60000)
    high = sum(redis.db.xlen(key) for key in redis.db.scan_iter("sh:{distill}*") if redis.db.type(key) == b"stream")
    assert high == 1


def test_the_span_of_opentelemetry_goes_with_the_job(redis, make):
    trace = pytest.importorskip("opentelemetry.trace", reason="OpenTelemetry is not installed here")
    span = trace.SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=trace.TraceFlags(1))
    sh = make(redis_url=redis.url)
    with trace.use_span(trace.NonRecordingSpan(span)):
        sh.distill("legal", task_id="1", prompt="p", result="r")
    (entry,) = redis.db.xrange("sh:{distill}:jobs")
    assert f"00-{0xA1:032x}-{0xB2:016x}-01".encode() in b" ".join(entry[1].values())


def test_an_outbox_keeps_what_redis_does_not_take_and_that_is_no_error(own_redis, make, tmp_path):
    sh = make(redis_url=own_redis.url, outbox=str(tmp_path / "outbox"), retry_ms=1)
    own_redis.end()
    job = sh.distill("legal", task_id="1", prompt="p", result="r")
    assert job.kept
    assert "cannot connect" in job.reason
    own_redis.start()
    assert sh.flush(2000) == 0
    stats = sh.stats()
    assert (stats.kept, stats.sent, stats.jobs) == (1, 1, 0)


def test_a_redis_without_the_functions_says_what_to_do(own_redis, make):
    own_redis.db.function_flush()
    with pytest.raises(FailedError, match="stillhouse init"):
        make(redis_url=own_redis.url).enrich("legal", "notice period")


def test_settings_come_from_the_environment_and_arguments_win(redis, make, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", "redis://127.0.0.1:1/0")
    assert make().prompt("legal", "q", "b").status == Status.UNREACHABLE
    assert make(redis_url=redis.url).prompt("legal", "q", "b").status == Status.NOT_FOUND
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", redis.url)
    assert make().prompt("legal", "q", "b").status == Status.NOT_FOUND


def test_results_survive_pickling(redis, make):
    sh = make(redis_url=redis.url)
    for made in (sh.prompt("legal", "q", "b"), sh.messages("legal", "q"), sh.enrich("legal", "q")):
        again = pickle.loads(pickle.dumps(made))
        assert again == made
        assert type(again) is type(made)
        assert again.reason == made.reason


def test_stats_count_every_call(redis, make):
    sh = make(redis_url=redis.url)
    for i in range(3):
        sh.prompt("legal", f"q {i}", "b")
    sh.messages("legal", "q")
    sh.enrich("legal", "another")
    stats = sh.stats()
    assert (stats.fallback, stats.enriched, stats.jobs) == (4, 0, 1)
