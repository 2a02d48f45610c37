"""What a call raises: one class for each status of the C library, with the library's own text.

An outage is none of them for prompt() and messages(), which fall back, nor is a job that the outbox
keeps. Texts name the field, its value and what was expected.
"""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """stillhouse_status of stillhouse.h, by the same numbers."""

    OK = 0
    FAILED = 1
    INVALID = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    FULL = 5
    KEPT = 6


class StillhouseError(Exception):
    """Any of these; `status` says which in the C library's terms."""

    status = Status.FAILED


class FailedError(StillhouseError):
    """The server refused it, or memory is short."""


class InvalidError(StillhouseError, ValueError):
    """An argument or a setting is wrong. Nothing was sent."""

    status = Status.INVALID


class UnreachableError(StillhouseError, ConnectionError):
    """No Redis there, or no answer in time: what was asked for may have happened."""

    status = Status.UNREACHABLE


class NotFoundError(StillhouseError, LookupError):
    """Nothing cached, or no reply in the time given."""

    status = Status.NOT_FOUND


class FullError(StillhouseError):
    """The queue's bound is reached; nothing was added."""

    status = Status.FULL


class ClosedError(StillhouseError, RuntimeError):
    """The client was closed, or the event loop that it is awaited in does not run."""

    status = Status.INVALID


_CLASSES: dict[int, type[StillhouseError]] = {
    kind.status: kind for kind in (FailedError, InvalidError, UnreachableError, NotFoundError, FullError)
}


def error_of(status: int, text: str) -> StillhouseError:
    """The exception of a status other than OK and KEPT."""
    return _CLASSES.get(status, FailedError)(text)
