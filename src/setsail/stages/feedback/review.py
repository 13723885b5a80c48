"""Reviewing answers in a terminal, one by one; each decision is kept at once, so that the review can be left anywhere.

The invariant: what is typed is written into the log alone, sealed; an editor gets a file in memory where there is one.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from setsail.base.environment import read_environment
from setsail.base.errors import UserError
from setsail.base.log import Log
from setsail.serve.feedback.record import Answered, Decided, Verdict, now
from setsail.serve.feedback.standing import Standing
from setsail.stages.feedback.rows import as_correction
from setsail.stages.feedback.verbs import Desk, checked, open_desk
from setsail.stages.feedback.words import conversation_words

_MEMORY = Path("/dev/shm")
_VERDICTS: dict[str, Verdict] = {"a": "approved", "r": "rejected"}
_HELP = (
    "a approve, c correct on one line, e correct in $EDITOR, u use the client's correction, r reject, s skip, q quit"
)

Turn = Literal["decided", "skipped", "left"]


def review(
    path: Path, answers: Path | None = None, key_file: Path | None = None, *, ask: Callable[[str], str] = input
) -> None:
    """Shows each answer that waits and asks what to make of it; the end of the input quits.

    Raises: UserError as `open_desk` does.
    """
    log = Log()
    desk = open_desk(path, answers, key_file, log=log)
    waiting = desk.review.waiting()
    log.say(f"  {len(waiting)} wait; {_HELP}")
    done: Counter[str] = Counter()
    for number, standing in enumerate(waiting, 1):
        record = desk.review.read(standing)
        if record is None:
            continue
        print(f"\n[{number}/{len(waiting)}] " + "\n".join(conversation_words(standing, record)))
        outcome = _one(desk, standing, record, ask, log)
        if outcome is None:
            break
        done[outcome] += 1
    left = len(waiting) - sum(number for what, number in done.items() if what != "skipped")
    told = ", ".join(f"{number} {what}" for what, number in done.items())
    log.say(f"  {told or 'nothing decided'}; {left} wait")
    log.say(f"next   setsail feedback export {path} rows.jsonl")


def _one(desk: Desk, standing: Standing, record: Answered, ask: Callable[[str], str], log: Log) -> str | None:
    """What was decided of one answer, "skipped", or None to leave."""
    while True:
        try:
            said = ask("a/c/e/u/r/s/q > ").strip().lower()[:1]
            if said == "q":
                return None
            if said == "s":
                return "skipped"
            if said in _VERDICTS:
                if said == "a":
                    checked(desk, standing, None)
                desk.decide([Decided(standing.id, now(), _VERDICTS[said])])
                return _VERDICTS[said]
            if said in ("c", "e", "u"):
                text = _correction(said, standing, record, ask, log)
                checked(desk, standing, text)
                desk.decide([Decided(standing.id, now(), "corrected", text)])
                return "corrected"
            log.say(f"  {_HELP}")
        except EOFError:
            return None
        except UserError as error:
            log.say(f"  {error}")


def _correction(way: str, standing: Standing, record: Answered, ask: Callable[[str], str], log: Log) -> str:
    if way == "u":
        return standing.rated.correction if standing.rated else ""
    if way == "c":
        return ask("correction > ")
    return edited(as_correction(record), log)


def edited(text: str, log: Log) -> str:
    """A text as the user's editor leaves it, without the line break at its end.

    Raises: UserError where no editor is named, or it fails.
    """
    editor = read_environment().editor
    if editor is None:
        raise UserError("no editor is named", hint="export EDITOR=nano, or type c")
    in_memory = _MEMORY.is_dir()
    if not in_memory:
        log.say("  this machine has no folder in memory: the text lies on the disk while it is edited")
    with tempfile.TemporaryDirectory(dir=_MEMORY if in_memory else None) as folder:
        file = Path(folder, "answer.txt")
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except (OSError, ValueError) as error:
            raise UserError(f"the editor cannot be started: {error}", place="EDITOR") from None
        if done.returncode:
            raise UserError(f"the editor ended with {done.returncode}: nothing is decided", place="EDITOR")
        return file.read_text("utf-8").removesuffix("\n")
