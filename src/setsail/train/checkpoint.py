"""Checkpoints: folders `step-00000010/` from which training goes on exactly as if it had never stopped.

A checkpoint is written beside its place, hashed, flushed to the disk and renamed, so that whatever kills the process
leaves the one before it whole. The reader trusts nothing: it tries the newest first, holds every file against its hash,
names a damaged one and falls back. The last two are kept. The base model is not in it; the fingerprint says which one
it was.

The invariant: `latest` gives everything that `save` was given, or nothing at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from setsail.base.errors import ArtifactError
from setsail.base.files import explained_os_errors, publish_folder, sha256_of
from setsail.models.tensor_file import read_tensors, write_tensors

FORMAT_VERSION = 1
NUM_KEPT = 2
WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_FILES = (WEIGHTS, OPTIMIZER, STATE)
_NAME = re.compile(r"step-(\d{8})")
_START_ANEW = "delete this folder to train from the beginning"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that training needs to go on after `step`.

    `position` says where the data stands; `fingerprint` is what must be the same when training goes on: flat or nested
    settings of the recipe, hashes of the data and of the base.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    position: Mapping[str, int]
    fingerprint: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint into `folder`, removes those beyond the last two, and returns its path.

    Raises:
        SystemRefusal: disk full, no permission; the checkpoints that were there are as they were.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    draft = folder / f".{final.name}.partial"
    with explained_os_errors(f"saving a checkpoint after step {checkpoint.step}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_drafts(folder)
            draft.mkdir()
            _write(draft, checkpoint)
            if final.exists():  # a damaged one that an earlier resume had passed over
                final.rename(folder / f".{final.name}.replaced.partial")
            publish_folder(draft, final)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _prune(folder, checkpoint.step)
    return final


def latest(
    folder: Path, fingerprint: Mapping[str, Any] | None = None, *, say: Callable[[str], None]
) -> Checkpoint | None:
    """The newest whole checkpoint of `folder`, or None where none was ever saved; damaged ones are named through `say`.

    Raises:
        ArtifactError: there are checkpoints but all are damaged; or it was made under another fingerprint; or the
            folder holds pickles or a newer format.
    """
    found = _checkpoints(folder)
    for step in sorted(found, reverse=True):
        path = found[step]
        try:
            with explained_os_errors("reading a checkpoint"):
                _verify(path)
                checkpoint = _read(path, step)
        except _Damaged as damage:
            say(f"checkpoint {path.name} is damaged and passed over: {damage}")
            continue
        if fingerprint is not None:
            _check_fingerprint(checkpoint.fingerprint, fingerprint, path)
        return checkpoint
    if found:
        raise ArtifactError(f"all {len(found)} checkpoints are damaged", place=str(folder), hint=_START_ANEW)
    return None


class _Damaged(Exception):
    """What is wrong with a checkpoint."""


def _write(draft: Path, checkpoint: Checkpoint) -> None:
    hashes = {
        WEIGHTS: write_tensors(draft / WEIGHTS, checkpoint.weights),
        OPTIMIZER: write_tensors(draft / OPTIMIZER, checkpoint.optimizer),
    }
    state = {
        "step": checkpoint.step,
        "position": dict(checkpoint.position),
        "fingerprint": _plain(checkpoint.fingerprint),
    }
    text = json.dumps(state, ensure_ascii=False, indent=1) + "\n"
    (draft / STATE).write_text(text, "utf-8")
    hashes[STATE] = hashlib.sha256(text.encode("utf-8")).hexdigest()
    manifest = {"kind": "checkpoint", "format_version": FORMAT_VERSION, "step": checkpoint.step, "sha256": hashes}
    manifest["self"] = _digest(manifest)
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _verify(path: Path) -> None:
    """Holds a checkpoint against its manifest, and the manifest against itself."""
    manifest = _read_manifest(path)
    unknown = sorted(file.name for file in path.iterdir() if file.name not in (*_FILES, MANIFEST))
    if unknown:
        raise ArtifactError(
            f'a checkpoint holds safetensors and json alone, never pickles; this one also has "{unknown[0]}"',
            place=str(path),
            hint=f"remove {unknown[0]}: it is not read, whatever it is",
        )
    if set(manifest["sha256"]) != set(_FILES) or path.name != f"step-{manifest['step']:08d}":
        raise _Damaged(f"{MANIFEST} is of another checkpoint")
    for name, expected in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise _Damaged(f"{name} is missing")
        if sha256_of(file) != expected:
            raise _Damaged(f"{name} is not what was written (its SHA-256 differs)")


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        digest = manifest.pop("self")
    except (FileNotFoundError, IsADirectoryError):
        raise _Damaged(f"{MANIFEST} is missing") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _Damaged(f"{MANIFEST} cannot be read: {error}") from error
    if digest != _digest(manifest):
        raise _Damaged(f"{MANIFEST} is not what was written")
    if manifest["format_version"] > FORMAT_VERSION:
        raise ArtifactError(
            f"this checkpoint was written by a newer setsail (format {manifest['format_version']}; "
            f"this one reads up to {FORMAT_VERSION})",
            place=str(path),
            hint="update setsail",
        )
    return manifest


def _read(path: Path, step: int) -> Checkpoint:
    state = json.loads((path / STATE).read_text("utf-8"))
    return Checkpoint(
        step=step,
        weights=read_tensors(path / WEIGHTS),
        optimizer=read_tensors(path / OPTIMIZER),
        position=state["position"],
        fingerprint=state["fingerprint"],
    )


def _check_fingerprint(saved: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    """Refuses to go on under other settings, and says which."""
    then, now = _flat(_plain(saved)), _flat(_plain(ours))
    changes = [
        f"{key}: was {_shown(then, key)}, is now {_shown(now, key)}"
        for key in sorted({*then, *now})
        if key not in then or key not in now or then[key] != now[key]
    ]
    if changes:
        raise ArtifactError(
            "training was begun under other settings:\n    " + "\n    ".join(changes),
            place=str(path),
            hint=f"put them back to go on, or {_START_ANEW}",
        )


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Steps to the folders that hold them; unfinished ones have another name."""
    if not folder.is_dir():
        return {}
    matches = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir() if path.is_dir())
    return {int(match[1]): path for path, match in matches if match}


def _prune(folder: Path, step: int) -> None:
    """Keeps the one just saved and the newest before it; later ones are of a future that was given up."""
    found = _checkpoints(folder)
    kept = sorted((number for number in found if number <= step), reverse=True)[:NUM_KEPT]
    for number, path in found.items():
        if number not in kept:
            # Renamed first: a removal that is cut short must not look like a damaged checkpoint.
            path = path.rename(folder / f".{path.name}.pruned.partial")
            shutil.rmtree(path)
    remove_drafts(folder)


def remove_drafts(folder: Path) -> None:
    """Takes away what a kill has left of saving and of removing. Raises: SystemRefusal where it may not."""
    with explained_os_errors("removing unfinished checkpoints"):
        for path in folder.glob(".step-*.partial"):
            shutil.rmtree(path)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists, keys strings."""
    return json.loads(json.dumps(value))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys.

    >>> _flat({"seed": 1, "lora": {"rank": 8}})
    {'seed': 1, 'lora.rank': 8}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    parts = [_flat(inner, f"{prefix}.{key}" if prefix else key) for key, inner in value.items()]
    return {key: inner for part in parts for key, inner in part.items()}


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key], ensure_ascii=False) if key in settings else "not set"
