"""The two ways to ask for examples, a block before a prompt and chat messages, for who asks either."""

from __future__ import annotations

import ctypes
from typing import Any, Generic, TypeVar

from . import _arguments as arguments
from . import _library as c
from ._clients import Client
from .errors import Status
from .results import KINDS, STATUSES, Messages, Prompt, messages_of, prompt_of

T = TypeVar("T")
lib = c.lib


_NOT_IN_MEMORY = (Status.NOT_FOUND, Status.INVALID)


class Question(Generic[T]):
    """Checked when it is made. What ask() and recall() fill belongs to the client, until free()."""

    __slots__ = ("given", "task", "wait_ms")

    # The form's functions of the C library: bounded, from memory alone, and both for a task that is known.
    _ask: Any
    _recall: Any
    _ask_for: Any
    free: Any

    def __init__(self, given: tuple[Any, ...], field: str, wait_ms: int, task_id: str | None) -> None:
        """given: domain, query, and what `field` of c.Question says."""
        self.given = given
        self.wait_ms = arguments.number("wait_ms", wait_ms)
        self.task: c.Question | None = None
        if task_id is not None:  # to make it costs as much as a prompt from memory
            domain, query, third = given
            self.task = c.Question(
                size=ctypes.sizeof(c.Question),
                domain=domain,
                query=query,
                wait_ms=self.wait_ms,
                task_id=arguments.text("task_id", task_id),
                **{field: third},
            )

    def ask(self, client: Client) -> Any:
        """Bounded by the C library, and by wait_ms on top."""
        out = self._room(client)
        if self.task is None:
            self._ask(client.pointer, *self.given, self.wait_ms, out)
        else:
            self.task.memory_only = False
            self._ask_for(client.pointer, self.task, out)
        return out

    def recall(self, client: Client) -> Any | None:
        """From memory alone; None where it is not there."""
        out = self._room(client)
        if self.task is None:
            return out if self._recall(client.pointer, *self.given, out) else None
        self.task.memory_only = True
        self._ask_for(client.pointer, self.task, out)
        return None if out.status in _NOT_IN_MEMORY else out

    def take(self, out: Any, id: str, reason: str) -> T:
        raise NotImplementedError

    def none(self, status: Status, reason: str) -> T:
        """What comes out where the C library could not be asked."""
        raise NotImplementedError

    def _room(self, client: Client) -> Any:
        """Where the client has what its calls fill."""
        raise NotImplementedError


class ForPrompt(Question[Prompt]):
    __slots__ = ()

    _ask, _recall = lib.stillhouse_prompt, lib.stillhouse_prompt_from_memory
    _ask_for, free = lib.stillhouse_prompt_for, lib.stillhouse_prompt_free

    def __init__(self, domain: str, query: str, base: str, wait_ms: int, task_id: str | None) -> None:
        text = arguments.text
        given = text("domain", domain), text("query", query), text("base", base)
        super().__init__(given, "base", wait_ms, task_id)

    def _room(self, client: Client) -> c.PromptResult:
        return client.prompt

    def take(self, out: c.PromptResult, id: str, reason: str) -> Prompt:
        return prompt_of(c.text_of(out.text), KINDS[out.kind], out.examples, id, STATUSES[out.status], reason)

    def none(self, status: Status, reason: str) -> Prompt:
        base: bytes = self.given[2]
        return prompt_of(base.decode(), "fallback", 0, "", status, reason)


class ForMessages(Question[Messages]):
    __slots__ = ()

    _ask, _recall = lib.stillhouse_messages, lib.stillhouse_messages_from_memory
    _ask_for, free = lib.stillhouse_messages_for, lib.stillhouse_messages_free

    def __init__(self, domain: str, query: str, k: int, wait_ms: int, task_id: str | None) -> None:
        text = arguments.text
        given = text("domain", domain), text("query", query), arguments.number("k", k, 1)
        super().__init__(given, "k", wait_ms, task_id)

    def _room(self, client: Client) -> c.MessagesResult:
        return client.messages

    def take(self, out: c.MessagesResult, id: str, reason: str) -> Messages:
        each = [{"role": c.text_of(one.role), "content": c.text_of(one.content)} for one in out.messages[: out.count]]
        away = tuple(lib.stillhouse_message_distance(out, i) for i in range(0, out.count, 2))
        return messages_of(each, KINDS[out.kind], out.examples, id, STATUSES[out.status], reason, away)

    def none(self, status: Status, reason: str) -> Messages:
        return messages_of((), "fallback", 0, "", status, reason)
