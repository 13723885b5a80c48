"""The chapters about the rows that are left: the parts, labels, lengths, scripts, and rows to read."""

from __future__ import annotations

from itertools import pairwise

from setsail.base.page.blocks import Block, Cell, Chapter, Column, Exchange, Part, Prose, Table
from setsail.base.page.drawing import bar
from setsail.base.page.words import Words
from setsail.data.page.figures import Figures, Label, PartFigures, Sample
from setsail.data.page.measure import SAMPLE_CHARACTERS

FEW_ROWS = 10  # of a label in train, below which little is learned
MOST_FREQUENT, RAREST = 20, 10


def parts_chapter(figures: Figures, words: Words) -> Chapter:
    """How the rows were shared out, the size of each part, groups, and rows that were made."""
    how, column = figures.split
    blocks: list[Block] = [Prose(words(how, column=f"“{column}”"))]
    grouped = sum(part.num_in_groups for part in figures.parts)
    if grouped:
        blocks.append(Prose(words("groups_how", rows=f"{grouped:,}")))
    blocks.append(_parts(figures.parts, bool(grouped), words))
    made = {way: count for part in figures.parts for way, count in part.made.items()}
    if made:
        rows = tuple((Cell(words.known(way)), Cell(f"{count:,}")) for way, count in made.items())
        blocks.append(Table((Column(words("way")), Column(words("num_rows"), "number")), rows, words("made")))
    return Chapter("parts", words("parts"), tuple(blocks))


def _parts(parts: tuple[PartFigures, ...], grouped: bool, words: Words) -> Table:
    whole = sum(part.num_rows for part in parts)
    numbers = ["num_rows", "share", "characters", *(["groups", "largest_group"] if grouped else [])]
    columns = (Column(words("part")), *(Column(words(name), "number") for name in numbers), Column("", "figure"))
    rows = []
    for part in parts:
        figures = [f"{part.num_rows:,}", percent(part.num_rows, whole), f"{part.lengths.num_characters:,}"]
        figures += [f"{part.num_groups:,}", f"{part.largest_group:,}"] if grouped else []
        drawn = Cell("", figure=bar(part.num_rows, whole))
        rows.append((Cell(words.known(part.name)), *map(Cell, figures), drawn))
    return Table(columns, tuple(rows))


def labels_chapter(figures: Figures, words: Words) -> Chapter:
    """Labels by part, the most frequent and the rarest, and how many are rare."""
    labels = figures.labels
    if not labels:
        return Chapter("labels", words("labels"), ())
    blocks: list[Block] = []
    rare = sum(label.num_rows[0] < FEW_ROWS for label in labels)
    if rare:
        blocks.append(Prose(words("rare", rare=f"{rare:,}", count=f"{len(labels):,}", few=FEW_ROWS), "open"))
    count = f"{figures.num_labels:,}"
    if len(labels) <= MOST_FREQUENT + RAREST:
        blocks.append(_labels(labels, labels[0].num_rows[0], words("labels_table", count=count), words))
    else:
        caption = words("labels_ends", count=count, most=MOST_FREQUENT, least=RAREST)
        ends = (*labels[:MOST_FREQUENT], *labels[-RAREST:])
        blocks.append(_labels(ends, labels[0].num_rows[0], caption, words))
    return Chapter("labels", words("labels"), tuple(blocks))


def _labels(labels: tuple[Label, ...], most: int, caption: str, words: Words) -> Table:
    parts = (Column(words.known(part), "number") for part in ("train", "validation", "test"))
    columns = (Column(words("label")), *parts, Column("", "figure"))
    rows = tuple(
        (
            Cell(label.name),
            Cell(f"{label.num_rows[0]:,}", "open" if label.num_rows[0] < FEW_ROWS else ""),
            *(Cell(f"{count:,}") for count in label.num_rows[1:]),
            Cell("", figure=bar(label.num_rows[0], most)),
        )
        for label in labels
    )
    return Table(columns, rows, caption)


def lengths_chapter(figures: Figures, words: Words) -> Chapter:
    """Median, 95 % and longest of each part, and the histogram of train."""
    names = ("median", "percentile_95", "longest")
    columns = (Column(words("part")), *(Column(words(name), "number") for name in names))
    rows = tuple(
        (Cell(words.known(part.name)), *(Cell(f"{getattr(part.lengths, name):,}") for name in names))
        for part in figures.parts
        if part.num_rows
    )
    blocks = (Table(columns, rows, words("lengths_table")), _histogram(_counted(figures), words))
    return Chapter("lengths", words("lengths"), blocks)


def _counted(figures: Figures) -> PartFigures:
    """The part whose lengths are drawn: what is learned from, or asked where nothing is learned."""
    return next(part for part in figures.parts if part.num_rows)


def _histogram(part: PartFigures, words: Words) -> Table:
    buckets = part.lengths.buckets
    ends = [start - 1 for _, (start, _) in pairwise(buckets)] + [part.lengths.longest]
    most = max((count for _, count in buckets), default=0)
    rows = tuple(
        (
            Cell(words("from_to", low=f"{start:,}", high=f"{end:,}") if end > start else f"{start:,}"),
            Cell(f"{count:,}"),
            Cell(percent(count, part.num_rows)),
            Cell("", figure=bar(count, most)),
        )
        for (start, count), end in zip(buckets, ends, strict=True)
    )
    columns = (
        Column(words("characters"), "number"),
        Column(words("num_rows"), "number"),
        Column(words("share"), "number"),
        Column("", "figure"),
    )
    return Table(columns, rows, words("histogram"))


def scripts_chapter(figures: Figures, words: Words) -> Chapter:
    """The scripts of train that occur, most first."""
    scripts = sorted(figures.parts[0].scripts.items(), key=lambda item: -item[1])
    whole = sum(count for _, count in scripts)
    rows = tuple(
        (
            Cell(words.known(script)),
            Cell(f"{count:,}"),
            Cell(percent(count, whole)),
            Cell("", figure=bar(count, whole)),
        )
        for script, count in scripts
        if count
    )
    columns = (
        Column(words("script")),
        Column(words("characters"), "number"),
        Column(words("share"), "number"),
        Column("", "figure"),
    )
    return Chapter("scripts", words("scripts"), (Table(columns, rows, words("scripts_table")),))


def samples_chapter(figures: Figures, words: Words) -> Chapter:
    """A few rows of each part."""
    how = Prose(words("samples_how", most=SAMPLE_CHARACTERS))
    rows = (_sample(part.name, sample, words) for part in figures.parts for sample in part.samples)
    return Chapter("samples", words("samples"), (how, *rows))


def _sample(part: str, sample: Sample, words: Words) -> Exchange:
    title = [words("sample", part=words.known(part), id=sample.id, origin=sample.origin), sample.label, *sample.marks]
    if len(sample.turns) < sample.num_turns:
        title.append(words("turns_left", shown=len(sample.turns), all=f"{sample.num_turns:,}"))
    turns = tuple(
        Part(words.known(role), text, kind="question" if role == "user" else "answer") for role, text in sample.turns
    )
    return Exchange(" · ".join(piece for piece in title if piece), turns)


def percent(part: int, whole: int) -> str:
    """A share with one digit; what is there is never said to be nothing.

    >>> percent(1, 3), percent(1, 10_000), percent(0, 5)
    ('33.3 %', '< 0.1 %', '0.0 %')
    """
    share = part / whole if whole else 0.0
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")
