"""The keys of a running server: whose key a request brings, and whether it may do what it asks.

The key file is looked at before each request and read again when it has changed. The invariant: while it cannot be
read nobody is let in by it, since nobody can say who has been turned out meanwhile.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from setsail.base.errors import SetsailError
from setsail.serve.errors import ApiError
from setsail.serve.keys import Key, hash_of, read_keys
from setsail.serve.limits import SAVE_SECONDS, Limits, Used, usage_file

# An address asks for one of these; any key opens what is not listed.
_WORK = ("generate", "predict", "embed")
SCOPES_OF = {
    "/v1/chat/completions": ("generate",),
    "/v1/completions": ("generate",),
    "/predict": ("predict",),
    "/v1/embeddings": ("embed",),
    "/v1/rerank": ("embed",),
    "/tokenize": _WORK,
    "/detokenize": _WORK,
    "/v1/feedback": ("generate", "predict"),
    "/metrics": ("metrics",),
}
# What a key may ask when its tokens of the day are used.
SPENDING_NOTHING = frozenset({"/tokenize", "/detokenize", "/v1/feedback", "/metrics", "/ready", "/v1/models"})


class Keyring:
    """The keys of one file; used from one event loop."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        """Raises: UserError or SystemRefusal when the file cannot be used."""
        self._path = path
        self._log = log
        self._looks: tuple[int, ...] = ()
        self._keys: tuple[Key, ...] = ()
        self._failure: str | None = None
        self._saving: asyncio.Task[None] | None = None
        self._limits = Limits(usage_file(path))
        if any(key.tokens_per_day is not None for key in read_keys(path)):
            self._limits.save(self._limits.snapshot())  # a folder that cannot be written is told now

    def key_of(self, given: bytes) -> Key:
        """The key that a request brings. Raises `ApiError`: 401 for none of ours, 503 when the file is unreadable."""
        self._look()
        if self._failure is not None:
            raise ApiError(503, "the server cannot read its key file", code="keys_unreadable", retry_after_seconds=5)
        digest = hash_of(given)
        # All are compared, each in constant time.
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not found:
            hint = "send the header Authorization: Bearer <key>"
            wrong = "the API key is wrong" if given else "an API key is needed"
            raise ApiError(401, wrong, code="invalid_api_key", hint=hint)
        return found[0]

    def admit(self, key: Key, path: str) -> None:
        """Counts a request. Raises `ApiError`: 401 for a key that is no longer good, 403 for its scope, 429."""
        state = key.state(datetime.now(UTC))
        if state != "active":
            raise ApiError(401, f"the API key {key.name} is {state}", code=f"{state}_api_key", hint="ask for a new one")
        wanted = SCOPES_OF.get(path)
        if wanted is not None and not set(wanted) & set(key.scopes):
            told = f"the API key {key.name} may not do this: it has the scopes {', '.join(key.scopes)}"
            hint = f"this address asks for {' or '.join(wanted)}"
            raise ApiError(403, told, code="wrong_scope", hint=hint)
        self._limits.admit(key, spends=path not in SPENDING_NOTHING)

    def charge(self, key: Key, num_tokens: int) -> None:
        """Counts the tokens of a request that has ended, and has them written soon."""
        self._limits.charge(key, num_tokens)
        if not self._limits.is_saved and (self._saving is None or self._saving.done()):
            self._saving = asyncio.get_running_loop().create_task(self._save_soon())

    def save(self) -> None:
        """Writes what was used, if that is not done."""
        if not self._limits.is_saved:
            self._write(self._limits.snapshot())

    async def _save_soon(self) -> None:
        is_written = True
        while is_written and not self._limits.is_saved:
            await asyncio.sleep(SAVE_SECONDS)
            is_written = await asyncio.to_thread(self._write, self._limits.snapshot())

    def _write(self, used: Used) -> bool:
        try:
            self._limits.save(used)
        except (SetsailError, OSError) as error:
            self._log(f"what keys have used is not written: {error}")
            return False
        return True

    def _look(self) -> None:
        """Reads the file again when it is another one; each failure is logged once."""
        try:
            found = self._path.stat()
            looks = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError:
            looks = (0,)
        if looks == self._looks:
            return
        self._looks = looks
        try:
            self._keys, self._failure = read_keys(self._path), None
        except SetsailError as error:
            self._failure = str(error)
            self._log(f"no key is accepted: {error}")
