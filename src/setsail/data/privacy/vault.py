"""The vault: what was hidden, row by row, encrypted, so that whoever holds the key can bring it back.

A file is a header and then records, one a row, in the order in which they were written, and a last record that says how
many there were. Each is sealed by AES-256-GCM under a nonce that is its place in the file, so that a changed, moved,
missing or foreign record is noticed, and so is an end that was cut off. Each file has a salt and so a key of its own:
shards that were written apart can be read together. What does not live here: finding values (`redactor.py`). The
invariant: no value and no key is written in the clear, and an open vault is never mistaken for a finished one.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.privacy.keys import Key
from setsail.data.privacy.redactor import Hidden

_MAGIC = b"SETSAIL VAULT 1\n"
_SALT_BYTES = 16
_LENGTH = struct.Struct(">I")
_LONGEST_RECORD = 64 << 20
# Of RFC 7914: 64 MiB of memory and a fraction of a second for each guess of a passphrase.
_SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}


@dataclass(frozen=True)
class VaultFile:
    """An open vault for writing: `add` a row, `close` at the end. Leaving it by an error leaves it unfinished."""

    path: Path
    _file: IO[bytes]
    _cipher: AESGCM
    _count: list[int]

    def add(self, row_id: str, hidden: Sequence[Hidden]) -> None:
        """Writes what was hidden in one row; rows without anything hidden need no record."""
        self._write({"row": row_id, "hidden": [astuple(value) for value in hidden]})
        self._count[0] += 1

    def close(self) -> None:
        """Writes the end and makes sure that all of it is on disk."""
        self._write({"rows": self._count[0]})
        with explained_os_errors(f"writing {self.path.name}"):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> VaultFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _write(self, record: dict[str, object]) -> None:
        number = self._count[0]
        sealed = self._cipher.encrypt(_nonce(number, is_end="rows" in record), json.dumps(record).encode(), _MAGIC)
        if len(sealed) > _LONGEST_RECORD:
            raise DataError(
                f"what is hidden in one row takes {len(sealed):,} bytes", place=f"{self.path}, record {number + 1}"
            )
        with explained_os_errors(f"writing {self.path.name}"):
            self._file.write(_LENGTH.pack(len(sealed)) + sealed)


def create_vault(path: Path, key: Key) -> VaultFile:
    """A new vault at `path`, readable by its owner only.

    Raises:
        DataError: something stands there already.
        SystemRefusal: disk full, no permission.
    """
    if path.exists():
        raise DataError(f'"{path}" exists already', hint="a vault is never written over: move it away")
    with explained_os_errors(f"writing {path.name}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "wb")
    salt = os.urandom(_SALT_BYTES)
    with explained_os_errors(f"writing {path.name}"):
        file.write(_MAGIC + bytes([key.is_passphrase]) + salt)
    return VaultFile(path, file, _cipher(key, salt), [0])


@dataclass(frozen=True)
class Vault:
    """Files of one preparation, checked from end to end, with the place of each row's record; no value is kept."""

    _places: dict[str, list[tuple[Path, int, int]]]
    _ciphers: dict[Path, AESGCM]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def reveal(self, row_id: str) -> tuple[Hidden, ...]:
        """What was hidden in a row; `redactor.restore` puts it back.

        Raises:
            DataError: the vault holds nothing of such a row, or the file was changed since it was opened.
        """
        if row_id not in self._places:
            raise DataError(f'the vault holds nothing of row "{row_id}"', hint="ids stand in the column id of the rows")
        found: list[Hidden] = []
        for path, start, number in self._places[row_id]:
            with explained_os_errors(f"reading {path.name}"), path.open("rb") as file:
                file.seek(start)
                record = _read(file, self._ciphers[path], path, number)
            found += [Hidden(*value) for value in record["hidden"]]
        return tuple(found)


def open_vault(path: Path | Iterable[Path], key: Key) -> Vault:
    """A vault of one file, of several, or of all `*.vault` in a folder, after every record was verified.

    Raises:
        DataError: a file is missing, is no vault, was made with another key, or was changed or cut off.
    """
    vault = Vault({}, {})
    for file in _files(path):
        _add_file(vault, file, key)
    return vault


def _files(path: Path | Iterable[Path]) -> list[Path]:
    if not isinstance(path, Path):
        return list(path)
    files = sorted(path.glob("*.vault")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise DataError(f'"{path}" holds no vault', hint="say data.vault in the recipe before preparing")
    return files


def _add_file(vault: Vault, path: Path, key: Key) -> None:
    with explained_os_errors(f"reading {path.name}"), path.open("rb") as file:
        head = file.read(len(_MAGIC) + 1 + _SALT_BYTES)
        if not head.startswith(_MAGIC) or len(head) != len(_MAGIC) + 1 + _SALT_BYTES:
            raise DataError(f'"{path.name}" is not a vault of this version', place=str(path))
        if bool(head[len(_MAGIC)]) != key.is_passphrase:
            sealed_by = "a key" if key.is_passphrase else "a passphrase"
            raise DataError(
                f'"{path.name}" was sealed with {sealed_by}', place=str(path), hint="use what it was made with"
            )
        vault._ciphers[path] = _cipher(key, head[len(_MAGIC) + 1 :])
        number = 0
        while True:
            start = file.tell()
            record = _read(file, vault._ciphers[path], path, number)
            if "rows" in record:
                break
            vault._places.setdefault(record["row"], []).append((path, start, number))
            number += 1
        if file.read(1):
            raise DataError("bytes stand behind the end of the vault: it was changed", place=str(path))


def _read(file: IO[bytes], cipher: AESGCM, path: Path, number: int) -> dict:
    """The next record, which is number `number`, or the end record after as many."""
    place = f"{path}, record {number + 1}"
    size = file.read(_LENGTH.size)
    length = _LENGTH.unpack(size)[0] if len(size) == _LENGTH.size else 0
    sealed = file.read(length) if 0 < length <= _LONGEST_RECORD else b""
    if not sealed or len(sealed) != length:
        raise DataError("the vault ends too early: it was cut off, or never finished", place=place)
    for is_end in (False, True):
        try:
            return json.loads(cipher.decrypt(_nonce(number, is_end=is_end), sealed, _MAGIC))
        except InvalidTag:
            continue
    raise DataError(
        "the vault cannot be opened: another key, or the file was changed",
        place=place,
        hint="use the key that it was made with" if number == 0 else "restore the file from a copy",
    )


def _nonce(number: int, *, is_end: bool) -> bytes:
    """Every record of a file has its own; files have keys of their own, so none is used twice."""
    return bytes([is_end]) + number.to_bytes(11, "big")


def _cipher(key: Key, salt: bytes) -> AESGCM:
    if key.is_passphrase:
        return AESGCM(Scrypt(salt=salt, length=32, **_SCRYPT).derive(key.secret))
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"setsail vault").derive(key.secret))
