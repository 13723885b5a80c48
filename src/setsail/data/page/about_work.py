"""The chapters about what preparing met and did: the source, every drop, every change, copies, personal data."""

from __future__ import annotations

from setsail.base.page.blocks import Block, Bullets, Cell, Chapter, Column, Exchange, Part, Prose, Table
from setsail.base.page.drawing import bar
from setsail.base.page.words import Words
from setsail.data.page.figures import Figures, File, Source
from setsail.data.page.said import said


def findings_chapter(figures: Figures, words: Words) -> Chapter:
    """What preparing said in whole sentences."""
    told = tuple(said(finding, words.language) for finding in figures.findings)
    return Chapter("findings", words("findings"), (Bullets(told),) if told else ())


def source_chapter(figures: Figures, words: Words) -> Chapter:
    """Licence and fingerprint, and how each file was understood."""
    source = figures.source
    if source.licence.name:
        licence = Prose(words("licence", licence=source.licence.name, where=source.licence.stated_in))
    else:
        licence = Prose(words("no_licence"), "open")
    blocks: list[Block] = [licence, _files(source, words)]
    if source.num_files > len(source.files):
        columns = (Column(words("form")), Column(words("num_files"), "number"))
        rows = tuple((Cell(kind), Cell(f"{count:,}")) for kind, count in source.kinds.items())
        blocks.append(Table(columns, rows, words("kinds")))
    blocks.append(Prose(words("fingerprint", fingerprint=source.fingerprint)))
    return Chapter("source", words("source"), tuple(blocks))


def _files(source: Source, words: Words) -> Table:
    columns = (
        Column(words("file"), "code"),
        *(Column(words(name)) for name in ("container", "encoding", "form")),
        Column(words("records"), "number"),
        Column(words("columns")),
    )
    rows = tuple(
        (
            Cell(file.place),
            *(Cell(text) for text in (file.container, file.encoding, file.form)),
            Cell(f"{file.num_records:,}"),
            Cell(_columns(file, words)),
        )
        for file in source.files
    )
    shown, all = len(source.files), f"{source.num_files:,}"
    caption = words("files") if shown == source.num_files else words("files_first", shown=shown, all=all)
    return Table(columns, rows, caption)


def _columns(file: File, words: Words) -> str:
    """What each column was taken for, and which are not used."""
    parts = [
        name if name == column else words("column_from", name=name, column=column)
        for name, column in file.columns.items()
    ]
    if file.unused:
        more = file.num_unused - len(file.unused)
        names = [*file.unused, *([words("more", count=f"{more:,}")] if more else [])]
        parts.append(words("unused", columns=", ".join(names)))
    return words.joined(parts)


def waterfall_chapter(figures: Figures, words: Words) -> Chapter:
    """Rows left after each step, and every reason for a drop."""
    blocks: list[Block] = [_waterfall(figures, words)]
    if figures.dropped:
        columns = (Column(words("reason")), Column(words("num_rows"), "number"), Column(words("first"), "code"))
        rows = tuple(
            (Cell(words.known(reason.name)), Cell(f"{reason.num_rows:,}"), Cell(", ".join(reason.first)))
            for reason in figures.dropped
        )
        blocks.append(Table(columns, rows, words("reasons")))
    return Chapter("waterfall", words("waterfall"), tuple(blocks))


def _waterfall(figures: Figures, words: Words) -> Table:
    columns = (
        Column(words("step")),
        Column(words("rows_left"), "number"),
        Column(words("removed"), "number"),
        Column("", "figure"),
    )
    rows = []
    before = figures.num_read
    for name, left in figures.steps:
        lost, before = before - left, left
        removed = Cell(f"{lost:,}" if lost else "–", "" if lost else "quiet")
        drawn = Cell("", figure=bar(left, figures.num_read, lost=lost))
        rows.append((Cell(words.known(name)), Cell(f"{left:,}"), removed, drawn))
    return Table(columns, tuple(rows), words("waterfall_how"))


def changes_chapter(figures: Figures, words: Words) -> Chapter:
    """How many rows each step changed, and some of them before and after it."""
    if not figures.changed:
        return Chapter("changes", words("changes"), ())
    columns = (Column(words("step")), Column(words("num_rows"), "number"), Column("", "figure"))
    rows = tuple(
        (Cell(words.known(step)), Cell(f"{count:,}"), Cell("", figure=bar(count, figures.num_read)))
        for step, count in figures.changed.items()
    )
    examples = (
        Exchange(
            f"{words.known(example.step)} · {example.origin}",
            (Part(words("before"), example.before), Part(words("after"), example.after, kind="reference")),
        )
        for example in figures.examples
    )
    return Chapter("changes", words("changes"), (Table(columns, rows, words("changed")), *examples))


def copies_chapter(figures: Figures, words: Words) -> Chapter:
    """How many rows say what another one says, and the largest clusters."""
    copies = figures.copies
    if not copies.clusters:
        return Chapter("copies", words("copies"), (Prose(words("no_copies")),))
    how = Prose(words("copies_how", exact=f"{copies.num_exact:,}", near=f"{copies.num_near:,}"))
    columns = (
        Column(words("stays"), "code"),
        Column(words("cluster_rows"), "number"),
        Column(words("excerpt")),
    )
    rows = tuple((Cell(each.origin), Cell(f"{each.num_rows:,}"), Cell(each.excerpt)) for each in copies.clusters)
    return Chapter("copies", words("copies"), (how, Table(columns, rows, words("clusters"))))


def privacy_chapter(figures: Figures, words: Words) -> Chapter:
    """What was looked for, and how many values of each kind were found."""
    if figures.redact == "none":
        return Chapter("privacy", words("privacy"), (Prose(words("not_looked"), "open"),))
    kinds = Prose(words("looked_for", kinds=words.joined([words.known(kind) for kind in figures.looked_for])))
    if not figures.redacted:
        return Chapter("privacy", words("privacy"), (Prose(words("found_none")), kinds))
    columns = (Column(words("value_kind")), Column(words("values"), "number"), Column("", "figure"))
    most = max(figures.redacted.values())
    rows = tuple(
        (Cell(f"{words.known(kind)} ({kind})"), Cell(f"{count:,}"), Cell("", figure=bar(count, most)))
        for kind, count in figures.redacted.items()
    )
    return Chapter("privacy", words("privacy"), (Table(columns, rows, words("found")), kinds))
