"""What a recipe's `base` names: a packaged model, a folder, a GGUF file, or a model on a hub.

Nothing is loaded or converted here, and torch is not needed. The invariant: a fingerprint changes exactly when the
bytes that an import would read may have changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from setsail.base.errors import ModelError, did_you_mean
from setsail.base.files import sha256_of
from setsail.models import gguf_file, hub, packaged
from setsail.models.weights import CONVERT_HINT, PICKLE_SUFFIXES, SIDE_FILES, weight_files

NOT_STATED = "not stated"
CARD_LICENCE = re.compile(r"^licen[cs]e:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


@dataclass(frozen=True)
class BaseSource:
    """Where a base model comes from; `fingerprint` is what its identity rests on."""

    name: str
    kind: Literal["packaged", "folder", "gguf", "hub"]
    location: str
    fingerprint: str
    licence: str
    origin: str


def resolve_base(name: str) -> BaseSource:
    """The source that a base's name means.

    Raises: ModelError for a name that means nothing, with the nearest one that does.
    """
    if name in packaged.PACKAGED:
        return _packaged(name)
    path = Path(os.path.expanduser(name))  # pathlib's own expanduser and exists raise for names that cannot be
    if name and os.path.exists(path):
        return _local(name, path)
    if hub.split_name(name) and not _looks_like_path(name):
        commit = hub.resolve_commit(name)
        return BaseSource(name, "hub", name, commit.resolved, NOT_STATED, f"{name} at commit {commit.resolved}")
    if _looks_like_path(name):
        beside = os.listdir(path.parent) if os.path.isdir(path.parent) else []
        raise ModelError(f'base "{name}" does not exist', hint=did_you_mean(path.name, beside) if beside else None)
    raise ModelError(
        f'unknown base "{name[:200]}"',
        hint=did_you_mean(name, packaged.PACKAGED) + "; or give org/name of a hub, a model folder, or a .gguf file",
    )


def folder_licence(folder: Path) -> str:
    """The licence that a model folder states: its card's, else the first line of its licence file."""
    card = folder / "README.md"
    found = CARD_LICENCE.search(card.read_text(encoding="utf-8", errors="replace")[:20_000]) if card.is_file() else None
    if found:
        return found[1]
    for file in sorted(folder.glob("LICENSE*")):
        lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace")[:2_000].splitlines()]
        return next((line for line in lines if line), NOT_STATED)
    return NOT_STATED


def _packaged(name: str) -> BaseSource:
    base = packaged.PACKAGED[name]
    return BaseSource(name, "packaged", str(packaged.locate(name)), base.sha256, base.licence, base.origin)


def _local(name: str, path: Path) -> BaseSource:
    path = path.resolve()
    if path.is_dir():
        return BaseSource(name, "folder", str(path), _folder_sha256(path), folder_licence(path), f"the folder {path}")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(f'"{name}" is a pickle: loading it can run any program', hint=CONVERT_HINT)
    if path.suffix.lower() == ".safetensors":
        raise ModelError(f'"{name}" is one file of a model', hint=f'give its folder as the base: "{path.parent}"')
    gguf = gguf_file.read(path)
    licence = str(gguf.metadata.get("general.license", NOT_STATED))
    return BaseSource(name, "gguf", str(path), sha256_of(path), licence, f"the file {path}")


def _folder_sha256(folder: Path) -> str:
    """One sha256 over the files that an import reads."""
    if not (folder / "config.json").is_file():
        raise ModelError("this folder is no model: it has no config.json", place=str(folder), hint=_folder_hint(folder))
    files = [*weight_files(folder), *(folder / name for name in SIDE_FILES if (folder / name).is_file())]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _folder_hint(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "this is an adapter: give the base that it was trained on"
    ggufs = sorted(folder.glob("*.gguf"))
    return f'give the file: "{ggufs[0]}"' if ggufs else "give the folder that holds config.json and *.safetensors"


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".gguf", *PICKLE_SUFFIXES))
