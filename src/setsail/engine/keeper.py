"""Keeps one foreign server: `python -m setsail.engine.keeper COMMAND…` runs it, and ends it when its own input closes.

The input is a pipe of whoever started this; it closes however that process ends, killed or not, so that no server with
a GPU's memory is ever left behind. The server and what it starts are one group: asked to leave first, then killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 20.0
_BY_SIGNAL = 128  # a shell's way to tell that a signal ended something


def main(command: list[str]) -> int:
    """Runs the command; its exit status, once it and its group have ended."""
    # A Ctrl-C or a stop signal is answered by those above us: they drain first, then our input closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, restore_signals=True)
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    status = server.wait()
    _signal_group(server, signal.SIGKILL)  # what it started and left behind
    return status if status >= 0 else _BY_SIGNAL - status


def _end_with_input(server: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    _signal_group(server, signal.SIGTERM)
    try:
        server.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(server, signal.SIGKILL)


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
