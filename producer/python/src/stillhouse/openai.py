"""Examples for the messages of OpenAI's clients, and what is learnt from a response.

    from stillhouse.openai import answer, with_examples

    @sh.learn("legal", result=answer)
    def ask(question, *, examples):
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        return client.chat.completions.create(model="gpt-5", messages=with_examples(chat, examples))

The same with client.responses.create(input=...), with AsyncOpenAI in `async def`, and with whatever
speaks OpenAI's HTTP interface: the package openai itself is not imported.
"""

from __future__ import annotations

from typing import Any

from ._frameworks import with_examples

__all__ = ["answer", "with_examples"]


def answer(response: Any) -> str | None:
    """The text of a ChatCompletion or a Response, or None where there is none to learn from.

    None: it was refused, cut off or filtered, or asks for a tool. Goes as it is to `result` of learn()
    and to done().
    """
    choices = getattr(response, "choices", None)
    if choices is not None:
        return (choices[0].message.content or None) if choices and choices[0].finish_reason == "stop" else None
    is_said = response.status == "completed" and response.output and response.output[-1].type == "message"
    return (response.output_text or None) if is_said else None
