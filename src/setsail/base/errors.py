"""The exceptions that reach a person, and the exit code that each one means.

A message has the value, the place and a hint. Everything that is a user's to mend descends from `UserError`;
a broken promise of our own is an `AssertionError` or any other exception, and is reported as our fault.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from difflib import get_close_matches

EXIT_DONE = 0
EXIT_OUR_FAULT = 1
EXIT_USER_INPUT = 2
EXIT_CHECK_REFUSED = 3


class SetsailError(Exception):
    """Any error that we raise on purpose: what happened, where, and what to type next."""

    exit_code = EXIT_OUR_FAULT
    label = "error"

    def __init__(self, message: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.label}: {self.message}{where}{hint}"


class Stopped(SetsailError):
    """Somebody pressed Ctrl-C; the exit code is the shell's for it."""

    exit_code = 128 + signal.SIGINT
    label = "stopped"

    def __init__(self) -> None:
        super().__init__(
            "nothing that was finished is lost",
            hint="type the same command to go on from the last finished piece of work",
        )


class UserError(SetsailError):
    """Input that the user can mend; exit code 2."""

    exit_code = EXIT_USER_INPUT
    label = "input error"


class RecipeError(UserError):
    """A recipe that cannot be read: unknown key, wrong type, value out of range."""

    label = "recipe error"


class DataError(UserError):
    """Data that cannot be read, or from which too little is left."""

    label = "data error"


class ModelError(UserError):
    """Weights, adapters or tokenizers that are missing, damaged, unsafe or of the wrong kind."""

    label = "model error"


class ArtifactError(UserError):
    """A run folder that is damaged, incomplete or from a newer version."""

    label = "artefact error"


class DamagedArtifact(ArtifactError):
    """An artefact whose files are not what its manifest says; it can be made again."""


class SystemRefusal(UserError):
    """The machine said no: disk full, no permission, port taken, too little memory."""

    label = "system error"


class CheckRefused(SetsailError):
    """A check found that a promise does not hold; exit code 3."""

    exit_code = EXIT_CHECK_REFUSED
    label = "check refused"


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or lists what exists.

    >>> did_you_mean("learnin_rate", ["learning_rate", "epochs"])
    'did you mean "learning_rate"?'
    >>> did_you_mean("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(set(known))
    near = get_close_matches(value, names, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else "known: " + ", ".join(names)
