"""libstillhouse through ctypes: its structs and functions as producer/include/stillhouse.h has them.

Loaded is the library inside this package, else the file that STILLHOUSE_LIBRARY names, else the
system's. ctypes lets go of the interpreter's lock during each call.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)

ID_BYTES = 65
META_STRING, META_INT, META_FLOAT, META_BOOL = range(4)


class Options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("redis_url", c_char_p),
        ("cache_url", c_char_p),
        ("prefix", c_char_p),
        ("connect_timeout_ms", c_int),
        ("command_timeout_ms", c_int),
        ("retry_ms", c_int),
        ("memory_ttl_ms", c_int),
        ("memory_entries", c_size_t),
        ("max_backlog", c_int64),
        ("max_body_bytes", c_int64),
        ("outbox", c_char_p),
        ("outbox_max_bytes", c_int64),
        ("holdout", c_char_p),
    ]


class JobOptions(Structure):
    _fields_ = [
        ("priority", c_int),
        ("delay_ms", c_int64),
        ("deadline_ms", c_int64),
        ("reply", c_bool),
        ("traceparent", c_char_p),
    ]


class Meta(Structure):
    _fields_ = [
        ("key", c_char_p),
        ("type", c_int),
        ("string", c_char_p),
        ("integer", c_int64),
        ("number", c_double),
        ("boolean", c_bool),
    ]


class Experience(Structure):
    _fields_ = [
        ("domain", c_char_p),
        ("task_id", c_char_p),
        ("prompt", c_char_p),
        ("result", c_char_p),
        ("success", c_bool),
        ("quality", c_double),
        ("model", c_char_p),
        ("metadata", POINTER(Meta)),
        ("metadata_count", c_size_t),
    ]


class Part(Structure):
    _fields_ = [
        ("domain", c_char_p),
        ("kind", c_char_p),
        ("task_id", c_char_p),
        ("at_ms", c_int64),
        ("fields", POINTER(Meta)),
        ("field_count", c_size_t),
        ("metadata", POINTER(Meta)),
        ("metadata_count", c_size_t),
    ]


class Document(Structure):
    _fields_ = [
        ("id", c_char_p),
        ("text", c_char_p),
        ("metadata", POINTER(Meta)),
        ("metadata_count", c_size_t),
    ]


class Example(Structure):
    _fields_ = [
        ("id", c_char_p),
        ("text", c_char_p),
        ("distance", c_double),
        ("metadata", POINTER(Meta)),
        ("metadata_count", c_size_t),
    ]


class Result(Structure):
    _fields_ = [
        ("domain", c_char_p),
        ("query_hash", c_char_p),
        ("created_unix_ms", c_int64),
        ("epoch", c_int64),
        ("stale", c_bool),
        ("examples", POINTER(Example)),
        ("count", c_size_t),
        ("few_shot", c_char_p),
        ("error", c_char_p),
    ]


class PromptResult(Structure):
    _fields_ = [
        ("text", c_char_p),
        ("kind", c_int),
        ("examples", c_size_t),
        ("status", c_int),
        ("owned", c_void_p),
    ]


class Question(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("domain", c_char_p),
        ("query", c_char_p),
        ("base", c_char_p),
        ("k", c_int),
        ("wait_ms", c_int),
        ("task_id", c_char_p),
        ("memory_only", c_bool),
    ]


class Message(Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class MessagesResult(Structure):
    _fields_ = [
        ("messages", POINTER(Message)),
        ("count", c_size_t),
        ("kind", c_int),
        ("examples", c_size_t),
        ("status", c_int),
        ("owned", c_void_p),
    ]


_client = c_void_p
_text = c_char_p
_PROTOTYPES: dict[str, tuple[object, list[object]]] = {
    "version": (_text, []),
    "open": (c_int, [POINTER(Options), POINTER(_client)]),
    "open_beside": (c_int, [_client, POINTER(_client)]),
    "open_error": (_text, []),
    "close": (None, [_client]),
    "error": (_text, [_client]),
    "enqueue_enrich": (c_int, [_client, _text, _text, c_int, POINTER(JobOptions), _text]),
    "enqueue_distill": (c_int, [_client, POINTER(Experience), POINTER(JobOptions), _text]),
    "enqueue_index": (c_int, [_client, _text, POINTER(Document), c_size_t, POINTER(JobOptions), _text]),
    "record": (c_int, [_client, POINTER(Part), _text]),
    "flush": (c_int, [_client, c_int, POINTER(c_size_t)]),
    "outbox_counts": (None, [_client, POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint64)]),
    "lookup": (c_int, [_client, _text, _text, c_int, POINTER(POINTER(Result))]),
    "await": (c_int, [_client, _text, _text, c_int, POINTER(POINTER(Result))]),
    "result_free": (None, [POINTER(Result)]),
    "example_prompt": (_text, [POINTER(Result), c_size_t]),
    "example_result": (_text, [POINTER(Result), c_size_t]),
    "prompt": (c_int, [_client, _text, _text, _text, c_int, POINTER(PromptResult)]),
    "prompt_from_memory": (c_bool, [_client, _text, _text, _text, POINTER(PromptResult)]),
    "prompt_bound_ms": (c_int, [_client]),
    "prompt_for": (c_int, [_client, POINTER(Question), POINTER(PromptResult)]),
    "prompt_free": (None, [POINTER(PromptResult)]),
    "prompt_id": (_text, [_client]),
    "messages": (c_int, [_client, _text, _text, c_int, c_int, POINTER(MessagesResult)]),
    "messages_from_memory": (c_bool, [_client, _text, _text, c_int, POINTER(MessagesResult)]),
    "messages_for": (c_int, [_client, POINTER(Question), POINTER(MessagesResult)]),
    "message_distance": (c_double, [POINTER(MessagesResult), c_size_t]),
    "messages_free": (None, [POINTER(MessagesResult)]),
}


def _open() -> tuple[str, ctypes.CDLL]:
    inside = sorted(pathlib.Path(__file__).parent.glob("libstillhouse.so*"))
    name = str(inside[0]) if inside else os.environ.get("STILLHOUSE_LIBRARY") or "libstillhouse.so.0"
    try:
        return name, ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"stillhouse: {error}: install the wheel, which has the library inside, or name the file "
            "with STILLHOUSE_LIBRARY"
        ) from None


def _load() -> ctypes.CDLL:
    name, library = _open()
    for function, (result, arguments) in _PROTOTYPES.items():
        try:
            found = getattr(library, "stillhouse_" + function)
        except AttributeError:
            raise ImportError(f"stillhouse: {name} has no stillhouse_{function}: it is too old") from None
        found.restype = result
        found.argtypes = arguments
    return library


lib = _load()


def text_of(raw: bytes | None) -> str:
    """Text of the library's; what was cut amid a character stays readable."""
    return "" if raw is None else raw.decode("utf-8", "replace")
