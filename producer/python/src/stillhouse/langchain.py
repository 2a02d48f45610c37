"""Stillhouse in LangChain and LangGraph: examples before a model, and learning from what came out.

    from stillhouse.langchain import StillhouseCallbackHandler, with_examples

    chain = prompt | with_examples(sh, "legal") | model
    chain.invoke(question, config={"callbacks": [StillhouseCallbackHandler(sh, "legal")]})

Each takes a Stillhouse or an AsyncStillhouse and serves invoke() and ainvoke() alike: what is awaited
blocks no event loop. Nothing here raises for an outage but add_example().
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from . import _arguments as arguments
from ._arguments import Metadata
from ._frameworks import Client, askable, both, head_of, in_front, needs, pairs
from .client import form_of
from .errors import InvalidError
from .results import JobId, Messages, Prompt
from .tasks import Form, finish

try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.example_selectors import BaseExampleSelector
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
    from langchain_core.outputs import ChatGeneration, Generation, LLMResult
    from langchain_core.prompt_values import PromptValue
    from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate
    from langchain_core.runnables import Runnable, RunnableLambda, ensure_config
except ImportError as error:
    raise needs("langchain", error) from error

__all__ = ["StillhouseCallbackHandler", "StillhouseExampleSelector", "with_examples"]

_QUESTION = "stillhouse_question"  # what was asked, in a message that has examples in front of it
_CUT_OFF = {"length", "max_tokens", "content_filter", "refusal", "safety"}  # ends that providers name
_RUNS_MAX = 10_000  # that never end are forgotten, the oldest first


# ---- examples --------------------------------------------------------------------------------


class StillhouseExampleSelector(BaseExampleSelector):
    """Past tasks as examples of LangChain's: dicts of input and output, the nearest last.

    select_examples() asks with what input_variables[input_key] says. prompt() is the usual few-shot
    chat prompt of them; with_examples() does without templates and knows both forms.
    """

    def __init__(
        self,
        client: Client,
        domain: str,
        *,
        input_key: str = "input",
        output_key: str = "output",
        k: int = 3,
        wait_ms: int = 0,
    ) -> None:
        self._sync, self._async = both(client)
        self._domain, self._k, self._wait_ms = domain, k, wait_ms
        self._input, self._output = input_key, output_key

    def select_examples(self, input_variables: dict[str, str]) -> list[dict[str, Any]]:
        query = askable(self._of(input_variables, "input_variables", self._input))
        if query is None:
            return []
        return self._dicts(self._sync.messages(self._domain, query, self._k, wait_ms=self._wait_ms))

    async def aselect_examples(self, input_variables: dict[str, str]) -> list[dict[str, Any]]:
        query = askable(self._of(input_variables, "input_variables", self._input))
        if query is None:
            return []
        return self._dicts(await self._async.messages(self._domain, query, self._k, wait_ms=self._wait_ms))

    def add_example(self, example: dict[str, str]) -> JobId:
        """Hands it in as a finished task; as distill(), which raises where nothing takes it."""
        asked, said = self._both(example)
        return self._sync.distill(self._domain, task_id=str(uuid.uuid4()), prompt=asked, result=said)

    async def aadd_example(self, example: dict[str, str]) -> JobId:
        asked, said = self._both(example)
        return await self._async.distill(self._domain, task_id=str(uuid.uuid4()), prompt=asked, result=said)

    def prompt(self) -> FewShotChatMessagePromptTemplate:
        """A human and an AI message an example, to stand in a ChatPromptTemplate before the question."""
        one = ChatPromptTemplate.from_messages([("human", f"{{{self._input}}}"), ("ai", f"{{{self._output}}}")])
        return FewShotChatMessagePromptTemplate(
            input_variables=[self._input], example_selector=self, example_prompt=one
        )

    def _dicts(self, examples: Messages) -> list[dict[str, Any]]:
        return [{self._input: asked, self._output: said} for asked, said in pairs(examples)]

    def _both(self, example: dict[str, str]) -> tuple[str, str]:
        return self._of(example, "example", self._input), self._of(example, "example", self._output)

    @staticmethod
    def _of(variables: dict[str, str], field: str, key: str) -> str:
        if key not in variables:
            raise arguments.refuse(field, list(variables), f'the key "{key}" among them')
        return variables[key]


def with_examples(
    client: Client,
    domain: str,
    *,
    query: Callable[[list[BaseMessage]], str | None] | None = None,
    k: int = 3,
    wait_ms: int = 0,
    examples: Form | None = None,
) -> Runnable[LanguageModelInput, list[BaseMessage]]:
    """A step between a prompt and a model: messages in, the same with examples out.

    As messages they stand after those of the system at the head; as a block in front of the question,
    the last human message. Without `query` its text is asked with; None asks nothing.
    """
    sync, beside = both(client)
    form = form_of(sync.form if examples is None else examples)
    ask_with = query or _last_question

    def question_of_chat(messages: list[BaseMessage]) -> str | None:
        asked = ask_with(messages)
        return None if asked is None else askable(asked)

    def step(given: LanguageModelInput) -> list[BaseMessage]:
        messages = _messages_of(given)
        question = question_of_chat(messages)
        if question is None:
            return messages
        if form == "messages":
            return _put(messages, sync.messages(domain, question, k, wait_ms=wait_ms))
        return _put(messages, sync.prompt(domain, question, "", wait_ms=wait_ms))

    async def step_awaited(given: LanguageModelInput) -> list[BaseMessage]:
        messages = _messages_of(given)
        question = question_of_chat(messages)
        if question is None:
            return messages
        if form == "messages":
            return _put(messages, await beside.messages(domain, question, k, wait_ms=wait_ms))
        return _put(messages, await beside.prompt(domain, question, "", wait_ms=wait_ms))

    return RunnableLambda(step, step_awaited, name="stillhouse_examples")


def _put(messages: list[BaseMessage], examples: Prompt | Messages) -> list[BaseMessage]:
    if isinstance(examples, Messages):
        head = head_of([message.type for message in messages])
        return [*messages[:head], *convert_to_messages(examples), *messages[head:]]
    at = _last_human(messages)
    if not examples or at is None:
        return messages
    asked = messages[at]
    content = in_front(examples, asked.content)
    note = {**asked.additional_kwargs, _QUESTION: _text_of(asked)}
    return [
        *messages[:at],
        asked.model_copy(update={"content": content, "additional_kwargs": note}),
        *messages[at + 1 :],
    ]


def _messages_of(given: Any) -> list[BaseMessage]:
    """Of all that a model takes: a str, a prompt's value, or messages in any form."""
    messages: list[BaseMessage] = convert_to_messages([given] if isinstance(given, (str, BaseMessage)) else given)
    return messages


def _last_human(messages: Sequence[BaseMessage]) -> int | None:
    return next((i for i in reversed(range(len(messages))) if isinstance(messages[i], HumanMessage)), None)


def _last_question(messages: list[BaseMessage]) -> str | None:
    at = _last_human(messages)
    return None if at is None else _text_of(messages[at]) or None


def _text_of(message: BaseMessage) -> str:
    """What a human or a model said, without the examples that were put in front of it."""
    return str(message.additional_kwargs.get(_QUESTION) or message.text)


# ---- learning --------------------------------------------------------------------------------


class StillhouseCallbackHandler(BaseCallbackHandler):
    """Hands in what a chain, a graph or a model made of what it was asked, when it has ended well.

    Of runs within runs the outermost counts, the one that was invoked with this handler: its input is
    the question, its output the answer, its id the task's. One that raises sends nothing and is counted
    in stats(), as tasks are; so is an answer that is cut off or asks for a tool. with_fallbacks() is one
    run, whichever attempt answers; a handler that is bound to one attempt sees that alone. What
    goes wrong with handing in is logged and counted, and fails nothing. The event loop goes on meanwhile.
    Pickled it carries the client's settings; the runs that are under way stay the original's.

    query: makes the question of the input, result: the answer of the output, or None. Without them:
    a str; the last human and the last AI message of messages, also as "messages" of a state; the only
    text of a dict. quality: 0 to 1, or a function of the output.
    """

    def __init__(
        self,
        client: Client,
        domain: str,
        *,
        query: Callable[[Any], str] | None = None,
        result: Callable[[Any], str | None] | None = None,
        quality: Callable[[Any], float | None] | float | None = None,
        model: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__()
        self._client, _ = both(client)
        self._query, self._result, self._quality = query, result or answer_of, quality
        self._task_of = functools.partial(self._client.task, domain, query="", model=model, metadata=metadata)
        self._task_of("")  # refuses now what is wrong
        self._runs: dict[uuid.UUID, tuple[bool, Any]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """With the runs by their ids alone, so that what runs within them is no task in a copy either."""
        with self._lock:
            runs = dict.fromkeys(self._runs, (False, None))
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_runs": runs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: uuid.UUID, **more: Any) -> None:
        self._begin(run_id, more, inputs)

    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: uuid.UUID, **more: Any
    ) -> None:
        self._begin(run_id, more, messages[0])

    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: uuid.UUID, **more: Any) -> None:
        self._begin(run_id, more, prompts[0])

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: uuid.UUID, **more: Any) -> None:
        self._begin_no_task(run_id)

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: uuid.UUID, **more: Any) -> None:
        self._begin_no_task(run_id)

    def on_chain_end(self, outputs: Any, *, run_id: uuid.UUID, **more: Any) -> None:
        self._end(run_id, outputs, more.get("inputs"))

    def on_llm_end(self, response: LLMResult, *, run_id: uuid.UUID, **more: Any) -> None:
        self._end(run_id, response.generations[0][0])

    def on_tool_end(self, output: Any, *, run_id: uuid.UUID, **more: Any) -> None:
        self._forget(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: uuid.UUID, **more: Any) -> None:
        self._forget(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: uuid.UUID, **more: Any) -> None:
        self._raised(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: uuid.UUID, **more: Any) -> None:
        self._raised(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: uuid.UUID, **more: Any) -> None:
        self._forget(run_id)

    def on_retriever_error(self, error: BaseException, *, run_id: uuid.UUID, **more: Any) -> None:
        self._forget(run_id)

    def _begin(self, run_id: uuid.UUID, more: dict[str, Any], asked: Any) -> None:
        is_task = (more.get("parent_run_id") or _run_around()) not in self._runs
        self._keep(run_id, is_task, asked if is_task else None)

    def _begin_no_task(self, run_id: uuid.UUID) -> None:
        self._keep(run_id, False, None)

    def _keep(self, run_id: uuid.UUID, is_task: bool, asked: Any) -> None:
        with self._lock:
            self._runs[run_id] = is_task, asked
            if len(self._runs) > _RUNS_MAX:
                del self._runs[next(iter(self._runs))]

    def _forget(self, run_id: uuid.UUID) -> tuple[bool, Any]:
        with self._lock:
            return self._runs.pop(run_id, (False, None))

    def _raised(self, run_id: uuid.UUID) -> None:
        is_task, _ = self._forget(run_id)
        if is_task:
            self._client._clients.count_task("tasks_raised")

    def _end(self, run_id: uuid.UUID, said: Any, streamed: Any = None) -> None:
        """streamed: what went in, where that was not known when the run began."""
        is_task, asked = self._forget(run_id)
        asked = asked if streamed is None else streamed
        if is_task:
            with self._task_of(str(run_id)) as task:
                finish(task, said, self._result, self._quality, lambda: self._question(asked, said))

    def _question(self, asked: Any, said: Any) -> str:
        if self._query is not None:
            return self._query(asked)
        try:
            return question_of(asked)
        except InvalidError:  # a graph that goes on is given no question, but its state has one
            if isinstance(said, Mapping) and "messages" in said:
                return question_of(said)
            raise


def _run_around() -> uuid.UUID | None:
    """The run in which this code runs, by LangChain's context.

    An attempt of with_fallbacks() is given the callbacks of the whole, and so no parent of its own.
    """
    return getattr(ensure_config().get("callbacks"), "parent_run_id", None)


def question_of(asked: Any) -> str:
    """What the last human message says of a chain's, a graph's or a model's input."""
    if isinstance(asked, Mapping):
        asked = asked["messages"] if "messages" in asked else _only_text(asked, "input", "query")
    is_said = isinstance(asked, (str, BaseMessage, PromptValue, Sequence))
    question = _last_question(_messages_of(asked)) if is_said else None
    if question is None:
        raise InvalidError("input of a run: expected a human message with text, or `query` to make the question")
    return question


def answer_of(said: Any) -> str | None:
    """What the model said at last, or None where that is no answer yet."""
    if isinstance(said, Mapping):
        if said.get("__interrupt__"):  # LangGraph's: a human is asked first
            return None
        said = said["messages"] if "messages" in said else _only_text(said, "output", "result")
    if isinstance(said, ChatGeneration):
        said = said.message
    elif isinstance(said, Generation):
        said = said.text
    elif isinstance(said, Sequence) and not isinstance(said, str):
        said = said[-1] if said else ""
    if isinstance(said, str):
        return said or None
    if not isinstance(said, BaseMessage):
        raise arguments.refuse("output of a run", said, "str, messages, or `result` to make the answer")
    if not isinstance(said, AIMessage) or said.tool_calls or _ends(said) & _CUT_OFF:
        return None
    return str(said.text) or None


def _ends(message: BaseMessage) -> set[str]:
    told = message.response_metadata
    return {str(told.get(name)).lower() for name in ("finish_reason", "stop_reason", "done_reason")}


def _only_text(state: Mapping[str, Any], what: str, maker: str) -> Any:
    texts = [value for value in state.values() if isinstance(value, (str, BaseMessage))]
    if len(texts) != 1:
        expected = f"one text or messages, or `{maker}` to choose"
        raise arguments.refuse(f"{what} of a run", list(state), expected)
    return texts[0]
