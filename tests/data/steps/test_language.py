from __future__ import annotations

import pytest

from data.steps.proses import CHINESE, ENGLISH
from data.steps.treated import judged
from setsail.base.errors import RecipeError

GERMAN = (
    "Der Kessel war das Erste, was Martha auspackte, als sie an die Küste zogen, und seitdem steht er auf dem Herd."
)


def test_only_wanted_languages_stay() -> None:
    assert judged("language", ENGLISH) is None and judged("language", CHINESE) is None
    verdict = judged("language", GERMAN)
    assert verdict and verdict.reason == "other_language" and verdict.detail.startswith("de ")
    assert judged("language", GERMAN, keep=["de"]) is None
    assert judged("language", ENGLISH, keep=["zh"]) is not None


def test_a_language_among_others_is_enough_when_asked() -> None:
    assert judged("language", ENGLISH, min_confidence=1.0) is not None
    assert judged("language", GERMAN, min_confidence=0.0) is None


def test_short_texts_code_and_numbers_are_not_guessed_at() -> None:
    for text in ("OK", "", "Guten Morgen", "12345 " * 99, f"```\n{GERMAN}\n```", "https://example.org/der/kessel " * 9):
        assert judged("language", text) is None
    assert judged("language", "Guten Morgen", min_letters=5) is not None


def test_cantonese_and_classical_chinese_are_chinese() -> None:
    assert judged("language", "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？") is None


def test_a_word_is_no_code() -> None:
    with pytest.raises(RecipeError, match="keep"):
        judged("language", "x", keep=["english"])
