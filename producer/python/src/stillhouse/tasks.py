"""A task from its examples to what is learnt from it, as a block or around a function."""

from __future__ import annotations

import functools
import inspect
import logging
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Generic, Literal, TypeVar

from . import _arguments as arguments
from ._arguments import Metadata
from .errors import InvalidError, StillhouseError
from .records import RecordFields
from .results import JobId, Messages, Prompt, prompt_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .aio import AsyncStillhouse
    from .client import Stillhouse

Form = Literal["block", "messages"]
T = TypeVar("T")
C = TypeVar("C")  # a client
log = logging.getLogger("stillhouse")
_METADATA_MAX = 64  # keys, as the contract has it


class _Outcome(Generic[C]):
    """What both kinds of task have: who it is, and what is to be handed in."""

    job: JobId | None = None
    """The job that carries the answer, after the block."""
    error: StillhouseError | None = None
    """Why the answer was not handed in, after the block."""

    def __init__(
        self,
        client: C,
        domain: str,
        task_id: str,
        query: str,
        k: int,
        wait_ms: int,
        form: Form,
        model: str | None,
        metadata: Metadata | None,
    ) -> None:
        for field, value in (("domain", domain), ("task_id", task_id), ("query", query)):
            arguments.text(field, value)
        arguments.text_or_none("model", model)
        arguments.metadata("metadata", metadata)
        self._client = client
        self.domain, self.task_id, self.query = domain, task_id, query
        self.k = arguments.number("k", k, 1)
        self.wait_ms = arguments.number("wait_ms", wait_ms)
        self.form = form
        self._model, self._metadata = model, dict(metadata or {})
        self._done: dict[str, Any] | None = None
        self._fields: dict[str, Any] = {}
        self._refused: StillhouseError | None = None
        self._block: Prompt | None = None
        self._messages: Messages | None = None
        self._asked: Prompt | Messages | None = None
        self._begun = time.monotonic()

    def done(
        self,
        answer: str | None,
        *,
        quality: float | None = None,
        success: bool = True,
        prompt: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Says the answer; it is handed in when the block ends without an exception.

        None: there is none, and nothing is handed in. quality: 0 to 1. prompt: what it is an answer to,
        where that is not the query. metadata is added to the task's. Said again, the last one counts.
        """
        arguments.text_or_none("answer", answer)
        arguments.quality(quality)
        arguments.truth("success", success)
        arguments.text_or_none("prompt", prompt)
        arguments.metadata("metadata", metadata)
        if answer is None:
            self._done = None
            return
        self._done = {
            "task_id": self.task_id,
            "prompt": self.query if prompt is None else prompt,
            "result": answer,
            "success": success,
            "quality": quality,
            "model": self._model,
            "metadata": {**self._metadata, **(metadata or {})},
        }

    def outcome(self, **fields: Unpack[RecordFields]) -> None:
        """Says more of how it went, where the client records: tokens, cost, whatever an outcome has.

            t.outcome(model_tier="small", tokens_in=812, tokens_out=95, actual_cost=0.004)

        The fields go with the outcome after the block, and count before what the block knows by itself;
        one that raised did not succeed. Without `record` of the client nothing is sent.
        """
        said = arguments.said(fields)
        arguments.metadata("field", said)
        self._fields.update(said)

    def _to_hand_in(self, client: Stillhouse, raised: type[BaseException] | None) -> dict[str, Any] | None:
        if raised is not None:
            client._clients.count_task("tasks_raised")
        elif self._refused is not None:
            self._lost(client, self._refused)
        elif self._done is None:
            client._clients.count_task("tasks_unanswered")
        if raised is not None or self._done is None:
            return None
        metadata = {**self._told(), **self._done["metadata"]}
        if len(metadata) > _METADATA_MAX:  # the caller's own come first
            metadata = self._done["metadata"]
        return {**self._done, "metadata": metadata}

    def _told(self) -> dict[str, str]:
        """Which prompt it had, for who compares outcomes with and without examples."""
        if self._asked is None or self._asked.id == "":
            return {}
        return {"arm": self._asked.kind, "prompt_id": self._asked.id}

    def _to_record(self, client: Stillhouse, raised: type[BaseException] | None) -> dict[str, Any] | None:
        """What the learning store is told, where the client records; None where nothing is known.

        A block that was cancelled or interrupted neither worked nor failed.
        """
        failed = raised is not None and issubclass(raised, Exception)
        is_known = failed or (raised is None and (self._done is not None or self._fields))
        if not client.recording or not is_known:
            return None
        out: dict[str, Any] = {"duration_seconds": time.monotonic() - self._begun, "model": self._model, **self._told()}
        if raised is not None:
            out["error_type"] = raised.__name__
        elif self._done is not None:
            quality = self._done["quality"]
            out["success"] = self._done["success"]
            out["quality_score"] = None if quality is None else quality * 100
        out.update(self._fields)
        if failed:
            out["success"] = False
        return {"kind": "outcome", "task_id": self.task_id, **out}

    def _unrecorded(self, error: StillhouseError) -> None:
        log.warning("no outcome of task %s of domain %s is left: %s", self.task_id, self.domain, error)

    def _handed_in(self, client: Stillhouse, job: JobId) -> None:
        self.job = job
        client._clients.count_task("tasks_learned")

    def _lost(self, client: Stillhouse, error: StillhouseError) -> None:
        self.error = error
        client._clients.count_task("tasks_lost")
        level = logging.ERROR if isinstance(error, InvalidError) else logging.WARNING
        log.log(level, "nothing is learnt from task %s of domain %s: %s", self.task_id, self.domain, error)


def _front(block: Prompt, base: str) -> Prompt:
    return prompt_of(block + base, block.kind, block.examples, block.id, block.status, block.reason)


class Task(_Outcome["Stillhouse"]):
    """What Stillhouse.task() gives to its block. The examples are fetched when they are asked for."""

    @property
    def examples(self) -> Prompt | Messages:
        """In the form that was chosen: messages, or a block that goes before the prompt ("" = none)."""
        return self.messages() if self.form == "messages" else self.prompt("")

    def messages(self) -> Messages:
        if self._messages is None:
            self._messages = self._asked = self._client.messages(
                self.domain, self.query, self.k, wait_ms=self.wait_ms, task_id=self.task_id
            )
        return self._messages

    def prompt(self, base: str) -> Prompt:
        """The block of examples and `base`, or `base` as it is; three examples, as ever."""
        arguments.text("base", base)
        if self._block is None:
            self._block = self._asked = self._client.prompt(
                self.domain, self.query, "", wait_ms=self.wait_ms, task_id=self.task_id
            )
        return _front(self._block, base)

    def __enter__(self) -> Task:
        self._begun = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = self._to_hand_in(self._client, kind)
        outcome = self._to_record(self._client, kind)
        if done is not None:
            try:
                self._handed_in(self._client, self._client.distill(self.domain, **done))
            except StillhouseError as lost:
                self._lost(self._client, lost)
        if outcome is not None:
            try:
                self._client.record(self.domain, **outcome)
            except StillhouseError as lost:
                self._unrecorded(lost)


class AsyncTask(_Outcome["AsyncStillhouse"]):
    """What AsyncStillhouse.task() gives to its block: a Task whose examples are awaited."""

    @property
    async def examples(self) -> Prompt | Messages:
        """`await t.examples`: in the form that was chosen, as Task.examples."""
        return await (self.messages() if self.form == "messages" else self.prompt(""))

    async def messages(self) -> Messages:
        if self._messages is None:
            self._messages = self._asked = await self._client.messages(
                self.domain, self.query, self.k, wait_ms=self.wait_ms, task_id=self.task_id
            )
        return self._messages

    async def prompt(self, base: str) -> Prompt:
        arguments.text("base", base)
        if self._block is None:
            self._block = self._asked = await self._client.prompt(
                self.domain, self.query, "", wait_ms=self.wait_ms, task_id=self.task_id
            )
        return _front(self._block, base)

    async def __aenter__(self) -> AsyncTask:
        self._begun = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        counter = self._client.sync
        done = self._to_hand_in(counter, kind)
        outcome = self._to_record(counter, kind)
        if done is not None:
            try:
                self._handed_in(counter, await self._client.distill(self.domain, **done))
            except StillhouseError as lost:
                self._lost(counter, lost)
        if outcome is not None:
            try:
                await self._client.record(self.domain, **outcome)
            except StillhouseError as lost:
                self._unrecorded(lost)


@dataclass(frozen=True)
class _Learner:
    """What learn() was told, and how it goes around a function."""

    domain: str
    query: Callable[..., str] | None
    task_id: Callable[..., str] | None
    result: Callable[[Any], str | None] | None
    quality: Callable[[Any], float | None] | float | None
    told: dict[str, Any]  # of task(), the same in each call

    def around(self, client: Stillhouse, function: Callable[..., Any]) -> Callable[..., Any]:
        _check_takes_examples(function)

        @functools.wraps(function)
        def learning(*args: Any, **keywords: Any) -> Any:
            with client.task(self.domain, **self._task(args, keywords)) as task:
                answer = function(*args, **keywords, examples=task.examples)
                finish(task, answer, self.result, self.quality)
                return answer

        return learning

    def around_async(self, client: AsyncStillhouse, function: Callable[..., Any]) -> Callable[..., Any]:
        _check_takes_examples(function)

        @functools.wraps(function)
        async def learning(*args: Any, **keywords: Any) -> Any:
            async with client.task(self.domain, **self._task(args, keywords)) as task:
                answer = await function(*args, **keywords, examples=await task.examples)
                finish(task, answer, self.result, self.quality)
                return answer

        return learning

    def _task(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """What task() is told, for a call with these arguments."""
        if self.query is not None:
            query = self.query(*args, **keywords)
        elif args:
            query = args[0]
        else:
            raise InvalidError("query: expected a function that makes it, or a first argument")
        task_id = str(uuid.uuid4()) if self.task_id is None else self.task_id(*args, **keywords)
        return {"task_id": task_id, "query": query, **self.told}


class Learns:
    """What both clients have around their tasks."""

    def _both(self) -> tuple[Stillhouse, Callable[[], AsyncStillhouse]]:
        """The client for threads, and what gives the one for event loops."""
        raise NotImplementedError

    def learn(
        self,
        domain: str,
        *,
        query: Callable[..., str] | None = None,
        task_id: Callable[..., str] | None = None,
        result: Callable[[Any], str | None] | None = None,
        quality: Callable[[Any], float | None] | float | None = None,
        k: int = 3,
        wait_ms: int = 0,
        examples: Form | None = None,
        model: str | None = None,
        metadata: Metadata | None = None,
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """task() around a function, which gets `examples` by keyword; sync or async.

            @sh.learn("legal", query=lambda q: q)
            def answer(q, *, examples): ...

        query and task_id are called with the function's arguments (without them: its first argument,
        and a new id a call); result and quality with what it returns (a str, or None: nothing is learnt).
        """
        sync, beside = self._both()
        told: dict[str, Any] = {"k": k, "wait_ms": wait_ms, "examples": examples, "model": model, "metadata": metadata}
        sync.task(domain, "", query="", **told)  # refuses now what is wrong
        learner = _Learner(domain, query, task_id, result, quality, told)

        def decorate(function: Callable[..., T]) -> Callable[..., T]:
            if inspect.iscoroutinefunction(function):
                return learner.around_async(beside(), function)
            return learner.around(sync, function)

        return decorate


def finish(
    task: Task | AsyncTask,
    answer: Any,
    result: Callable[[Any], str | None] | None,
    quality: Callable[[Any], float | None] | float | None,
    prompt: Callable[[], str] | None = None,
) -> None:
    """Says the answer. The work is done: nothing that is wrong with the lesson may fail it.

    prompt: makes what was asked, where that is not the task's query.
    """
    try:
        text = answer if result is None else result(answer)
        if text is not None:
            how_good = quality(answer) if callable(quality) else quality
            task.done(text, quality=how_good, prompt=None if prompt is None else prompt())
    except StillhouseError as error:
        task._refused = error
    except Exception as error:
        task._refused = InvalidError(f"query, result or quality of an answer: {error!r}")


def _check_takes_examples(function: Callable[..., Any]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidError(f"function {name}: expected one that returns its answer, got a generator")
    kinds = inspect.signature(function).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in kinds.values())
    if not takes_any and "examples" not in kinds:
        raise InvalidError(f'function {name}: expected one that takes "examples" by keyword')
