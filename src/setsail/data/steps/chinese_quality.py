"""Whether a Chinese text reads like prose, by what Chinese has instead of Gopher's words; others are not judged.

Chinese has no spaces, so that nothing here counts words. The kinds of rules are those of Chinese web corpora (Chen et
al. 2023, ChineseWebText, arXiv 2311.01149: share of Chinese characters, mean line length, total length) and of Gopher
(characters that no Chinese prose does without, bullets, ellipses). The thresholds are ours, and lower than a web corpus
would set them, because a founder's own documents are no crawl.
"""

from __future__ import annotations

from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.script import is_chinese, num_han
from setsail.data.steps.step import Step, Verdict

_NEEDED = "的是不了在有和一"
_STOPS = "。！？；，、：…!?;,:"
_BULLETS = ("-", "*", "•", "·", "●", "▪", "◆", "■", "★")
_ELLIPSES = ("...", "…", "。。。")


class Options(Part):
    """The thresholds: characters are Chinese ones, shares are of all characters that are not white space."""

    min_characters: int = Field(default=50, ge=0)
    max_characters: int = Field(default=200_000, ge=1)
    min_chinese: float = Field(default=0.3, ge=0, le=1)
    min_line: float = Field(default=10.0, ge=0)
    min_stops: float = Field(default=0.01, ge=0, le=1)
    max_stops: float = Field(default=0.4, ge=0, le=1)
    max_bullets: float = Field(default=0.9, ge=0, le=1)
    max_ellipses: float = Field(default=0.3, ge=0, le=1)
    min_needed: int = Field(default=2, ge=0, le=8)


def step(options: Options) -> Step:
    """The step `chinese_quality`."""

    def judge(text: str) -> Verdict | None:
        if not is_chinese(text):
            return None
        found = _of_characters(text, options) or _of_lines(text, options)
        return Verdict("not_prose", found) if found else None

    return Step("chinese_quality", judge=judge)


def _of_characters(text: str, options: Options) -> str:
    """What speaks against the characters of a text, or ""."""
    han = num_han(text)
    if not options.min_characters <= han <= options.max_characters:
        bound = f"< {options.min_characters}" if han < options.min_characters else f"> {options.max_characters}"
        return f"Chinese characters {han} {bound}"
    visible = len("".join(text.split()))
    if han < options.min_chinese * visible:
        return f"share of Chinese characters {han / visible:.2f} < {options.min_chinese}"
    stops = sum(map(text.count, _STOPS)) / visible
    if not options.min_stops <= stops <= options.max_stops:
        bound = f"< {options.min_stops}" if stops < options.min_stops else f"> {options.max_stops}"
        return f"share of punctuation {stops:.3f} {bound}"
    needed = sum(character in text for character in _NEEDED)
    return f"common characters {needed} < {options.min_needed}" if needed < options.min_needed else ""


def _of_lines(text: str, options: Options) -> str:
    """What speaks against the lines of a text, or ""."""
    lines = [line.strip() for line in text.split("\n") if line and not line.isspace()]
    mean = sum(map(len, lines)) / len(lines)
    if mean < options.min_line:
        return f"mean line length {mean:.1f} < {options.min_line}"
    bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
    if bullets > options.max_bullets:
        return f"lines with a bullet {bullets:.2f} > {options.max_bullets}"
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
    return f"lines that end in … {ellipses:.2f} > {options.max_ellipses}" if ellipses > options.max_ellipses else ""
