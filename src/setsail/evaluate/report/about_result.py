"""The chapters about the result: faithfulness, files, where everything came from, the recipe, what to type next."""

from __future__ import annotations

from collections.abc import Mapping

from setsail.base.page import drawing
from setsail.base.page.blocks import Block, Cell, Chapter, Code, Column, Prose, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers
from setsail.evaluate.report.facts import Check, Command, FileFact, Licence, Origins, StageTime


def faithfulness_chapter(checks: tuple[Check, ...], words: Words) -> Chapter:
    """Whether all hold, and if not which stage differs first; then every check."""
    if not checks:
        return Chapter("faithfulness", words("faithfulness"), ())
    failed = [check for check in checks if not check.passed]
    if failed:
        stage = words.known(failed[0].stage)
        summary = Prose(words("unfaithful", failed=len(failed), total=len(checks), stage=stage), "bad")
    else:
        summary = Prose(words("faithful", total=len(checks)), "good")
    columns = (
        Column(words("stage")),
        Column(words("check")),
        Column(words("value"), "number"),
        Column(words("allowed"), "number"),
        Column(words("result")),
    )
    rows = tuple(
        (
            Cell(words.known(check.stage)),
            Cell(words.known(check.check)),
            Cell(numbers.short(check.value)),
            Cell(check.allowed),
            Cell(words("holds" if check.passed else "fails"), "good" if check.passed else "bad"),
        )
        for check in checks
    )
    return Chapter("faithfulness", words("faithfulness"), (summary, Table(columns, rows)))


def files_chapter(files: tuple[FileFact, ...], words: Words) -> Chapter:
    """Each file with its size and hash."""
    columns = (Column(words("file"), "code"), Column(words("size"), "number"), Column("sha256", "code"))
    rows = tuple((Cell(file.name), Cell(numbers.size(file.num_bytes)), Cell(file.sha256)) for file in files)
    return Chapter("files", words("files"), (Table(columns, rows),) if rows else ())


def origins_chapter(origins: Origins, words: Words) -> Chapter:
    """Times, machine, versions and licences."""
    blocks: list[Block] = []
    if origins.times:
        blocks.append(_times(origins.times, words))
    if origins.licences:
        blocks.append(_licences(origins.licences, words))
    if origins.machine:
        blocks.append(_pairs(origins.machine, words("thing"), words("what_value"), words("machine")))
    if origins.versions:
        blocks.append(_pairs(origins.versions, words("package"), words("version"), words("versions")))
    return Chapter("origins", words("origins"), tuple(blocks))


def recipe_chapter(recipe: str, words: Words) -> Chapter:
    """The resolved recipe."""
    blocks = (Prose(words("recipe_how")), Code(recipe, "yaml")) if recipe else ()
    return Chapter("recipe", words("recipe"), blocks)


def next_chapter(commands: tuple[Command, ...], words: Words) -> Chapter:
    """Commands to type, each with what it does."""
    columns = (Column(words("command"), "code"), Column(words("meaning")))
    rows = tuple((Cell(command.command), Cell(command.meaning)) for command in commands)
    return Chapter("next", words("next"), (Table(columns, rows),) if rows else ())


def _times(times: tuple[StageTime, ...], words: Words) -> Table:
    longest = max(time.seconds for time in times)
    columns = (Column(words("stage")), Column(words("seconds"), "number"), Column("", "figure"), Column(""))
    rows = [
        (
            Cell(words.known(time.stage)),
            Cell(numbers.duration(time.seconds)),
            Cell("", figure=drawing.bar(time.seconds, longest)),
            Cell(words("was_there") if time.skipped else "", "quiet"),
        )
        for time in times
    ]
    total = sum(time.seconds for time in times)
    rows.append((Cell(words("total")), Cell(numbers.duration(total)), Cell(""), Cell("")))
    return Table(columns, tuple(rows), words("times"))


def _licences(licences: tuple[Licence, ...], words: Words) -> Table:
    columns = (Column(words("thing")), Column(words("licence")), Column(words("licence_source")))
    rows = tuple((Cell(entry.what), Cell(entry.licence), Cell(entry.source)) for entry in licences)
    return Table(columns, rows, words("licences"))


def _pairs(pairs: Mapping[str, str], left: str, right: str, caption: str) -> Table:
    rows = tuple((Cell(name), Cell(value)) for name, value in pairs.items())
    return Table((Column(left), Column(right)), rows, caption)
