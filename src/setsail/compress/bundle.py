"""A bundle for the edge: one folder that runs with one small engine, and the trial of its own program.

The program (`edge/*.py`) is copied as it stands. `Trial` runs it in a fresh process in which torch, transformers and
setsail cannot be imported, so that what a bundle needs is what it says. What does not live here: which run a bundle is
made of, and what its model should say (`stages/export/bundle.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from setsail.base.errors import CheckRefused
from setsail.base.log import size

PROGRAM, REQUIREMENTS, LICENCES = "run.py", "requirements.txt", "LICENCES.md"
BLOCKED = ("torch", "transformers", "setsail")  # what a bundle runs without
ENGINES = {"onnx": ("onnxruntime", "tokenizers", "numpy"), "gguf": ("xllamacpp",)}
_PROGRAMS = {
    **dict.fromkeys(("classify", "labels", "regress", "grade", "relate"), "labels"),
    **dict.fromkeys(("tag", "answer"), "tokens"),
    **dict.fromkeys(("embed", "rank"), "search"),
}
_MOST_OFF = 1e-4  # the same file, the same engine: only the digits that are printed may part them


@dataclass(frozen=True)
class Licence:
    """What a part of the model came from, and under which licence."""

    what: str
    licence: str
    source: str = ""


@dataclass(frozen=True)
class Measured:
    """A fresh process of the bundle's program: until its first answer, for its second one, and its peak memory.

    `peak_bytes` is None where the system does not tell it of a process.
    """

    first_seconds: float
    next_seconds: float
    peak_bytes: int | None


def write_program(folder: Path, task: str, *, engine: str) -> None:
    """Puts run.py and requirements.txt, pinned to what is installed here, into a folder."""
    source = files("setsail.compress.edge") / f"{_PROGRAMS.get(task, 'text')}.py"
    (folder / PROGRAM).write_text(source.read_text("utf-8"), encoding="utf-8")
    pinned = "".join(f"{name}=={metadata.version(name)}\n" for name in ENGINES[engine])
    (folder / REQUIREMENTS).write_text(pinned, encoding="utf-8")


def write_licences(folder: Path, licences: Sequence[Licence]) -> None:
    """Says what stands behind the weights, as the run knows it."""
    lines = ["# Licences · 许可", "", "| part · 部分 | licence · 许可 | from · 来源 |", "|---|---|---|"]
    lines += [f"| {each.what} | {each.licence} | {each.source} |" for each in licences]
    text = "\n".join([*lines, "", "As the sources themselves state it. · 以来源自身的声明为准。"])
    (folder / LICENCES).write_text(text + "\n", encoding="utf-8")


def try_program(folder: Path, asked: Mapping[str, Any]) -> tuple[dict[str, Any], Measured]:
    """What the folder's program answers to a question, in a fresh process without torch, transformers and setsail.

    Raises:
        CheckRefused: it ends without an answer; what it said last stands in the message.
    """
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in BLOCKED)
    code = f"import runpy, sys; {blocked}; sys.argv = ['run.py']; runpy.run_path('run.py', run_name='__main__')"
    line = json.dumps(asked, ensure_ascii=False) + "\n"
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
        subprocess.Popen(
            [sys.executable, "-X", "utf8", "-c", code],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        first, first_seconds = _ask(process, line, began)
        again = time.monotonic()
        second, next_seconds = _ask(process, line, again) if first else ("", 0.0)
        peak = _peak_bytes(process.pid)
        process.communicate()
        said.seek(0)
        last = said.read().strip()[-600:]
    if not second:
        raise CheckRefused(f"the bundle's program gave no answer: {last}", place=str(folder / PROGRAM))
    return json.loads(second), Measured(round(first_seconds, 3), round(next_seconds, 3), peak)


def _ask(process: subprocess.Popen[str], line: str, began: float) -> tuple[str, float]:
    """The line that answers, "" where the process has ended, and the seconds since `began`."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except BrokenPipeError:
        return "", 0.0
    return process.stdout.readline(), time.monotonic() - began


def _peak_bytes(pid: int) -> int | None:
    """The largest memory that a living process has held, by Linux's own account."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def differences(expected: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """The names of what the program says otherwise than the checked model, numbers within their last digits."""
    return [name for name, value in expected.items() if name not in said or not _alike(value, said[name])]


def _alike(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, float | int) and isinstance(theirs, float | int):
        return abs(ours - theirs) <= _MOST_OFF * max(1.0, abs(ours))
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(_alike(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    return ours == theirs


def in_words(measured: Measured) -> str:
    """What a trial showed, in a line."""
    peak = "" if measured.peak_bytes is None else f", {size(measured.peak_bytes)} of memory at most"
    return f"first answer after {measured.first_seconds:.2f} s, the next in {measured.next_seconds:.3f} s{peak}"
