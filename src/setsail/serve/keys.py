"""The key file: who may use a server, how much of it, and until when. Keys themselves are never written, only hashes.

A key is 256 random bits, so that one round of SHA-256 is enough: there is no dictionary of such keys. The invariant:
the file is replaced as a whole, by one command at a time, and stays readable for those only who could read it before.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from setsail.base.errors import SystemRefusal, UserError, did_you_mean
from setsail.base.files import explained_os_errors, write_private

SCOPES = ("generate", "predict", "embed", "metrics")
USUAL_SCOPES = ("generate", "predict", "embed")
ENVIRONMENT = "environment"  # what the log calls the key of SETSAIL_API_KEY
MOST_PER_MINUTE = 100_000
MOST_PER_DAY = 10**12
_PREFIX = "setsail-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOO_OPEN = stat.S_IWGRP | stat.S_IRWXO


def _checked_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has up to 64 letters, digits, dots, dashes and underscores")
    if value == ENVIRONMENT:
        raise ValueError(f"{ENVIRONMENT} is the name of the key in SETSAIL_API_KEY")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Key(_Part):
    """What the file says of one key; a limit that is none is not set, times are in UTC."""

    name: Annotated[str, AfterValidator(_checked_name)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Literal["generate", "predict", "embed", "metrics"], ...], Field(min_length=1)]
    requests_per_minute: Annotated[int, Field(ge=1, le=MOST_PER_MINUTE)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1, le=MOST_PER_DAY)] | None = None
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """Whether it opens anything."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class _File(_Part):
    version: Literal[1]
    keys: tuple[Key, ...]


def hash_of(key: bytes) -> str:
    """What stands in the file for a key."""
    return hashlib.sha256(key).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        UserError: there is no such file, it is damaged, or it says something that it may not.
        SystemRefusal: others could read it, or the group write it.
    """
    try:
        mode = path.stat().st_mode
        raw = path.read_bytes()
    except FileNotFoundError:
        hint = f"setsail keys add NAME --file {path}"
        raise UserError("there is no key file", place=str(path), hint=hint) from None
    except OSError as error:
        raise UserError(f"the key file cannot be read: {error.strerror}", place=str(path)) from None
    if mode & _TOO_OPEN:
        told = f"the key file is open to others (mode {stat.S_IMODE(mode):04o})"
        raise SystemRefusal(told, place=str(path), hint=f"chmod 600 {path}")
    try:
        keys = _File.model_validate_json(raw).keys
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        told = f"the key file is damaged: {where + ': ' if where else ''}{problem['msg']}"
        raise UserError(told, place=str(path), hint="mend it by hand, or make a new one") from None
    for what in ("name", "sha256"):
        values = [getattr(key, what) for key in keys]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            told = f"the key file is damaged: two keys have the {what} {twice}"
            raise UserError(told, place=str(path), hint="remove one of them")
    return keys


def add_key(
    path: Path,
    name: str,
    *,
    scopes: Sequence[str] = USUAL_SCOPES,
    requests_per_minute: int | None = None,
    tokens_per_day: int | None = None,
    expires: datetime | None = None,
) -> str:
    """A new key, which is written nowhere. The name of a revoked key may be used again.

    Raises: UserError for a name that is taken or no name, an unknown scope, a limit out of range, a date that is past.
    """
    unknown = next((scope for scope in scopes if scope not in SCOPES), None)
    if unknown is not None:
        raise UserError(f'there is no scope "{unknown}"', place="--scopes", hint=did_you_mean(unknown, SCOPES))
    now = datetime.now(UTC)
    if expires is not None and expires <= now:
        raise UserError(f"{expires:%Y-%m-%d %H:%M} is past", place="--expires", hint="name a later day: 2030-12-31")
    secret = _PREFIX + secrets.token_urlsafe(32)
    try:
        key = Key(
            name=name,
            sha256=hash_of(secret.encode()),
            scopes=tuple(dict.fromkeys(scopes)),  # pyright: ignore[reportArgumentType]
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
            created=now,
            expires=expires,
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = str(problem["loc"][0])
        option = "NAME" if place == "name" else f"--{place.replace('_', '-')}"
        told = f"{problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"
        raise UserError(told, place=option, hint="setsail keys add --help") from None
    with _changing(path):
        known = read_keys(path) if path.exists() else ()
        if any(other.name == name and other.revoked is None for other in known):
            hint = f"setsail keys revoke {name} --file {path}, or another name"
            raise UserError(f"there is a key called {name}", place=str(path), hint=hint)
        _write(path, [*(other for other in known if other.name != name), key])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """From now on the key opens nothing; a server that runs sees it with the next request.

    Raises: UserError when there is no such key.
    """
    with _changing(path):
        known = read_keys(path)
        if name not in [key.name for key in known]:
            hint = did_you_mean(name, [key.name for key in known])
            raise UserError(f'there is no key "{name}"', place=str(path), hint=hint)
        now = datetime.now(UTC)
        gone = [key.model_copy(update={"revoked": key.revoked or now}) if key.name == name else key for key in known]
        _write(path, gone)


def read_expiry(text: str) -> datetime:
    """A day (its end, in UTC) or a time with its zone. Raises: UserError."""
    try:
        day = date.fromisoformat(text)
        return datetime.combine(day, time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        hint = "write a day, 2030-12-31, or a time with its zone, 2030-12-31T18:00+08:00"
        raise UserError(f'"{text[:80]}" is no day', place="--expires", hint=hint)
    return moment.astimezone(UTC)


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = _File(version=1, keys=tuple(keys)).model_dump_json(indent=1, exclude_none=True)
    with explained_os_errors("writing the key file"):
        write_private(path, text + "\n")


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One command at a time: a lock on the folder, which leaves no file behind."""
    try:
        descriptor = os.open(path.absolute().parent, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"the folder cannot be opened: {error.strerror}", place=str(path.absolute().parent)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
