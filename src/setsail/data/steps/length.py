"""Rows of a wanted length, in characters or in words; a Chinese character is a word."""

from __future__ import annotations

from pydantic import Field, model_validator

from setsail.base.recipe_part import Part
from setsail.data.steps.script import num_words
from setsail.data.steps.step import Step, Verdict


class Options(Part):
    """The shortest and the longest text that stays, all turns of a conversation together."""

    min_characters: int = Field(default=1, ge=0)
    max_characters: int | None = Field(default=None, ge=1)
    min_words: int = Field(default=0, ge=0)
    max_words: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _leaves_something(self) -> Options:
        for low, high in ((self.min_characters, self.max_characters), (self.min_words, self.max_words)):
            if high is not None and low > high:
                raise ValueError(f"the shortest text, {low}, is longer than the longest, {high}")
        return self


def step(options: Options) -> Step:
    """The step `length`."""

    def judge(text: str) -> Verdict | None:
        verdict = _out_of(len(text), options.min_characters, options.max_characters, "characters")
        if verdict is None and (options.min_words or options.max_words):
            verdict = _out_of(num_words(text), options.min_words, options.max_words, "words")
        return verdict

    return Step("length", judge=judge)


def _out_of(count: int, low: int, high: int | None, noun: str) -> Verdict | None:
    if count < low:
        return Verdict("too_short", f"{count} {noun} < {low}")
    if high is not None and count > high:
        return Verdict("too_long", f"{count} {noun} > {high}")
    return None
