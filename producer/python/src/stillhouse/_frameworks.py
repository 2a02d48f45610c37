"""What the modules for other packages have in common: where examples stand among messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union

from . import _arguments as arguments
from .aio import AsyncStillhouse
from .client import Stillhouse
from .errors import InvalidError
from .results import Messages, Prompt

Client = Union[Stillhouse, AsyncStillhouse]
M = TypeVar("M")
_QUESTION_MOST = 32_768  # characters: they fit a body where its bound is the usual one


def needs(extra: str, error: ImportError) -> ImportError:
    return ImportError(f"stillhouse.{extra}: {error}: pip install 'stillhouse[{extra}]'", name=error.name)


def both(client: Client) -> tuple[Stillhouse, AsyncStillhouse]:
    """The client for threads and the one for event loops, over the same connections and memory."""
    if not isinstance(client, (Stillhouse, AsyncStillhouse)):
        raise arguments.refuse("client", client, "Stillhouse or AsyncStillhouse")
    sync, beside = client._both()
    return sync, beside()


def askable(question: str) -> str | None:
    """What somebody typed or pasted, as it can be asked with; None where nothing is left of it.

    Who wrote the chain cannot help it, so that NUL and half characters are replaced, and what is very
    long is cut, where a call of the client's would refuse them.
    """
    if not isinstance(question, str):
        raise arguments.refuse("query", question, f"str, got {type(question).__name__}")
    text = question[:_QUESTION_MOST].replace("\0", " ").encode("utf-8", "replace").decode()
    return text if text.strip() else None


def pairs(examples: Messages) -> list[tuple[str, str]]:
    """Question and answer of each example, the nearest last."""
    return [(asked["content"], said["content"]) for asked, said in zip(examples[::2], examples[1::2])]


def with_examples(messages: Sequence[M], examples: Prompt | Messages) -> list[M]:
    """A new list: the messages and the examples, which come from task().examples or a call.

    As messages, they stand after those of the system at the head and before the chat; as a block, in
    front of the question, the last message of the user's. Nothing that was given is changed.
    """
    if not isinstance(examples, (str, list)):
        raise arguments.refuse("examples", examples, "those of a task (`await t.examples` in asyncio)")
    out = list(messages)
    roles = [role_of(one) for one in out]
    at = question_at(out, roles)
    if isinstance(examples, str):
        if examples:
            question: Any = out[at]
            question = {**question, "content": in_front(examples, question["content"])}
            out[at] = question
        return out
    head = head_of(roles)
    past: Any = examples
    return [*out[:head], *past, *out[head:]]


def role_of(message: object) -> object:
    """None for what is no message: clients take calls of tools, too, and objects that they returned."""
    if isinstance(message, Mapping):
        return message.get("role")
    return getattr(message, "role", None)


def head_of(roles: Sequence[object]) -> int:
    """How many messages of the system come first."""
    return next((i for i, role in enumerate(roles) if role not in ("system", "developer")), len(roles))


def question_at(messages: Sequence[object], roles: Sequence[object]) -> int:
    for i in reversed(range(len(messages))):
        message = messages[i]
        if roles[i] == "user" and isinstance(message, Mapping) and not _is_of_tools(message.get("content")):
            if not isinstance(message.get("content"), (str, Sequence)):
                raise arguments.refuse(f"messages[{i}] content", message.get("content"), "str or a list of parts")
            return i
    raise InvalidError(f'messages, {len(messages)} of them: expected one with the role "user", the question')


def _is_of_tools(content: object) -> bool:
    return not isinstance(content, str) and isinstance(content, Sequence) and "tool_result" in _kinds(content)


def _kinds(parts: Sequence[object]) -> list[object]:
    return [part.get("type") for part in parts if isinstance(part, Mapping)]


def in_front(block: str, content: str | Sequence[Any]) -> str | list[Any]:
    """The content of a message with the block before it; parts are named as those beside it are."""
    if isinstance(content, str):
        return block + content
    kinds = _kinds(content)
    is_responses = any(kind in ("input_text", "input_image", "input_file") for kind in kinds)
    return [{"type": "input_text" if is_responses else "text", "text": block}, *content]
