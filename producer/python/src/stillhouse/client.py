"""Stillhouse: the client for threads."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _arguments as arguments
from . import _library as c
from ._arguments import Document, Metadata, Priority
from ._clients import Client, Clients
from ._questions import ForMessages, ForPrompt, Question
from .errors import ClosedError, Status, StillhouseError
from .records import RecordFields, RecordKind
from .results import (
    JobId,
    Messages,
    Prompt,
    Result,
    Stats,
    job_id_of,
    take_result,
)
from .tasks import Form, Learns, Task

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .aio import AsyncStillhouse

T = TypeVar("T")
log = logging.getLogger("stillhouse")
log.addHandler(logging.NullHandler())  # what a program does not listen to is not printed
lib = c.lib


class Stillhouse(Learns):
    """Asks for examples, hands in finished tasks, and never waits longer than its bounds.

        sh = Stillhouse()
        prompt = sh.prompt("legal", "notice period for tenants", base)
        sh.distill("legal", task_id="t-17", prompt=question, result=answer, quality=0.9)

    Settings that are not given are those of the environment (STILLHOUSE_REDIS_URL, STILLHOUSE_OUTBOX
    and so on, as for every program of Stillhouse), else the defaults of stillhouse.h. Nothing connects
    before the first call. Any number of threads may share one; each call under way has a connection of
    its own. It works on in a child of fork(), and pickled it carries its settings, a password in a URL
    among them. close() may be left to the end of the program.

    record: task() and learn() leave an outcome for the learning store too (record(kind="outcome")). Off
    where not asked for: a queue that no recorder reads only fills.
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
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._start(settings, spare=0)

    def _start(self, settings: dict[str, Any], spare: int) -> None:
        self._settings = dict(settings)
        form = settings.pop("examples")
        self.recording = arguments.truth("record", settings.pop("record"))
        self.form = form_of(form if form is not None else os.environ.get("STILLHOUSE_EXAMPLES") or "block")
        self._clients = Clients(arguments.client_options(settings), spare)
        self._away = False
        self._end = weakref.finalize(self, self._clients.end)

    # ---- prompts ----------------------------------------------------------------------------

    def prompt(self, domain: str, query: str, base: str, *, wait_ms: int = 0, task_id: str | None = None) -> Prompt:
        """The prompt for a task: three examples before `base`, or `base` as it is.

        Where they are not at hand their enrichment is enqueued, and waited for up to wait_ms. Never
        raises for an outage: `status` and `reason` of a fallback say what was wrong. task_id: so that
        with STILLHOUSE_HOLDOUT all prompts of a task are held out or none. InvalidError, ClosedError.
        """
        return self._ask(ForPrompt(domain, query, base, wait_ms, task_id))

    def messages(
        self, domain: str, query: str, k: int = 3, *, wait_ms: int = 0, task_id: str | None = None
    ) -> Messages:
        """Up to k examples as chat messages, the nearest last; [] where there are none. As prompt()."""
        return self._ask(ForMessages(domain, query, k, wait_ms, task_id))

    def _ask(self, question: Question[T]) -> T:
        try:
            client = self._clients.take()
        except ClosedError:
            raise
        except StillhouseError as error:
            return self._none(question, error.status, str(error))
        try:
            return self._read(question, client, question.ask(client))
        finally:
            self._clients.give(client)

    def _none(self, question: Question[T], status: Status, reason: str) -> T:
        """What comes out where the C library could not be asked; it is a fallback like any other."""
        self._clients.count_unasked()
        return question.none(status, reason)

    def _recall(self, question: Question[T]) -> T | None:
        """From memory alone: touches no socket, no disk, and waits for no client."""
        client = self._clients.take_idle()
        if client is None:
            return None
        try:
            out = question.recall(client)
            return None if out is None else self._read(question, client, out)
        finally:
            self._clients.give(client)

    def _read(self, question: Question[T], client: Client, out: Any) -> T:
        try:
            reason = self._judge(client, out.status)
            client.kinds[out.kind] += 1
            return question.take(out, client.last_id(), reason)
        finally:
            question.free(out)

    def _judge(self, client: Client, status: int) -> str:
        """Why there are no examples; raises where the caller is to blame."""
        if status == Status.OK:
            return ""
        if status == Status.INVALID:
            raise client.error(status)
        reason = client.text()
        self._log_outage(status, reason)
        return reason

    def _log_outage(self, status: int, reason: str) -> None:
        """When it begins and when it ends, not each call in between."""
        away = status == Status.UNREACHABLE
        if away != self._away:
            self._away = away
            if away:
                log.warning("prompts come out as they are: %s", reason)
            else:
                log.info("Redis answers again")

    # ---- jobs -------------------------------------------------------------------------------

    def enrich(
        self,
        domain: str,
        query: str,
        k: int = 3,
        *,
        priority: Priority = "normal",
        delay_ms: int = 0,
        deadline_ms: int = 0,
        reply: bool = False,
    ) -> JobId:
        """Enqueues an enrichment, unique by domain, query and k. `reply`: for await_result()."""
        options = arguments.job_options(priority, delay_ms, deadline_ms, reply)
        return self._enqueue(lib.stillhouse_enqueue_enrich, *_enrichment(domain, query, k), options)

    def distill(
        self,
        domain: str,
        *,
        task_id: str,
        prompt: str,
        result: str,
        success: bool = True,
        quality: float | None = None,
        model: str | None = None,
        metadata: Metadata | None = None,
        priority: Priority = "normal",
        delay_ms: int = 0,
        deadline_ms: int = 0,
        reply: bool = False,
    ) -> JobId:
        """Hands in a finished task. The same task_id again replaces what is stored of it.

        One that did not succeed, or is under the fleet's STILLHOUSE_MIN_QUALITY, is accepted here and
        rejected by the worker. What the outbox took is no error: the id says `kept`.
        """
        text = arguments.text
        pairs, count = arguments.metadata("metadata", metadata)
        experience = c.Experience(
            domain=text("domain", domain),
            task_id=text("task_id", task_id),
            prompt=text("prompt", prompt),
            result=text("result", result),
            success=arguments.truth("success", success),
            quality=arguments.quality(quality),
            model=arguments.text_or_none("model", model),
            metadata=pairs,
            metadata_count=count,
        )
        options = arguments.job_options(priority, delay_ms, deadline_ms, reply)
        return self._enqueue(lib.stillhouse_enqueue_distill, experience, options)

    def index(
        self,
        domain: str,
        documents: Iterable[Document],
        *,
        priority: Priority = "normal",
        delay_ms: int = 0,
        deadline_ms: int = 0,
        reply: bool = False,
    ) -> JobId:
        """Stores 1 to 1000 documents: dicts with "id", "text" and, where wanted, "metadata"."""
        name = arguments.text("domain", domain)
        each, count = arguments.documents(documents)
        options = arguments.job_options(priority, delay_ms, deadline_ms, reply)
        return self._enqueue(lib.stillhouse_enqueue_index, name, each, count, options)

    def record(
        self,
        domain: str,
        *,
        kind: RecordKind,
        task_id: str | None = None,
        at_ms: int | None = None,
        metadata: Metadata | None = None,
        **fields: Unpack[RecordFields],
    ) -> JobId:
        """Says something of an execution, for the learning store; parts of one task_id make one row.

            sh.record("legal", kind="outcome", task_id="t-18", success=True, duration_seconds=3.2)

        The fields are those of RecordFields, with the bounds of CONTRACT.md, section 4; None is not said.
        Another name is refused: what has no field goes into metadata. at_ms: when it was so, Unix ms;
        without it, when it was enqueued. Of two values of one field the later stands.
        """
        part = arguments.part(domain, kind, task_id, at_ms, metadata, fields)
        return self._enqueue(lib.stillhouse_record, part)

    def feedback(
        self,
        domain: str,
        task_id: str,
        *,
        rating: int | None = None,
        accepted: bool | None = None,
        comment: str | None = None,
        type: str | None = None,
        user: str | None = None,
    ) -> JobId:
        """Says what a user says of a task's result: rating 1 to 5, whether it was accepted, a comment."""
        if rating is None and accepted is None and comment is None:
            raise arguments.refuse("feedback", None, "rating, accepted or comment")
        return self.record(
            domain,
            kind="feedback",
            task_id=task_id,
            user_rating=rating,
            user_accepted=accepted,
            comment=comment,
            feedback_type=type,
            user=user,
        )

    def _enqueue(self, call: Callable[..., int], *given: Any) -> JobId:
        client = self._clients.take()
        try:
            status = call(client.pointer, *given, client.id)
            client.note_outbox()
            if status not in (Status.OK, Status.KEPT):
                raise client.error(status)
            kept = status == Status.KEPT
            if not kept:
                self._log_outage(status, "")  # a prompt may come from memory: this is an answer of Redis
            reason = client.text() if kept else ""
            client.counts["kept" if kept else "jobs"] += 1
            return job_id_of(c.text_of(client.id.value), kept, reason)
        finally:
            self._clients.give(client)

    def flush(self, timeout_ms: int = 0) -> int:
        """Sends what the outbox holds, for up to timeout_ms (0 = one call). Returns how many are left."""
        timeout_ms = arguments.number("timeout_ms", timeout_ms)
        left = ctypes.c_size_t()
        client = self._clients.take()
        try:
            status = lib.stillhouse_flush(client.pointer, timeout_ms, left)
            client.note_outbox()
            if status not in (Status.OK, Status.NOT_FOUND):
                raise client.error(status)
            return left.value
        finally:
            self._clients.give(client)

    # ---- results ----------------------------------------------------------------------------

    def lookup(self, domain: str, query: str, k: int = 3) -> Result:
        """The cached result, from memory or Redis; enqueues nothing. NotFoundError where none is."""
        return self._result(lib.stillhouse_lookup, *_enrichment(domain, query, k))

    def await_result(self, id: str, *, wait_ms: int, queue: str = "enrich") -> Result:
        """The result of a job that was enqueued with `reply`; NotFoundError when it is not there in time."""
        given = arguments.text("queue", queue), arguments.text("id", id)
        return self._result(lib.stillhouse_await, *given, arguments.number("wait_ms", wait_ms))

    def _result(self, call: Callable[..., int], *given: Any) -> Result:
        client = self._clients.take()
        try:
            status = call(client.pointer, *given, client.result)
            if status != Status.OK:
                raise client.error(status)
            try:
                return take_result(client.result)
            finally:
                lib.stillhouse_result_free(client.result)
        finally:
            self._clients.give(client)

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
    ) -> Task:
        """A task from its examples to what is learnt from it.

            with sh.task("legal", "t-18", query=q) as t:
                answer = run(t.messages() + [{"role": "user", "content": q}])
                t.done(answer, quality=0.9)

        Nothing is handed in when the block raises; with `record` of the client it leaves an outcome that
        says so. What goes wrong with handing in never fails the task: it
        is logged, counted in stats(), and `t.error`.
        """
        form = form_of(self.form if examples is None else examples)
        return Task(self, domain, task_id, query, k, wait_ms, form, model, metadata)

    def _both(self) -> tuple[Stillhouse, Callable[[], AsyncStillhouse]]:
        return self, lambda: self._beside

    @functools.cached_property
    def _beside(self) -> AsyncStillhouse:
        """For functions of asyncio that learn."""
        from .aio import AsyncStillhouse

        return AsyncStillhouse._around(self)

    # ---- the client -------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What this client did since it was made."""
        return Stats(**self._clients.counted())

    def close(self) -> None:
        """Ends it; calls under way end as usual. A second time does nothing."""
        self._end.detach()
        self._clients.close()

    @property
    def closed(self) -> bool:
        return not self._end.alive

    def __enter__(self) -> Stillhouse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Stillhouse:
        """Itself: copies of what holds a client, as optimizers of prompts make them, share it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self._settings)


def _again(kind: type[Any], settings: dict[str, Any]) -> Any:
    return kind(**settings)


def _enrichment(domain: str, query: str, k: int) -> tuple[bytes, bytes, int]:
    return arguments.text("domain", domain), arguments.text("query", query), arguments.number("k", k, 1)


def form_of(value: object) -> Form:
    if value == "block":
        return "block"
    if value == "messages":
        return "messages"
    raise arguments.refuse("examples", value, '"block" or "messages" (STILLHOUSE_EXAMPLES)')
