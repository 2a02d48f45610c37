"""Stillhouse from Python: few-shot examples for a task, and learning from it, without waiting.

    from stillhouse import Stillhouse

    sh = Stillhouse()
    prompt = sh.prompt("legal", "notice period for tenants", base)

A thin layer over libstillhouse, which has the promises and the speed. AsyncStillhouse is the same for
asyncio.
"""

from ._arguments import Document, Metadata, Priority
from ._library import lib as _lib
from .aio import AsyncStillhouse
from .client import Stillhouse
from .errors import (
    ClosedError,
    FailedError,
    FullError,
    InvalidError,
    NotFoundError,
    Status,
    StillhouseError,
    UnreachableError,
)
from .records import RecordFields, RecordKind
from .results import Example, JobId, Kind, Messages, Prompt, Result, Stats
from .tasks import AsyncTask, Form, Task

__version__: str = _lib.stillhouse_version().decode()

__all__ = [
    "AsyncStillhouse",
    "AsyncTask",
    "ClosedError",
    "Document",
    "Example",
    "FailedError",
    "Form",
    "FullError",
    "InvalidError",
    "JobId",
    "Kind",
    "Messages",
    "Metadata",
    "NotFoundError",
    "Priority",
    "Prompt",
    "RecordFields",
    "RecordKind",
    "Result",
    "Stats",
    "Status",
    "Stillhouse",
    "StillhouseError",
    "Task",
    "UnreachableError",
]
