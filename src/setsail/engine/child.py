"""One engine process as its parent sees it: start it, write lines without ever blocking, read lines, end it.

No policy: `process` decides when to start another. The invariant: `send` never blocks the caller, because a wedged
child does not empty its pipe.
"""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from setsail.engine import wire

_LAST_WORDS = 20
_END_SECONDS = 5.0
_LAST_WORDS_SECONDS = 0.5
_LOOK_MILLISECONDS = 500
_CHUNK_BYTES = 1 << 20


def worker_command(arguments: list[str]) -> list[str]:
    """What starts a worker with these arguments."""
    # -P: a file called torch.py in the user's folder must not stand in for the library.
    return [sys.executable, "-P", "-m", "setsail.engine.worker", *arguments]


class Child:
    """A running worker. Start it on a thread that outlives it: on Linux it dies with the thread that started it."""

    def __init__(self, command: list[str]) -> None:
        # What it leaves in its temporary folder is removed here, however it died.
        self._folder = tempfile.TemporaryDirectory(prefix="setsail-engine-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": self._folder.name},
        )
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listener = threading.Thread(target=self._listen, name="engine-stderr", daemon=True)
        self._listener.start()
        threading.Thread(target=self._write, name="engine-stdin", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; one for a child that is dead is dropped."""
        self._outbox.put(wire.encode(message))

    def messages(self) -> Iterator[dict[str, Any]]:
        """Each message of the child, until its pipe closes or it is dead; half a line at the end is dropped."""
        stdout = cast(BinaryIO, self._process.stdout)
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        rest = b""
        while True:
            if poll.poll(_LOOK_MILLISECONDS):
                chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(wire.decode, lines)
            elif self._process.poll() is not None:
                # A process that a library forked may hold the pipe open after the child's death.
                return

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def close(self) -> None:
        """Close its input, which ends it; kill it when it does not go."""
        self._outbox.put(None)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def reap(self) -> str:
        """Wait for its end and release its pipes; in words how it ended, with the last lines of its error stream."""
        self._outbox.put(None)
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._listener.join(_LAST_WORDS_SECONDS)
        cast(BinaryIO, self._process.stdout).close()
        self._folder.cleanup()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return "\n".join([f"the engine's process {how}", *self._last_words])

    def _listen(self) -> None:
        with cast(BinaryIO, self._process.stderr) as stream:
            for line in stream:
                self._last_words.append(line.decode("utf-8", "replace").rstrip())

    def _write(self) -> None:
        stdin = cast(BinaryIO, self._process.stdin)
        try:
            while (line := self._outbox.get()) is not None:
                _write_all(stdin.fileno(), line)
        except BrokenPipeError:
            # Its end is noticed, and told to everyone waiting, where its output is read.
            pass
        finally:
            stdin.close()


def _write_all(descriptor: int, line: bytes) -> None:
    # Past Python's buffer, which would be flushed into the closed pipe once more when it is dropped.
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
