"""The whole battery as a list of items: texts whose cost is measured, and questions whose answers are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from setsail.evaluate.battery.checks import Check, last_number
from setsail.evaluate.battery.instructions import CHINESE, ENGLISH
from setsail.evaluate.battery.sums import sums

VERSION = 1

# What a model is examined in, and in which metric.
SKILLS: Mapping[str, str] = {
    "english_text": "bits_per_byte",
    "chinese_text": "bits_per_byte",
    "english_instructions": "accuracy",
    "chinese_instructions": "accuracy",
    "sums": "accuracy",
}
_SHOWN = "2 + 3 = 5\n9 - 4 = 5\n3 × 2 = 6\n"  # before a sum, for a model that only goes on with texts


@dataclass(frozen=True)
class Passage:
    """A text to be foreseen token by token."""

    skill: str
    id: str
    text: str


@dataclass(frozen=True)
class Question:
    """A prompt, how its answer is told to be right, and how many tokens the answer may have."""

    skill: str
    id: str
    prompt: str
    check: Check
    max_tokens: int


def passages() -> tuple[Passage, ...]:
    """The texts of both languages, of many registers."""
    found = []
    for language in ("english", "chinese"):
        text = resources.files("setsail.evaluate.battery").joinpath(f"{language}.txt").read_text("utf-8")
        parts = text.strip().split("\n\n")
        found += [Passage(f"{language}_text", f"{language}-{n}", part) for n, part in enumerate(parts, start=1)]
    return tuple(found)


def questions(*, answers: bool) -> tuple[Question, ...]:
    """What is asked of a model that `answers`: instructions and sums; of one that goes on with texts, sums alone."""
    asked = []
    for language, instructions in (("english", ENGLISH), ("chinese", CHINESE)) if answers else ():
        asked += [
            Question(f"{language}_instructions", f"{language}-instruction-{n}", each.prompt, each.check, 40)
            for n, each in enumerate(instructions, start=1)
        ]
    for n, each in enumerate(sums(), start=1):
        prompt = f"{each.asked} = ?" if answers else f"{_SHOWN}{each.asked} ="
        asked.append(Question("sums", f"sum-{n}", prompt, last_number(each.answer), 12))
    return tuple(asked)
