"""Stillhouse in DSPy: past tasks as demos, and learning from a prediction.

    from stillhouse.dspy import Learning

    ask = Learning(dspy.Predict("question -> answer"), sh, "legal")
    ask(question="notice period for tenants").answer

DSPy says itself how examples stand in a prompt, so STILLHOUSE_EXAMPLES is of no matter here.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Callable

from . import _arguments as arguments
from ._arguments import Metadata
from ._frameworks import Client, askable, both, needs, pairs
from .results import Messages
from .tasks import finish

try:
    import dspy
    import pydantic
    import pydantic_core
except ImportError as error:
    raise needs("dspy", error) from error

__all__ = ["Learning", "demos"]


def demos(examples: Messages, input: str = "question", output: str = "answer") -> list[dspy.Example]:
    """What messages() or a task's messages() gave, as demos of a predictor with these fields.

    predict(question=q, demos=demos(sh.messages("legal", q)))
    """
    return [dspy.Example({input: asked, output: said}).with_inputs(input) for asked, said in pairs(examples)]


class Learning(dspy.Module):
    """A module around dspy.Predict or ChainOfThought: demos before each call, the lesson after it.

    The demos that an optimizer gave the module stay, before those of past tasks. input: the field that
    is the question, where the signature has several; output: the one that is the answer, else the last.
    Fields of other types than str are asked with and learnt from as JSON, and in a demo they have their
    type again, where the text is whole. None is left out: nothing is asked, or nothing learnt.
    quality: 0 to 1, or a function of the prediction. A call that raises sends nothing and is counted in
    stats(); an outage fails none. acall() blocks no event loop.
    """

    def __init__(
        self,
        module: dspy.Module,
        client: Client,
        domain: str,
        *,
        input: str | None = None,
        output: str | None = None,
        quality: Callable[[Any], float | None] | float | None = None,
        k: int = 3,
        wait_ms: int = 0,
        model: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__()
        predictors = module.predictors()
        if len(predictors) != 1:
            raise arguments.refuse("module", module, f"one with one predictor, got {len(predictors)}")
        signature = predictors[0].signature
        self.module = module
        fields, labels = list(signature.input_fields), list(signature.output_fields)
        self._input = _one_of("input", input or (fields[0] if len(fields) == 1 else None), fields)
        self._output = _one_of("output", output or labels[-1], labels)
        self._types = {
            self._input: pydantic.TypeAdapter(signature.input_fields[self._input].annotation),
            self._output: pydantic.TypeAdapter(signature.output_fields[self._output].annotation),
        }
        self._sync, self._async = both(client)
        self._quality = quality
        self._told: dict[str, Any] = {"k": k, "wait_ms": wait_ms, "model": model, "metadata": metadata}
        self._domain = domain
        self._sync.task(domain, "", query="", **self._told)  # refuses now what is wrong

    def forward(self, **inputs: Any) -> Any:
        query = self._query(inputs)
        if query is None:
            return self.module(**inputs)
        with self._sync.task(self._domain, str(uuid.uuid4()), query=query, **self._told) as task:
            prediction = self.module(**inputs, demos=self._demos(task.messages()))
            finish(task, prediction, self._answer, self._quality)
            return prediction

    async def aforward(self, **inputs: Any) -> Any:
        query = self._query(inputs)
        if query is None:
            return await self.module.acall(**inputs)
        async with self._async.task(self._domain, str(uuid.uuid4()), query=query, **self._told) as task:
            prediction = await self.module.acall(**inputs, demos=self._demos(await task.messages()))
            finish(task, prediction, self._answer, self._quality)
            return prediction

    def _query(self, inputs: dict[str, Any]) -> str | None:
        if self._input not in inputs:
            raise arguments.refuse("inputs", list(inputs), f'"{self._input}" among them')
        question = _text(inputs[self._input])
        return None if question is None else askable(question)

    def _demos(self, examples: Messages) -> list[Any]:
        past = demos(examples, self._input, self._output)
        for demo in past:
            for field, kind in self._types.items():
                demo[field] = _typed(demo[field], kind)
        return [*self.module.predictors()[0].demos, *past]

    def _answer(self, prediction: Any) -> str | None:
        return _text(prediction[self._output])


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dspy.Image, dspy.Audio)):
        raise arguments.refuse("field", value, f"text or data, got {type(value).__name__}")
    try:
        data = pydantic_core.to_jsonable_python(value, fallback=str)
    except ValueError:  # bytes that are no text, or a list that is in itself
        return str(value)
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def _typed(text: str, kind: pydantic.TypeAdapter[Any]) -> Any:
    """What _text() made the text of; a text that was cut, or was made for another type, stays one."""
    for read in (kind.validate_python, kind.validate_json):
        try:
            return read(text)
        except ValueError:
            pass
    return text


def _one_of(name: str, field: str | None, fields: list[str]) -> str:
    if field not in fields:
        raise arguments.refuse(name, field, "one of " + ", ".join(fields))
    return field
