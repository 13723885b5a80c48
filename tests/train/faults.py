"""Faults of the file system: something happens at the Nth call that changes it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_CHANGING = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


class _Counted:
    """A file whose writes are counted; before a fault, half of the data gets through."""

    def __init__(self, file: Any, count: Callable[[], bool], act: Callable[[], None]) -> None:
        self._file, self._count, self._act = file, count, act

    def write(self, data: Any) -> int:
        if self._count():
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            self._act()
        return self._file.write(data)

    def __enter__(self) -> _Counted:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def fault_at(nth: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Calls `act` instead of the `nth` changing call; yields a list whose only item counts the calls."""
    calls = [0]

    def count() -> bool:
        calls[0] += 1
        return calls[0] == nth

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if count():
                act()
            return function(*arguments, **keywords)

        return call

    def counted_open(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if mode.startswith("r"):
            return real_open(file, mode, *arguments, **keywords)
        if count():
            act()
        return _Counted(real_open(file, mode, *arguments, **keywords), count, act)

    real_open, real = io.open, {name: getattr(os, name) for name in _CHANGING}
    io.open = counted_open
    for name, function in real.items():
        setattr(os, name, counted(function))
    try:
        yield calls
    finally:
        io.open = real_open
        for name, function in real.items():
            setattr(os, name, function)
