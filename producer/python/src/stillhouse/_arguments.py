"""Arguments on their way to C: each checked, and refused with field, value and what was expected.

Rules of the contract (the form of a domain, the bound of a body) stand in the C library alone; here is
only what C cannot see any more: types, NUL, half characters, numbers that do not fit.
"""

from __future__ import annotations

import ctypes
import math
import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Union

from . import _library as c
from .errors import InvalidError

Priority = Literal["normal", "high", "low"]
MetaValue = Union[str, int, float, bool]
Metadata = Mapping[str, MetaValue]


class _Named(TypedDict):
    id: str
    text: str


class Document(_Named, total=False):
    """One document of index(): its id, its text, and what else is to be known of it."""

    metadata: Metadata


PRIORITIES: tuple[Priority, ...] = ("normal", "high", "low")
_INT_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write an int of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() < 2000 else f"of {x.bit_length()} bits"


_show = _Repr()
_show.maxstring = _show.maxother = 60


def refuse(field: str, value: object, expected: str) -> InvalidError:
    return InvalidError(f"{field} {_show.repr(value)}: expected {expected}")


def text(field: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise refuse(field, value, f"str, got {type(value).__name__}")
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise refuse(field, value, f"text, got half a character (a lone surrogate) at {error.start}") from None
    if b"\0" in raw:
        raise refuse(field, value, f"text without NUL, got one at {value.index(chr(0))}")
    return raw


def text_or_none(field: str, value: object) -> bytes | None:
    return None if value is None else text(field, value)


def number(field: str, value: object, least: int = 0, most: int = _INT_MAX) -> int:
    if type(value) is not int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refuse(field, value, f"int, got {type(value).__name__}")
        value = int(value)
    if not least <= value <= most:
        raise refuse(field, value, f"{least} to {most}")
    return value


def truth(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse(field, value, f"bool, got {type(value).__name__}")
    return value


def quality(value: object) -> float:
    """What C takes for it: negative where none is given."""
    if value is None:
        return -1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse("quality", value, f"a number from 0 to 1 or None, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise refuse("quality", value, "a number from 0 to 1 or None")
    return float(value)


def metadata(field: str, given: Metadata | None) -> tuple[Any, int]:
    """An array of c.Meta, which keeps alive what it points to, and its length."""
    if given is None:
        return None, 0
    if not isinstance(given, Mapping):
        raise refuse(field, given, f"a dict or None, got {type(given).__name__}")
    pairs = list(given.items())
    out = (c.Meta * len(pairs))()
    for slot, (key, value) in zip(out, pairs):
        slot.key = text(f"{field} key", key)
        _put_value(slot, f"{field} {_show.repr(key)}", value)
    return out, len(pairs)


def said(fields: Mapping[str, object]) -> dict[str, Any]:
    """A field that is None is not said."""
    return {name: value for name, value in fields.items() if value is not None}


def part(
    domain: object,
    kind: object,
    task_id: object,
    at_ms: object,
    given: Metadata | None,
    fields: Mapping[str, object],
) -> c.Part:
    values, count = metadata("field", said(fields))
    pairs, pair_count = metadata("metadata", given)
    return c.Part(
        domain=text("domain", domain),
        kind=text("kind", kind),
        task_id=text_or_none("task_id", task_id),
        at_ms=0 if at_ms is None else number("at_ms", at_ms, 1, _INT64_MAX),
        fields=values,
        field_count=count,
        metadata=pairs,
        metadata_count=pair_count,
    )


def _put_value(slot: c.Meta, field: str, value: object) -> None:
    if isinstance(value, bool):
        slot.type, slot.boolean = c.META_BOOL, value
    elif isinstance(value, int):
        slot.type, slot.integer = c.META_INT, number(field, value, -_INT64_MAX - 1, _INT64_MAX)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise refuse(field, value, "a finite number")
        slot.type, slot.number = c.META_FLOAT, value
    elif isinstance(value, str):
        slot.type, slot.string = c.META_STRING, text(field, value)
    else:
        raise refuse(field, value, f"str, int, float or bool, got {type(value).__name__}")


def documents(given: Iterable[Document]) -> tuple[Any, int]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise refuse("documents", given, f"a list of dicts, got {type(given).__name__}")
    each = list(given)
    out = (c.Document * len(each))()
    for i, (slot, one) in enumerate(zip(out, each)):
        field = f"documents[{i}]"
        if not isinstance(one, Mapping):
            raise refuse(field, one, f'a dict with "id" and "text", got {type(one).__name__}')
        unknown = set(one) - {"id", "text", "metadata"}
        if unknown:
            raise refuse(field, min(map(str, unknown)), 'only "id", "text" and "metadata"')
        slot.id = text(f"{field} id", one.get("id"))
        slot.text = text(f"{field} text", one.get("text"))
        slot.metadata, slot.metadata_count = metadata(f"{field} metadata", one.get("metadata"))
    return out, len(each)


def job_options(priority: object, delay_ms: object, deadline_ms: object, reply: object) -> c.JobOptions:
    if priority not in PRIORITIES:
        raise refuse("priority", priority, "one of " + ", ".join(PRIORITIES))
    return c.JobOptions(
        priority=PRIORITIES.index(priority),
        delay_ms=number("delay_ms", delay_ms, most=_INT64_MAX),
        deadline_ms=number("deadline_ms", deadline_ms, most=_INT64_MAX),
        reply=truth("reply", reply),
        traceparent=_traceparent(),
    )


def _traceparent() -> bytes | None:
    """The current span of OpenTelemetry. A program that has one has imported the package."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return b"00-%032x-%016x-%02x" % (span.trace_id, span.span_id, int(span.trace_flags))


_TEXTS: Sequence[str] = ("redis_url", "cache_url", "prefix", "outbox", "holdout")
_NUMBERS: Mapping[str, int] = {
    "connect_timeout_ms": _INT_MAX,
    "command_timeout_ms": _INT_MAX,
    "retry_ms": _INT_MAX,
    "memory_ttl_ms": _INT_MAX,
    "memory_entries": _INT_MAX,
    "max_backlog": _INT64_MAX,
    "max_body_bytes": _INT64_MAX,
    "outbox_max_bytes": _INT64_MAX,
}


def client_options(settings: Mapping[str, object]) -> c.Options:
    """None = what the environment says, or the default. A URL may hold a password and is not shown."""
    out = c.Options(size=ctypes.sizeof(c.Options))
    for field, value in settings.items():
        if value is None:
            continue
        if field in _TEXTS:
            try:
                setattr(out, field, text(field, value))
            except InvalidError:
                kind = type(value).__name__
                raise InvalidError(f"{field}: expected str without NUL and half characters, got {kind}") from None
        else:
            setattr(out, field, number(field, value, 1, _NUMBERS[field]))
    return out
