"""The audit: one JSON line for each request, with whose key it was and the lineage of the model that answered.

Counts and names only, never a text, a key or an address of a client. The file is opened anew for each line, so that it
may be moved away while the server runs.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from setsail.base.errors import SystemRefusal


class Audit:
    """A file that only grows, readable by its owner."""

    def __init__(self, path: Path) -> None:
        """Raises: SystemRefusal when it cannot be written."""
        self._path = path
        try:
            os.close(self._open())
        except OSError as error:
            told = f"the audit cannot be written: {error.strerror}"
            raise SystemRefusal(told, place=str(path), hint="name a file in a folder that can be written") from None

    def write(self, **said: Any) -> None:
        """Adds a line, with the time in UTC. Raises: OSError."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **said})
        descriptor = self._open()
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
