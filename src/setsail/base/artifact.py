"""Artefacts: folders in a format that the world reads, with a manifest of what is in them and where it came from.

An artefact's identity is the hash of its kind, its stage's part of the recipe and its parents' identities, so that a
finished stage can be recognised and a changed one cannot be mistaken for it. The folder's name carries the identity;
it appears only when everything in it is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from setsail.base.errors import ArtifactError, DamagedArtifact
from setsail.base.files import explained_os_errors, publish_folder, sha256_of, write_atomically
from setsail.base.machine import versions

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What an artefact's `manifest.json` holds."""

    kind: str
    id: str
    format_version: int = FORMAT_VERSION
    parents: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True)
class Artifact:
    """A published folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def metrics(self) -> dict[str, Any]:
        return self.manifest.metrics

    def file(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            ArtifactError: when the manifest does not list it.
        """
        if name not in self.manifest.files:
            known = ", ".join(sorted(self.manifest.files))
            raise ArtifactError(
                f'no file "{name}" in this {self.manifest.kind}', place=str(self.path), hint=f"it has {known}"
            )
        return self.path / name


def identity(kind: str, recipe: Mapping[str, Any], parents: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """The identity of what a stage would make: 64 hex digits.

    `facts` are what the recipe does not say but the result depends on: the hash of a source file, a package's version.
    """
    whole = {"format": FORMAT_VERSION, "kind": kind, "recipe": recipe, "parents": parents, "facts": facts}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def folder_name(kind: str, id: str) -> str:
    """The name under which an artefact is published: kind and the first 12 digits of its identity."""
    return f"{kind}-{id[:12]}"


def open_draft(run: Path, kind: str, id: str, *, keep: bool = False) -> Path:
    """An artefact's folder while it is being made; `keep` leaves what a killed attempt has already written."""
    draft = run / f"{folder_name(kind, id)}.partial"
    with explained_os_errors(f"making {draft.name}"):
        if draft.exists() and not keep:
            shutil.rmtree(draft)
        draft.mkdir(parents=True, exist_ok=True)
        for unfinished in draft.rglob(".*.tmp"):  # of a write that was killed
            unfinished.unlink()
    return draft


def publish(
    draft: Path,
    *,
    kind: str,
    id: str,
    parents: Mapping[str, str],
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Artifact:
    """Hashes everything in the draft, writes the manifest, and gives the folder its final name."""
    with explained_os_errors(f"publishing {kind}"):
        manifest = sealed(draft, kind=kind, id=id, parents=parents, recipe=recipe, metrics=metrics)
        final = draft.with_name(folder_name(kind, id))
        if final.exists():
            shutil.rmtree(final)
        publish_folder(draft, final)
    return Artifact(final, manifest)


def sealed(
    folder: Path,
    *,
    kind: str,
    id: str = "",
    parents: Mapping[str, str],
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any],
) -> Manifest:
    """Hashes everything in a folder and writes its manifest."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = Manifest(
        kind=kind,
        id=id,
        parents=dict(parents),
        recipe=dict(recipe or {}),
        files=files,
        metrics=dict(metrics),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=1, default=str)
    write_atomically(folder / MANIFEST, text + "\n")
    return manifest


def open_artifact(path: Path, *, verify: bool = True) -> Artifact:
    """Reads a published folder; with `verify`, every file is held against its recorded size and hash.

    Raises:
        DamagedArtifact: no manifest, a file that is missing or was changed.
        ArtifactError: it was written by a newer setsail.
    """
    manifest = _read_manifest(path)
    if verify:
        _verify(path, manifest)
    return Artifact(path, manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = json.loads((path / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise DamagedArtifact(
            "this folder has no manifest.json", place=str(path), hint="was it made by setsail?"
        ) from None
    except (ValueError, OSError) as error:
        raise DamagedArtifact(f"its manifest.json cannot be read: {error}", place=str(path), hint=_REBUILD) from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise DamagedArtifact("its manifest.json is not a manifest", place=str(path), hint=_REBUILD)
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"this folder was written by a newer setsail (format {version}; this one reads up to {FORMAT_VERSION})",
            place=str(path),
            hint="update setsail, or use another name for the run",
        )
    try:
        return Manifest(**raw)
    except TypeError as error:
        raise DamagedArtifact(
            f"its manifest.json is not a manifest: {error}", place=str(path), hint=_REBUILD
        ) from error


_REBUILD = "delete this folder and type the same command again: it will be rebuilt"


def _verify(path: Path, manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        file = path / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DamagedArtifact(f'its manifest names a file outside it: "{name}"', place=str(path), hint=_REBUILD)
        if not file.is_file():
            raise DamagedArtifact(f'"{name}" is missing', place=str(path), hint=_REBUILD)
        if file.stat().st_size != entry["bytes"] or sha256_of(file) != entry["sha256"]:
            raise DamagedArtifact(f'"{name}" was changed or damaged after it was made', place=str(path), hint=_REBUILD)


def parents_of(**artifacts: Artifact) -> dict[str, str]:
    """The parents' identities by name, as a manifest keeps them."""
    return {name: artifact.id for name, artifact in artifacts.items()}


def total_bytes(artifacts: Sequence[Artifact]) -> int:
    """The size of everything in these artefacts, in bytes."""
    return sum(entry["bytes"] for artifact in artifacts for entry in artifact.manifest.files.values())
