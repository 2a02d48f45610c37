"""AsyncStillhouse: the client for event loops, asyncio's or uvloop's.

What memory has is answered on the loop, with a call that touches no socket and no disk; all else runs
in a few threads of the client's own. Calls that are told to wait have others, so that they are in
nobody's way; the interpreter's end does not wait for those. prompt() and messages() are bounded from
when they are awaited: where no thread is free in time the base prompt comes out. A cancelled call that
has begun ends in its thread, unheard.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _arguments as arguments
from ._arguments import Metadata
from ._clients import after_fork
from ._questions import ForMessages, ForPrompt, Question
from .client import Stillhouse, _again, form_of
from .errors import ClosedError, NotFoundError, Status, UnreachableError
from .results import Messages, Prompt, Result, Stats
from .tasks import AsyncTask, Form, Learns

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")

_WAITING_AT_ONCE = 16


class _DaemonThreads(Executor):
    """As many threads as there are calls, up to a bound; they end with the calls, and with the interpreter."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._threads = 0
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., T], /, *args: Any, **keywords: Any) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._threads < self._at_once:
                try:
                    threading.Thread(target=self._run, name="stillhouse-waiting", daemon=True).start()
                    self._threads += 1
                except RuntimeError:  # no room for one more
                    if self._threads == 0:
                        raise
            self._calls.append((future, functools.partial(fn, *args, **keywords)))
        return future

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._threads -= 1
                    return
                future, call = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call


class _Threads:
    """Where calls run, "short" and "waiting"; anew in a child of fork(), where no thread is left."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.start_over()
        after_fork(self)

    def start_over(self) -> None:
        self._short = ThreadPoolExecutor(self._count, thread_name_prefix="stillhouse-short")
        self._waiting = _DaemonThreads(_WAITING_AT_ONCE)

    def pool(self, name: str) -> Executor:
        return self._short if name == "short" else self._waiting

    def close(self) -> None:
        self._short.shutdown(wait=False)


def _awaited(
    call: Callable[Concatenate[Stillhouse, P], T], pool: str = "short"
) -> Callable[Concatenate[AsyncStillhouse, P], Coroutine[Any, Any, T]]:
    """A call of Stillhouse's as one of AsyncStillhouse's, with its arguments and what it says of them."""

    @functools.wraps(call)
    async def awaited(self: AsyncStillhouse, /, *args: P.args, **keywords: P.kwargs) -> T:
        return await self._submit(pool, call, self.sync, *args, **keywords)

    awaited.__qualname__ = f"AsyncStillhouse.{call.__name__}"
    awaited.__doc__ = f"As Stillhouse.{call.__name__}(), awaited. {call.__doc__ or ''}"
    return awaited


class AsyncStillhouse(Learns):
    """Stillhouse with every call awaited.

        async with AsyncStillhouse() as sh:
            prompt = await sh.prompt("legal", "notice period for tenants", base)

    Methods, settings and errors are those of Stillhouse. threads: how many calls may be under way at
    once beside those that wait. It is bound to no loop: one may serve a loop after another, or several.
    `sync` is the Stillhouse under it, for code in threads.
    """

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        cache_url: str | None = None,
        prefix: str | None = None,
        connect_timeout_ms: int | None = None,
        command_timeout_ms: int | None = None,
        retry_ms: int | None = None,
        memory_ttl_ms: int | None = None,
        memory_entries: int | None = None,
        max_backlog: int | None = None,
        max_body_bytes: int | None = None,
        outbox: str | None = None,
        outbox_max_bytes: int | None = None,
        holdout: str | None = None,
        examples: Form | None = None,
        record: bool = False,
        threads: int = 4,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._settings = dict(settings)
        count = arguments.number("threads", settings.pop("threads"), 1, 256)
        sync = Stillhouse.__new__(Stillhouse)
        sync._start(settings, spare=1)
        self._start(sync, count)

    @classmethod
    def _around(cls, sync: Stillhouse) -> AsyncStillhouse:
        """One over a Stillhouse that is there already: both share everything."""
        self = cls.__new__(cls)
        self._settings = {**sync._settings, "threads": 4}
        self._start(sync, 4)
        return self

    def _start(self, sync: Stillhouse, threads: int) -> None:
        self.sync = sync
        self._threads = _Threads(threads)

    # ---- prompts ----------------------------------------------------------------------------

    async def prompt(
        self, domain: str, query: str, base: str, *, wait_ms: int = 0, task_id: str | None = None
    ) -> Prompt:
        """As Stillhouse.prompt()."""
        return await self._ask(ForPrompt(domain, query, base, wait_ms, task_id))

    async def messages(
        self, domain: str, query: str, k: int = 3, *, wait_ms: int = 0, task_id: str | None = None
    ) -> Messages:
        """As Stillhouse.messages()."""
        return await self._ask(ForMessages(domain, query, k, wait_ms, task_id))

    async def _ask(self, question: Question[T]) -> T:
        found = self.sync._recall(question)
        if found is not None:
            return found
        try:
            return await self._in_time(question.wait_ms, self.sync._ask, question)
        except (NotFoundError, UnreachableError) as late:
            return self.sync._none(question, Status.UNREACHABLE, str(late))

    # ---- jobs and results -------------------------------------------------------------------

    enrich = _awaited(Stillhouse.enrich)
    """As Stillhouse.enrich()."""
    distill = _awaited(Stillhouse.distill)
    """As Stillhouse.distill()."""
    index = _awaited(Stillhouse.index)
    """As Stillhouse.index()."""
    record = _awaited(Stillhouse.record)
    """As Stillhouse.record()."""
    feedback = _awaited(Stillhouse.feedback)
    """As Stillhouse.feedback()."""
    lookup = _awaited(Stillhouse.lookup)
    """As Stillhouse.lookup()."""
    flush = _awaited(Stillhouse.flush, "waiting")
    """As Stillhouse.flush()."""

    async def await_result(self, id: str, *, wait_ms: int, queue: str = "enrich") -> Result:
        """As Stillhouse.await_result()."""
        wait_ms = arguments.number("wait_ms", wait_ms)
        call = functools.partial(self.sync.await_result, id, wait_ms=wait_ms, queue=queue)
        return await self._in_time(wait_ms, call)

    # ---- tasks ------------------------------------------------------------------------------

    def task(
        self,
        domain: str,
        task_id: str,
        *,
        query: str,
        k: int = 3,
        wait_ms: int = 0,
        examples: Form | None = None,
        model: str | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncTask:
        """As Stillhouse.task(), for `async with`; its messages(), prompt() and examples are awaited."""
        form = form_of(self.sync.form if examples is None else examples)
        return AsyncTask(self, domain, task_id, query, k, wait_ms, form, model, metadata)

    def _both(self) -> tuple[Stillhouse, Callable[[], AsyncStillhouse]]:
        return self.sync, lambda: self

    # ---- the client -------------------------------------------------------------------------

    def stats(self) -> Stats:
        """As Stillhouse.stats(); nothing is asked, so nothing is awaited."""
        return self.sync.stats()

    async def close(self) -> None:
        """As Stillhouse.close()."""
        if not self.sync.closed:
            await self._submit("short", self.sync.close)
            self._threads.close()

    @property
    def closed(self) -> bool:
        return self.sync.closed

    async def __aenter__(self) -> AsyncStillhouse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncStillhouse:
        """Itself: copies of what holds a client, as optimizers of prompts make them, share it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self._settings)

    # ---- off the loop -----------------------------------------------------------------------

    def _submit(self, pool: str, call: Callable[..., T], *args: Any, **keywords: Any) -> asyncio.Future[T]:
        """Starts a call in a thread, in the caller's context: the span of a trace is found there."""
        self.sync._clients.check_open()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ClosedError(
                "no event loop runs here: AsyncStillhouse is awaited in one, Stillhouse is for code without"
            ) from None
        run = functools.partial(contextvars.copy_context().run, call, *args, **keywords)
        try:
            return loop.run_in_executor(self._threads.pool(pool), run)
        except RuntimeError as error:  # a thread that is busy may take it yet
            raise UnreachableError(f"no thread for the call: {error}") from None

    async def _in_time(self, wait_ms: int, call: Callable[..., T], *args: Any) -> T:
        """The same, bounded from now on; NotFoundError where it is not over then."""
        bound_ms = self.sync._clients.prompt_bound_ms + wait_ms
        future = self._submit("waiting" if wait_ms > 0 else "short", call, *args)
        try:
            done, _ = await asyncio.wait({future}, timeout=bound_ms / 1000)
        except asyncio.CancelledError:
            future.cancel()
            raise
        if not done:
            future.cancel()
            raise NotFoundError(f"no thread was free within {bound_ms} ms")
        return future.result()
