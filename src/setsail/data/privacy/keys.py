"""Secret keys: read from a file or the environment, never shown, never stored.

What does not live here: what they are used for (`pseudonyms.py`, `vault.py`). The invariant: no message holds a key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from setsail.base.environment import secret_of
from setsail.base.errors import RecipeError
from setsail.base.files import explained_os_errors

SHORTEST_KEY_BYTES = 32
SHORTEST_PASSPHRASE = 12
_LARGEST_FILE_BYTES = 64 << 10


@dataclass(frozen=True)
class Key:
    """A secret: a key drawn by a machine, or a passphrase that a person remembers and that is stretched before use."""

    secret: bytes = field(repr=False)
    is_passphrase: bool = False


def key_from(key_file: str | None, key_env: str | None, *, base_dir: Path, place: str) -> Key:
    """The key that a recipe names; `place` is where it does.

    A file holds at least 32 bytes, as `new_key_file` writes it; an environment variable at least 12 characters.

    Raises:
        RecipeError: neither or both are named, the file is missing, or what they hold is too short to be a secret.
    """
    if (key_file is None) == (key_env is None):
        raise RecipeError(
            f"{place} needs a key: name key_file or key_env, not both",
            place=place,
            hint=f"key_file: ../{place.rpartition('.')[2]}.key, made by: openssl rand -hex 32",
        )
    if key_env is not None:
        return _from_environment(key_env, place)
    return _from_file((base_dir / str(key_file)).expanduser(), place)


def _from_environment(name: str, place: str) -> Key:
    secret = secret_of(name)
    if len(secret) < SHORTEST_PASSPHRASE:
        raise RecipeError(
            f"the environment variable {name} holds {len(secret)} characters; a passphrase needs {SHORTEST_PASSPHRASE}",
            place=f"{place}.key_env",
            hint=f"export {name}=…",
        )
    return Key(secret.encode(), is_passphrase=True)


def _from_file(path: Path, place: str) -> Key:
    place = f"{place}.key_file"
    if not path.is_file():
        raise RecipeError(
            f'"{path}" does not exist', place=place, hint=f"make a key: openssl rand -hex 32 > {path}; chmod 600 {path}"
        )
    with explained_os_errors(f"reading {path.name}"), path.open("rb") as file:
        secret = file.read(_LARGEST_FILE_BYTES).strip()
    if len(secret) < SHORTEST_KEY_BYTES:
        raise RecipeError(
            f'"{path}" holds {len(secret)} bytes; a key needs {SHORTEST_KEY_BYTES}',
            place=place,
            hint=f"make a key: openssl rand -hex 32 > {path}",
        )
    return Key(secret)


def new_key_file(path: Path) -> None:
    """Writes a new key that only its owner can read.

    Raises:
        SystemRefusal: something stands there already, or no permission.
    """
    with explained_os_errors(f"writing {path.name}"):
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
