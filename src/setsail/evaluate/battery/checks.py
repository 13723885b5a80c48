"""What an answer must be like, as functions that say yes or no; each instruction of the battery has one.

An answer is taken without the white space around it. Where case, quotation marks and a last full stop do not matter,
the check's own sentence says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal

Check = Callable[[str], bool]

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]")
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_AROUND = " \t\n\"'“”‘’「」。.!！"
_NUMBER = re.compile(r"-?\d+")


def says(*wanted: str) -> Check:
    """One of these and nothing else; case, spaces, quotation marks and a last full stop do not matter."""
    return lambda answer: _bare(answer) in {_bare(text) for text in wanted}


def contains(*wanted: str) -> Check:
    """Each of these somewhere, in whatever case."""
    return lambda answer: all(text.casefold() in answer.casefold() for text in wanted)


def starts_with(wanted: str) -> Check:
    """This at the beginning, to the letter, and something behind it."""
    return lambda answer: answer.strip().startswith(wanted) and len(answer.strip()) > len(wanted)


def ends_with(wanted: str) -> Check:
    """This at the end, and something before it; case, quotation marks and a last full stop do not matter."""
    return lambda answer: (
        answer.strip(_AROUND).casefold().endswith(wanted.casefold()) and len(_bare(answer)) > len(wanted)
    )


def lines(number: int, mark: str = "") -> Check:
    """So many lines that are not empty, each beginning with `mark`."""

    def check(answer: str) -> bool:
        found = [line.strip() for line in answer.splitlines() if line.strip()]
        return len(found) == number and all(line.startswith(mark) for line in found)

    return check


def most_words(number: int) -> Check:
    """At least two words between spaces, and no more than so many."""
    return lambda answer: 2 <= len(answer.split()) <= number


def most_characters(number: int) -> Check:
    """At least two Han characters, and no more than so many."""
    return lambda answer: 2 <= len(_HAN.findall(answer)) <= number


def in_case(case: Literal["upper", "lower"]) -> Check:
    """Two Latin letters at least, all of them in this case."""

    def check(answer: str) -> bool:
        letters = "".join(_LATIN.findall(answer))
        return len(letters) >= 2 and letters == getattr(letters, case)()

    return check


def in_language(language: Literal["en", "zh"]) -> Check:
    """More than half of the letters are Han characters, or at most a tenth; two letters at least."""

    def check(answer: str) -> bool:
        han, latin = len(_HAN.findall(answer)), len(_LATIN.findall(answer))
        if han + latin < 2:
            return False
        return han > latin if language == "zh" else 9 * han <= latin

    return check


def json_object(*keys: str) -> Check:
    """A JSON object with exactly these keys, in a fence or not."""

    def check(answer: str) -> bool:
        value = _json(answer)
        return isinstance(value, dict) and set(value) == set(keys)

    return check


def json_list(number: int) -> Check:
    """A JSON list of so many elements, in a fence or not."""

    def check(answer: str) -> bool:
        value = _json(answer)
        return isinstance(value, list) and len(value) == number

    return check


def last_number(wanted: int) -> Check:
    """The last whole number of the first line that is not empty is this one; "17 + 5 = 22" says 22."""

    def check(answer: str) -> bool:
        first = next((line for line in answer.splitlines() if line.strip()), "")
        numbers = _NUMBER.findall(first.replace(",", "").replace("\N{MINUS SIGN}", "-"))
        return bool(numbers) and int(numbers[-1]) == wanted

    return check


def every(*checks: Check) -> Check:
    """All of these."""
    return lambda answer: all(check(answer) for check in checks)


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text.strip(_AROUND)).casefold()


def _json(answer: str) -> object:
    text = answer.strip()
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except ValueError:
        return None
