"""Reading a file in a process of its own, so that a hostile one can end that process and nothing else.

Some formats are read by large libraries, native ones among them: a file of a few kilobytes can make such a library ask
for all memory, never come back or abort. The child has a limit of memory and of processor time, gets the bytes on its
standard input and writes one JSON value a line. What does not live here: what a format's values mean.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from setsail.base.errors import DataError

MAX_FILE_BYTES = 512 << 20
MAX_BYTES = 4 << 30
MEMORY_BYTES = 4 << 30
CPU_SECONDS = 600
_CHILD = f"from {__name__} import main; main()"
_ENDED = "reading it ended early: it is broken, or needs more than {memory:.3g} GiB of memory or {seconds} seconds"


class Unreadable(Exception):
    """Why a library gives up on a file; caught where the child ends, and told by the parent."""

    def __init__(self, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.hint = hint


def read_apart(
    module: str, data: bytes, place: str, *, memory_bytes: int = MEMORY_BYTES, cpu_seconds: int = CPU_SECONDS
) -> Iterator[Any]:
    """Each value that `values(data)` of that module beside this one gives, made in a child process.

    Raises:
        DataError: the file is too large, broken, or needs more memory or time than it is given.
    """
    if len(data) > MAX_FILE_BYTES:
        words = f"a file of this kind may hold at most {MAX_FILE_BYTES >> 20} MiB"
        raise DataError(words, place=place, hint="split it, or save it as csv or txt")
    limits = [str(memory_bytes), str(cpu_seconds)]
    command = [sys.executable, "-P", "-W", "ignore", "-c", _CHILD, module, *limits]
    with tempfile.TemporaryFile() as given:
        given.write(data)
        given.seek(0)
        with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            try:
                last = yield from _values(child.stdout, place)
            finally:
                child.kill()
    if not last:
        ended = _ENDED.format(memory=memory_bytes / (1 << 30), seconds=cpu_seconds)
        raise DataError(ended, place=place, hint="save it in another format, or fetch it again")


def _values(lines: Any, place: str) -> Iterator[Any]:
    """The child's values, and at the end whether it came to its end."""
    num_bytes = 0
    for line in lines:
        num_bytes += len(line)
        if num_bytes > MAX_BYTES:
            raise DataError("the file unpacks to more than 4 GiB: refused", place=place, hint="split it")
        if not line.endswith(b"\n"):
            return False
        kind, value = json.loads(line)
        if kind == "end":
            return True
        if kind == "unreadable":
            raise DataError(value[0], place=place, hint=value[1] or "fetch it again, or save it anew")
        yield value
    return False


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _say(kind: str, value: object) -> None:
    sys.stdout.write(json.dumps([kind, value]) + "\n")


def main() -> None:
    """The child: a module, its limits, the bytes on standard input."""
    module, memory_bytes, cpu_seconds = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    values = import_module(f"{__package__}.{module}").values
    _limit(int(memory_bytes), int(cpu_seconds))
    try:
        for value in values(sys.stdin.buffer.read()):
            _say("value", value)
    except MemoryError:
        sys.exit(3)  # the parent says so
    except RecursionError:
        _say("unreadable", ["the file is nested too deeply", ""])
    except Unreadable as error:
        _say("unreadable", [str(error), error.hint])
    except BaseException as error:  # the edge of a process: a native library's panic is no Exception
        words = str(error).split("\n", 1)[0][:200] or type(error).__name__
        _say("unreadable", [f"the file is broken: {words}", ""])
    else:
        _say("end", None)
