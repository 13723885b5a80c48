"""What was forgotten: the battery's items before and after tuning, paired item by item, and what that decides.

A skill has dropped when the whole 95 % interval of its paired difference lies on the bad side; for the cost of texts,
on the bad side of a rise that is too small to matter (`LEAST_RISE`): every tuning moves it a little, and with so many
tokens even a thousandth is shown. Not here: asking a model (the stages), the items themselves (`battery/`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from setsail.base.errors import ArtifactError
from setsail.base.page.words import Language
from setsail.evaluate import numbers
from setsail.evaluate.battery.items import SKILLS
from setsail.evaluate.interval import MIN_UNITS, Interval, bootstrap, difference
from setsail.evaluate.verdict import METRIC_NAMES, spaced

FILE = "battery.json"
LEAST_RISE = 0.02  # of the base's bits per byte: less than this counts as nothing
NUM_LOST = 3  # items of a skill that are shown, which the base had right and the tuned model has not

Outcome = Literal["dropped", "held", "gained"]


@dataclass(frozen=True)
class Taken:
    """One item as a model did it: bits over bytes of a text, or 1 of 1 for a right answer; `prompt` and `answer`."""

    skill: str
    id: str
    value: float
    weight: float
    prompt: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Examination:
    """Every item of the battery as one model did it."""

    version: int
    items: tuple[Taken, ...]


@dataclass(frozen=True)
class Lost:
    """A question that the base answered rightly and the tuned model does not."""

    prompt: str
    base: str
    tuned: str


@dataclass(frozen=True)
class Skill:
    """One skill before and after: both values, tuned − base with its interval, and what that comes to."""

    metric: str
    num_items: int
    base: float
    tuned: float
    gap: Interval
    outcome: Outcome
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True)
class Guard:
    """What the battery of this version shows, by skill."""

    version: int
    skills: Mapping[str, Skill] = field(default_factory=dict)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The skills that dropped."""
        return tuple(name for name, skill in self.skills.items() if skill.outcome == "dropped")


def compare(base: Examination, tuned: Examination, *, resamples: int, seed: int) -> Guard:
    """Both examinations item by item.

    Raises: ValueError where they are not of the same items.
    """
    if [(item.skill, item.id) for item in base.items] != [(item.skill, item.id) for item in tuned.items]:
        raise ValueError("two examinations are compared item by item, and these have other items")
    skills = {}
    for name, metric in SKILLS.items():
        before, after = ([item for item in each.items if item.skill == name] for each in (base, tuned))
        if before:
            skills[name] = _skill(metric, before, after, resamples=resamples, seed=seed)
    return Guard(base.version, skills)


def _skill(metric: str, before: Sequence[Taken], after: Sequence[Taken], *, resamples: int, seed: int) -> Skill:
    weights = [item.weight for item in before]
    values = [[item.value for item in items] for items in (before, after)]
    gap = difference(values[1], values[0], weights=weights, resamples=resamples, seed=seed)
    base, tuned = (bootstrap(each, weights=weights, resamples=1, seed=seed).value for each in values)
    lost = [
        Lost(old.prompt, old.answer, new.answer)
        for old, new in zip(before, after, strict=True)
        if metric == "accuracy" and old.value > new.value
    ]
    return Skill(metric, len(before), base, tuned, gap, _outcome(metric, base, gap), tuple(lost[:NUM_LOST]))


def _outcome(metric: str, base: float, gap: Interval) -> Outcome:
    if gap.num_units < MIN_UNITS:
        return "held"
    if metric == "accuracy":
        return "dropped" if gap.high < 0 else "gained" if gap.low > 0 else "held"
    return "dropped" if gap.low > LEAST_RISE * base else "gained" if gap.high < 0 else "held"


SKILL_NAMES: Mapping[str, tuple[str, str]] = {
    "english_text": ("English text", "英文文本"),
    "chinese_text": ("Chinese text", "中文文本"),
    "english_instructions": ("English instructions", "英文指令"),
    "chinese_instructions": ("Chinese instructions", "中文指令"),
    "sums": ("sums", "算术"),
}
_SENTENCES: Mapping[str, tuple[str, str]] = {
    "held": (
        "No skill of the battery is shown to have dropped.",
        "题库中没有一项能力被证明下降。",
    ),
    "dropped": (
        "Tuning cost the model something that it could do before: {drops}.",
        "微调使模型丢掉了原有的能力：{drops}。",
    ),
    "drop": (
        "{skill}, {metric} {base} → {tuned} ({gap}, 95 % interval {interval})",
        "{skill}（{metric} {base} → {tuned}，变化 {gap}，95 % 区间 {interval}）",
    ),
}


def sentence(guard: Guard, language: Language = "en") -> str:
    """What was forgotten, in words with figures."""
    chinese = language == "zh"
    if not guard.dropped:
        return _SENTENCES["held"][chinese]
    drops = ("；" if chinese else "; ").join(_drop(name, guard.skills[name], chinese) for name in guard.dropped)
    text = _SENTENCES["dropped"][chinese].format(drops=drops)
    return spaced(text) if chinese else text


def _drop(name: str, skill: Skill, chinese: bool) -> str:
    return _SENTENCES["drop"][chinese].format(
        skill=SKILL_NAMES[name][chinese],
        metric=METRIC_NAMES[skill.metric][chinese],
        base=numbers.metric_value(skill.metric, skill.base),
        tuned=numbers.metric_value(skill.metric, skill.tuned),
        gap=numbers.metric_value(skill.metric, skill.gap.value, signed=True),
        interval=numbers.metric_interval(skill.metric, skill.gap, signed=True),
    )


def table(guard: Guard) -> list[str]:
    """The skills as lines of a terminal; what dropped has a cross."""
    marks = {"dropped": "✗", "held": "✓", "gained": "✓"}
    lines = [f"what was forgotten (battery {guard.version}, base → tuned, 95 % intervals)"]
    for name, skill in guard.skills.items():
        base, tuned = (numbers.metric_value(skill.metric, value) for value in (skill.base, skill.tuned))
        gap = numbers.metric_value(skill.metric, skill.gap.value, signed=True)
        interval = numbers.metric_interval(skill.metric, skill.gap, signed=True)
        what = f"{SKILL_NAMES[name][0]:<22}{METRIC_NAMES[skill.metric][0]:<15}"
        lines.append(f"{marks[skill.outcome]} {what}{base:>8} → {tuned:<8} {gap:>9} {interval}  {skill.outcome}")
    return lines


def write_examination(path: Path, examination: Examination) -> None:
    """battery.json: every item with its value and the answer that was given."""
    path.write_text(json.dumps(asdict(examination), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_examination(path: Path) -> Examination:
    """What a file holds. Raises: ArtifactError if it is damaged."""
    try:
        return TypeAdapter(Examination).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError("the battery's answers cannot be read", place=str(path), hint="evaluate again") from error
