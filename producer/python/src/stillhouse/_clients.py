"""The C clients of one Stillhouse: one for each call that is under way.

A C client belongs to one thread at a time and may move, so a call takes one that is idle and gives it
back: as many are made as calls were ever under way at once, all with one memory of results, and a
thread that ends leaves none behind. The first one is only there to open others beside it.

After fork() the child has copies of the idle ones, which the C library makes its own; what another
thread had in hand then is the parent's.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any

from . import _library as c
from .errors import ClosedError, StillhouseError, error_of
from .results import KINDS

_forked: weakref.WeakSet[Any] = weakref.WeakSet()


def after_fork(one: Any) -> None:
    """Its start_over() is called in each child of fork()."""
    _forked.add(one)


def _start_over() -> None:
    for one in list(_forked):
        one.start_over()


os.register_at_fork(after_in_child=_start_over)

TASKS = ("tasks_learned", "tasks_raised", "tasks_unanswered", "tasks_lost")


class Client:
    """A C client, and room for what its calls return. Held by one thread at a time."""

    __slots__ = ("__weakref__", "counts", "id", "kinds", "messages", "outbox", "pointer", "prompt", "result")

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer
        self.prompt = c.PromptResult()
        self.messages = c.MessagesResult()
        self.result = ctypes.POINTER(c.Result)()
        self.id = ctypes.create_string_buffer(c.ID_BYTES)
        self.outbox = (ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint64())
        self.start_counting()

    def start_counting(self) -> None:
        self.kinds = [0] * len(KINDS)
        self.counts = {"jobs": 0, "kept": 0}

    def text(self) -> str:
        """Why the last call that did not return OK did not."""
        return c.text_of(c.lib.stillhouse_error(self.pointer))

    def error(self, status: int) -> StillhouseError:
        return error_of(status, self.text())

    def last_id(self) -> str:
        return c.text_of(c.lib.stillhouse_prompt_id(self.pointer))

    def note_outbox(self) -> None:
        c.lib.stillhouse_outbox_counts(self.pointer, *map(ctypes.byref, self.outbox))


class Clients:
    """`spare`: so many stay idle for take_idle() when take() could have them."""

    def __init__(self, options: c.Options, spare: int = 0) -> None:
        pointer = ctypes.c_void_p()
        status = c.lib.stillhouse_open(ctypes.byref(options), ctypes.byref(pointer))
        if status != 0 or pointer.value is None:
            raise error_of(status, c.text_of(c.lib.stillhouse_open_error()))
        self._first = pointer
        self._spare = spare
        self._idle: list[Client] = []
        self._all: list[Client] = []
        self._closed = False
        self._at_end = False
        self._tasks = dict.fromkeys(TASKS, 0)
        self._unasked = 0
        self._lock = threading.RLock()
        self.give(self._open())
        self.prompt_bound_ms: int = c.lib.stillhouse_prompt_bound_ms(self._first)
        after_fork(self)

    def take(self) -> Client:
        with self._lock:
            client = self.take_idle() if len(self._idle) > self._spare else None
            return client or self._open()

    def take_idle(self) -> Client | None:
        """One that is there already, without waiting for anything."""
        self.check_open()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give(self, client: Client) -> None:
        self._idle.append(client)
        if self._closed:
            self._close_idle()

    def close(self) -> None:
        """Those in a call are closed when it ends."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if not was_closed:
            c.lib.stillhouse_close(self._first)
        self._close_idle()

    def end(self) -> None:
        """close() when nobody has them any more, or at the interpreter's end."""
        self._at_end = True
        self.close()

    def check_open(self) -> None:
        """Daemon threads run on for a moment at the interpreter's end, which then stops them: one that
        makes a call in this moment is stopped now, as silently.
        """
        if not self._closed:
            return
        if self._at_end and threading.current_thread().daemon:
            raise SystemExit
        raise ClosedError("the client is closed: expected one that is open")

    def counted(self) -> dict[str, int]:
        """The counts of all clients together, by their names in Stats."""
        every = list(self._all)
        kinds = {kind: sum(client.kinds[i] for client in every) for i, kind in enumerate(KINDS)}
        kinds["fallback"] += self._unasked
        return {
            **kinds,
            **{name: sum(client.counts[name] for client in every) for name in ("jobs", "kept")},
            "sent": sum(client.outbox[1].value for client in every),
            "put_aside": sum(client.outbox[2].value for client in every),
            "clients": len(every),
            **self._tasks,
        }

    def count_task(self, how: str) -> None:
        with self._lock:
            self._tasks[how] += 1

    def count_unasked(self) -> None:
        with self._lock:
            self._unasked += 1

    def _open(self) -> Client:
        """The lock is held, or nobody else has this yet."""
        self.check_open()
        pointer = ctypes.c_void_p()
        status = c.lib.stillhouse_open_beside(self._first, ctypes.byref(pointer))
        if status != 0 or pointer.value is None:
            raise error_of(status, c.text_of(c.lib.stillhouse_open_error()))
        client = Client(pointer.value)
        self._all.append(client)
        return client

    def _close_idle(self) -> None:
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return
            client.note_outbox()
            c.lib.stillhouse_close(client.pointer)

    def start_over(self) -> None:
        """In a child of fork(): no other thread is left, and nothing is counted yet."""
        self._lock = threading.RLock()
        self._all = list(self._idle)
        self._tasks = dict.fromkeys(TASKS, 0)
        self._unasked = 0
        for client in self._all:
            client.start_counting()
            for count in client.outbox:
                count.value = 0
