"""What is asyncio's own: nothing blocks the loop, cancelling, loops that end, a fork."""

import asyncio
import os
import threading
import time

import pytest
from conftest import PATIENT
from stillhouse import AsyncStillhouse, ClosedError, NotFoundError, Status, UnreachableError


async def lateness_ms(seconds):
    """How late the loop was for a timer of 5 ms: nine times of ten not more than this."""
    late, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append(time.perf_counter() - begin - 0.005)
    return sorted(late)[len(late) * 9 // 10] * 1000


def test_memory_answers_on_the_loop_while_every_thread_hangs(fleet):
    async def main():
        async with AsyncStillhouse(**{**PATIENT, "command_timeout_ms": 1000}, redis_url=fleet.redis.url) as sh:
            domain = fleet.domain()
            await sh.distill(domain, task_id="1", prompt="notice period", result="three months")
            await asyncio.get_running_loop().run_in_executor(None, fleet.settle)
            assert (await sh.prompt(domain, "notice periods", "base", wait_ms=5000)).kind == "enriched"
            fleet.redis.stop()
            try:
                hanging = [asyncio.ensure_future(sh.prompt(domain, f"q {i}", "base")) for i in range(20)]
                await asyncio.sleep(0.1)
                begin = time.perf_counter()
                for _ in range(100):
                    assert (await sh.prompt(domain, "notice periods", "base")).kind == "enriched"
                    assert (await sh.messages(domain, "notice periods")).kind == "enriched"
                assert time.perf_counter() - begin < 0.5
                assert not any(call.done() for call in hanging[:4])
            finally:
                fleet.redis.go_on()
            assert set(await asyncio.gather(*hanging)) == {"base"}

    asyncio.run(main())


def test_two_hundred_tasks_share_one_client(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:

            async def work(i):
                for n in range(10):
                    await sh.prompt("legal", f"q {i} {n}", "base")
                    await sh.distill("legal", task_id=f"{i} {n}", prompt="p", result="r")

            await asyncio.gather(*(work(i) for i in range(200)))
            return sh.stats()

    stats = asyncio.run(main())
    assert (stats.fallback, stats.jobs) == (2000, 2000)
    assert stats.clients <= 6
    assert redis.waiting("distill") == 2000


def test_a_redis_that_hangs_does_not_hold_up_the_loop(own_redis):
    async def main():
        async with AsyncStillhouse(redis_url=own_redis.url, command_timeout_ms=400) as sh:
            await sh.prompt("legal", "q", "base")
            own_redis.stop()
            try:
                calls = [asyncio.ensure_future(sh.prompt("legal", f"q {i}", "base")) for i in range(8)]
                late = await lateness_ms(0.3)
                assert not any(call.done() for call in calls[:4])
                prompts = await asyncio.gather(*calls)
            finally:
                own_redis.go_on()
            return prompts, late

    prompts, late = asyncio.run(main())
    assert {prompt.status for prompt in prompts} == {Status.UNREACHABLE}
    assert late < 150  # one call on the loop would hold it up for 400


def test_a_prompt_for_which_no_thread_is_free_is_the_base_within_its_bound(redis):
    async def main():
        async with AsyncStillhouse(redis_url=redis.url, threads=1) as sh:
            sh._threads.pool("short").submit(time.sleep, 0.8)
            begin = time.perf_counter()
            prompt, messages = await asyncio.gather(sh.prompt("legal", "q", "base"), sh.messages("legal", "q"))
            assert sh.stats().fallback == 2
            return prompt, messages, time.perf_counter() - begin

    prompt, messages, took = asyncio.run(main())
    assert (prompt, messages) == ("base", [])
    assert {prompt.status, messages.status} == {Status.UNREACHABLE}
    assert prompt.reason == messages.reason == "no thread was free within 300 ms"
    assert 0.25 < took < 0.7
    assert redis.waiting("enrich") == 0


def test_calls_that_wait_are_in_nobodys_way(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url, threads=1) as sh:
            job = await sh.enrich("legal", "q", reply=True)
            waiting = [asyncio.ensure_future(sh.await_result(job, wait_ms=700)) for _ in range(8)]
            waiting.append(asyncio.ensure_future(sh.prompt("legal", "q 1", "base", wait_ms=700)))
            await asyncio.sleep(0.05)
            begin = time.perf_counter()
            await sh.distill("legal", task_id="t", prompt="p", result="r")
            assert time.perf_counter() - begin < 0.5
            assert not any(call.done() for call in waiting)
            out = await asyncio.gather(*waiting, return_exceptions=True)
            return [type(one).__name__ for one in out]

    assert asyncio.run(main()) == ["NotFoundError"] * 8 + ["Prompt"]


def test_two_hundred_calls_that_wait_share_sixteen_threads(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:
            calls = [asyncio.ensure_future(sh.prompt("d", f"q {i}", "base", wait_ms=100)) for i in range(200)]
            await asyncio.sleep(0.05)
            assert sum(thread.name == "stillhouse-waiting" for thread in threading.enumerate()) == 16
            assert {str(prompt) for prompt in await asyncio.gather(*calls)} == {"base"}

    asyncio.run(main())


def test_where_no_thread_can_be_started_the_prompt_is_the_base_and_no_task_fails(redis, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:
            with monkeypatch.context() as full:
                full.setattr(threading.Thread, "start", start)
                for wait_ms in (0, 100):
                    prompt = await sh.prompt("d", "q", "base", wait_ms=wait_ms)
                    assert (prompt, prompt.status) == ("base", Status.UNREACHABLE)
                    assert prompt.reason == "no thread for the call: can't start new thread"
                async with sh.task("d", "t", query="q") as task:
                    assert await task.messages() == []
                    task.done("answer")
                assert isinstance(task.error, UnreachableError)
            assert (await sh.prompt("d", "q", "base", wait_ms=100)).status == Status.NOT_FOUND
            assert (await sh.prompt("d", "q", "base")).status == Status.NOT_FOUND

    asyncio.run(main())


def test_a_call_for_whose_wait_no_thread_is_free_ends_in_its_time(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:
            others = [asyncio.ensure_future(sh.await_result(f"no-job-{i}", wait_ms=60000)) for i in range(16)]
            await asyncio.sleep(0.1)
            sh.sync._clients.prompt_bound_ms = 100
            begin = time.perf_counter()
            with pytest.raises(NotFoundError, match="no thread was free within 200 ms"):
                await sh.await_result("no-job", wait_ms=100)
            assert (await sh.prompt("legal", "q", "base", wait_ms=100)).status == Status.UNREACHABLE
            for one in others:
                one.cancel()
            return time.perf_counter() - begin

    assert 0.35 < asyncio.run(main()) < 2


def test_a_cancelled_call_leaves_the_client_usable(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:
            for _ in range(20):
                call = asyncio.ensure_future(sh.prompt("legal", "q", "base", wait_ms=200))
                await asyncio.sleep(0.01)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sh.await_result("no-job", wait_ms=300), 0.05)
            assert (await sh.prompt("legal", "another", "base")).status == Status.NOT_FOUND

    asyncio.run(main())


def test_one_client_serves_a_loop_after_another(redis):
    sh = AsyncStillhouse(**PATIENT, redis_url=redis.url)

    async def main(i):
        return (await sh.prompt("legal", f"q {i}", "base")).status

    assert [asyncio.run(main(i)) for i in range(3)] == [Status.NOT_FOUND] * 3
    asyncio.run(sh.close())


def test_without_a_running_loop_it_says_so(redis):
    sh = AsyncStillhouse(**PATIENT, redis_url=redis.url)
    call = sh.distill("legal", task_id="t", prompt="p", result="r")
    with pytest.raises(ClosedError, match="no event loop runs here"):
        call.send(None)
    assert redis.waiting("distill") == 0
    asyncio.run(sh.close())


def test_a_loop_that_closed_amid_a_call_takes_nothing_with_it(redis):
    sh = AsyncStillhouse(**PATIENT, redis_url=redis.url)
    loop = asyncio.new_event_loop()
    call = loop.create_task(sh.prompt("legal", "q", "base", wait_ms=200))
    loop.run_until_complete(asyncio.sleep(0.05))
    call.cancel()
    loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
    loop.close()
    time.sleep(0.3)

    async def main():
        return (await sh.prompt("legal", "q 2", "base")).status

    assert asyncio.run(main()) == Status.NOT_FOUND
    asyncio.run(sh.close())


def test_a_child_of_fork_has_threads_of_its_own(redis):
    sh = AsyncStillhouse(**PATIENT, redis_url=redis.url)

    async def main(query):
        return (await sh.prompt("legal", query, "base")).status

    assert asyncio.run(main("parent")) == Status.NOT_FOUND
    child = os.fork()
    if child == 0:
        os._exit(0 if asyncio.run(main("child")) == Status.NOT_FOUND else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(main("parent again")) == Status.NOT_FOUND
    asyncio.run(sh.close())
