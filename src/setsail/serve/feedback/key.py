"""The key of the log of answers: 32 bytes in hex, from a file of its owner's or from the environment; never shown."""

from __future__ import annotations

import secrets
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from setsail.base.environment import read_environment
from setsail.base.errors import SystemRefusal, UserError
from setsail.base.files import explained_os_errors

ENVIRONMENT = "SETSAIL_ANSWERS_KEY"
MARK_BYTES = 8
_KEY_BYTES = 32
_LARGEST_FILE_BYTES = 4096
_TOO_OPEN = stat.S_IRWXG | stat.S_IRWXO
MAKE_ONE = "make one: setsail feedback new-key answers.key"


@dataclass(frozen=True)
class AnswersKey:
    """A secret; what seals a file, and what marks answers of ours, are derived from it."""

    secret: bytes = field(repr=False)

    def derived(self, what: str, *, salt: bytes | None = None, num_bytes: int = _KEY_BYTES) -> bytes:
        """A key for one purpose, from which neither this one nor that of another purpose can be told."""
        return HKDF(algorithm=SHA256(), length=num_bytes, salt=salt, info=f"setsail {what}".encode()).derive(
            self.secret
        )

    @cached_property
    def mark(self) -> bytes:
        """What stands in a file so that another key is told from damage; it says nothing of the key."""
        return self.derived("mark of the key of answers", num_bytes=MARK_BYTES)


def answers_key(file: str | None) -> AnswersKey:
    """The key in a file, or where none is named that of the environment.

    Raises:
        UserError: there is no key, or it is not 64 hex digits.
        SystemRefusal: others than the owner may use the file.
    """
    if file is not None:
        return _from_file(Path(file).expanduser())
    text = read_environment().answers_key
    if text is None:
        hint = f"{MAKE_ONE}, and name it (serve.answers.key_file, --answers-key), or export {ENVIRONMENT}=…"
        raise UserError("the log of answers needs a key", place="serve.answers", hint=hint)
    return _parsed(text, ENVIRONMENT)


def _from_file(path: Path) -> AnswersKey:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES)
    except FileNotFoundError:
        raise UserError("there is no such key file", place=str(path), hint=MAKE_ONE) from None
    except OSError as error:
        raise UserError(f"the key file cannot be read: {error.strerror}", place=str(path)) from None
    if mode & _TOO_OPEN:
        told = f"the key of the answers is open to others (mode {stat.S_IMODE(mode):04o})"
        raise SystemRefusal(told, place=str(path), hint=f"chmod 600 {path}")
    return _parsed(raw.decode("ascii", "replace"), str(path))


def _parsed(text: str, place: str) -> AnswersKey:
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise UserError(f"a key of answers is {2 * _KEY_BYTES} hex digits", place=place, hint=MAKE_ONE)
    return AnswersKey(secret)


def new_key(path: Path) -> None:
    """Writes a new key that only its owner can read.

    Raises: SystemRefusal when something stands there already, or it cannot be written.
    """
    with explained_os_errors("writing the key of the answers"):
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(secrets.token_hex(_KEY_BYTES) + "\n", encoding="ascii")
