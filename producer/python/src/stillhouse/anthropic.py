"""Examples for the messages of Anthropic's clients, and what is learnt from a response.

    from stillhouse.anthropic import answer, with_examples

    @sh.learn("legal", result=answer)
    def ask(question, *, examples):
        chat = with_examples([{"role": "user", "content": question}], examples)
        return client.messages.create(model=MODEL, max_tokens=500, system="Be brief.", messages=chat)

The same with AsyncAnthropic in `async def`; the package anthropic itself is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _arguments as arguments
from ._frameworks import M, role_of
from ._frameworks import with_examples as put
from .results import Messages, Prompt

__all__ = ["answer", "with_examples"]

_ENDS = ("end_turn", "stop_sequence")


def with_examples(messages: Sequence[M], examples: Prompt | Messages) -> list[M]:
    """A new list: the messages and the examples, which come from task().examples or a call.

    As messages, they stand before the chat, which then goes on with the user's turn; as a block, in
    front of the question, the last message of the user's that is no result of a tool. What the system
    says is an argument of its own there and stays as it is. Nothing that was given is changed.
    """
    given = list(messages)
    if given and role_of(given[0]) != "user":
        raise arguments.refuse("messages[0] role", role_of(given[0]), '"user" (`system` is an argument)')
    return put(given, examples)


def answer(response: Any) -> str | None:
    """The text of a Message, or None where there is none to learn from.

    None: it was refused or cut off, or asks for a tool. Goes as it is to `result` of learn() and to
    done().
    """
    if response.stop_reason not in _ENDS:
        return None
    return "".join(block.text for block in response.content if block.type == "text") or None
