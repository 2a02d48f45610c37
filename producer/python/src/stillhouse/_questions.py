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


class Question(Generic[T]):
    """Checked when it is made. What ask() and recall() fill belongs to the client, until free()."""

    __slots__ = ("given", "task", "wait_ms")

    given: tuple[Any, ...]
    wait_ms: int
    task: c.Question | None
    """The same for the call that knows a task; to make it costs as much as a prompt from memory."""

    def ask(self, client: Client) -> Any:
        """Bounded by the C library, and by wait_ms on top."""
        raise NotImplementedError

    def recall(self, client: Client) -> Any | None:
        """From memory alone; None where it is not there."""
        raise NotImplementedError

    def take(self, out: Any, id: str, reason: str) -> T:
        raise NotImplementedError

    def free(self, out: Any) -> None:
        raise NotImplementedError

    def none(self, status: Status, reason: str) -> T:
        """What comes out where the C library could not be asked."""
        raise NotImplementedError


def _of_task(task_id: str | None, **given: Any) -> c.Question | None:
    if task_id is None:
        return None
    return c.Question(size=ctypes.sizeof(c.Question), task_id=arguments.text("task_id", task_id), **given)


_NOT_IN_MEMORY = (Status.NOT_FOUND, Status.INVALID)


class ForPrompt(Question[Prompt]):
    __slots__ = ()

    def __init__(self, domain: str, query: str, base: str, wait_ms: int, task_id: str | None) -> None:
        text = arguments.text
        self.given = name, question, before = text("domain", domain), text("query", query), text("base", base)
        self.wait_ms = arguments.number("wait_ms", wait_ms)
        self.task = _of_task(task_id, domain=name, query=question, base=before, wait_ms=self.wait_ms)

    def ask(self, client: Client) -> c.PromptResult:
        if self.task is None:
            lib.stillhouse_prompt(client.pointer, *self.given, self.wait_ms, client.prompt)
        else:
            self.task.memory_only = False
            lib.stillhouse_prompt_for(client.pointer, self.task, client.prompt)
        return client.prompt

    def recall(self, client: Client) -> c.PromptResult | None:
        if self.task is None:
            found = lib.stillhouse_prompt_from_memory(client.pointer, *self.given, client.prompt)
        else:
            self.task.memory_only = True
            lib.stillhouse_prompt_for(client.pointer, self.task, client.prompt)
            found = client.prompt.status not in _NOT_IN_MEMORY
        return client.prompt if found else None

    def take(self, out: c.PromptResult, id: str, reason: str) -> Prompt:
        return prompt_of(c.text_of(out.text), KINDS[out.kind], out.examples, id, STATUSES[out.status], reason)

    def free(self, out: c.PromptResult) -> None:
        lib.stillhouse_prompt_free(out)

    def none(self, status: Status, reason: str) -> Prompt:
        base: bytes = self.given[2]
        return prompt_of(base.decode(), "fallback", 0, "", status, reason)


class ForMessages(Question[Messages]):
    __slots__ = ()

    def __init__(self, domain: str, query: str, k: int, wait_ms: int, task_id: str | None) -> None:
        text = arguments.text
        self.given = name, question, many = text("domain", domain), text("query", query), arguments.number("k", k, 1)
        self.wait_ms = arguments.number("wait_ms", wait_ms)
        self.task = _of_task(task_id, domain=name, query=question, k=many, wait_ms=self.wait_ms)

    def ask(self, client: Client) -> c.MessagesResult:
        if self.task is None:
            lib.stillhouse_messages(client.pointer, *self.given, self.wait_ms, client.messages)
        else:
            self.task.memory_only = False
            lib.stillhouse_messages_for(client.pointer, self.task, client.messages)
        return client.messages

    def recall(self, client: Client) -> c.MessagesResult | None:
        if self.task is None:
            found = lib.stillhouse_messages_from_memory(client.pointer, *self.given, client.messages)
        else:
            self.task.memory_only = True
            lib.stillhouse_messages_for(client.pointer, self.task, client.messages)
            found = client.messages.status not in _NOT_IN_MEMORY
        return client.messages if found else None

    def take(self, out: c.MessagesResult, id: str, reason: str) -> Messages:
        each = [{"role": c.text_of(one.role), "content": c.text_of(one.content)} for one in out.messages[: out.count]]
        away = tuple(lib.stillhouse_message_distance(out, i) for i in range(0, out.count, 2))
        return messages_of(each, KINDS[out.kind], out.examples, id, STATUSES[out.status], reason, away)

    def free(self, out: c.MessagesResult) -> None:
        lib.stillhouse_messages_free(out)

    def none(self, status: Status, reason: str) -> Messages:
        return messages_of((), "fallback", 0, "", status, reason)
