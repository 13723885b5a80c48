"""The chapter about what was forgotten: every skill before and after, and questions that the base alone answers."""

from __future__ import annotations

from setsail.base.page.blocks import Block, Cell, Chapter, Column, Exchange, Part, Prose, Table, Tone
from setsail.base.page.words import Words
from setsail.evaluate import guard, numbers
from setsail.evaluate.guard import LEAST_RISE, SKILL_NAMES, Guard, Skill
from setsail.evaluate.report import drawing
from setsail.evaluate.verdict import METRIC_NAMES

_TONES: dict[str, Tone] = {"dropped": "bad", "held": "open", "gained": "good"}


def guard_chapter(found: Guard, words: Words) -> Chapter:
    """The sentence, red where something dropped; the skills; and of each that dropped a few lost questions."""
    columns = (
        Column(words("skill")),
        Column(words("metric")),
        Column(words("guard_base"), "number"),
        Column(words("guard_tuned"), "number"),
        Column(words("difference"), "number"),
        Column(words("interval"), "number"),
        Column("", "figure"),
        Column(words("decision")),
    )
    rows = tuple(_row(name, skill, words) for name, skill in found.skills.items())
    how = words("guard_how", version=found.version, least=f"{LEAST_RISE:.0%}".replace("%", " %"))
    told = Prose(guard.sentence(found, words.language), "bad" if found.dropped else "good")
    lost = [
        _exchange(f"{SKILL_NAMES[name][words.language == 'zh']} {number}", each, words)
        for name in found.dropped
        for number, each in enumerate(found.skills[name].lost, start=1)
    ]
    blocks: list[Block] = [told, Prose(how), Table(columns, rows)]
    if lost:
        blocks += [Prose(words("guard_lost")), *lost]
    return Chapter("forgetting", words("forgetting"), tuple(blocks))


def _row(name: str, skill: Skill, words: Words) -> tuple[Cell, ...]:
    tone = _TONES[skill.outcome]
    reach = max(abs(skill.gap.low), abs(skill.gap.high)) or 1.0
    # What the base cannot do it cannot lose: not to have dropped says nothing then.
    cannot = skill.metric == "accuracy" and skill.base == 0
    return (
        Cell(SKILL_NAMES[name][words.language == "zh"]),
        Cell(METRIC_NAMES[skill.metric][words.language == "zh"]),
        Cell(numbers.metric_value(skill.metric, skill.base)),
        Cell(numbers.metric_value(skill.metric, skill.tuned)),
        Cell(numbers.metric_value(skill.metric, skill.gap.value, signed=True)),
        Cell(numbers.metric_interval(skill.metric, skill.gap, signed=True)),
        Cell("", figure=drawing.whisker(skill.gap, -reach, reach, zero=True, tone=tone)),
        Cell(words("guard_cannot" if cannot and skill.outcome == "held" else f"guard_{skill.outcome}"), tone),
    )


def _exchange(title: str, lost: guard.Lost, words: Words) -> Exchange:
    return Exchange(
        title,
        (
            Part(words("question"), lost.prompt, kind="question"),
            Part(words.known("base"), lost.base or words("empty")),
            Part(words.known("tuned"), lost.tuned or words("empty")),
        ),
    )
