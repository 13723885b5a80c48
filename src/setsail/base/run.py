"""A run: the folder in which a recipe's artefacts stand, and the note of which of them are current.

`run.json` is replaced as a whole after each stage, so that a reader always sees a state that existed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from setsail.base.artifact import Artifact, open_artifact
from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.base.files import explained_os_errors, write_atomically

RUN_FILE = "run.json"
RUN_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run folder; it may not exist yet."""

    path: Path

    def current(self) -> dict[str, str]:
        """Stage names to the folders that hold their current result.

        Raises:
            ArtifactError: when the note is damaged or was written by a newer setsail.
        """
        file = self.path / RUN_FILE
        if not file.exists():
            return {}
        try:
            raw = json.loads(file.read_text("utf-8"))
            version, stages = raw["format_version"], raw["stages"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                "run.json cannot be read", place=str(file), hint="delete it and run the recipe again"
            ) from error
        if version > RUN_FORMAT:
            raise ArtifactError(
                f"this run was written by a newer setsail (format {version}; this one reads up to {RUN_FORMAT})",
                place=str(self.path),
                hint="update setsail, or give the run another name",
            )
        return dict(stages)

    def note(self, stage: str, artifact: Artifact) -> None:
        """Makes an artefact the current result of a stage."""
        stages = {**self.current(), stage: artifact.path.name}
        text = json.dumps({"format_version": RUN_FORMAT, "stages": stages}, indent=1)
        with explained_os_errors("noting a finished stage"):
            write_atomically(self.path / RUN_FILE, text + "\n")

    def artifact(self, stage: str, *, verify: bool = True) -> Artifact:
        """The current result of a stage, verified.

        Raises:
            ArtifactError: when the stage has not been run or its files were changed.
        """
        folder = self.current().get(stage)
        if folder is None:
            what = f'"{stage}" has not been made yet' if self.path.exists() else "there is no such run"
            raise ArtifactError(
                what, place=str(self.path), hint="setsail run RECIPE makes it; setsail runs lists what is here"
            )
        return open_artifact(self.path / folder, verify=verify)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second command from writing into the same run.

        Raises:
            SystemRefusal: when one is at work already, or the folder cannot be made.
        """
        with explained_os_errors(f"opening {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SystemRefusal(
                    "another setsail is working on this run",
                    place=str(self.path),
                    hint="wait for it, or use another name",
                ) from None
            yield
        finally:
            os.close(descriptor)


def find_runs(root: Path) -> list[Run]:
    """Every run under a folder, by name."""
    return [Run(file.parent) for file in sorted(root.glob(f"*/{RUN_FILE}"))]
