"""The page about a search: tune.html and tune.md, the same text and figures in both."""

from __future__ import annotations

from pathlib import Path

from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import duration
from setsail.base.page.blocks import Block, Cell, Chapter, Column, Document, Figure, KeyFigure, Prose, Table
from setsail.base.page.drawing import bar
from setsail.base.page.html import to_html
from setsail.base.page.markdown import to_markdown
from setsail.base.page.words import Language, Words
from setsail.tune.record import Record, settings_line
from setsail.tune.trial import Trial
from setsail.tune.words import words_in

PAGE = "tune.html"
MOST_TRIALS = 100
_ORDER = {"complete": 0, "pruned": 1, "running": 2, "waiting": 3, "failed": 4}


def build(out: Path, record: Record, *, language: Language, drawn: str = "") -> None:
    """Writes tune.html and tune.md into `out`; `drawn` is the curve of the best against time, as SVG."""
    page = document(record, words_in(language), drawn)
    with explained_os_errors("writing the page about the search"):
        write_atomically(out / PAGE, to_html(page))
        write_atomically(out / "tune.md", to_markdown(page))


def document(record: Record, words: Words, drawn: str) -> Document:
    """The whole page in one language; chapters without content are left out."""
    chapters = (_test(record, words), _curve(words, drawn), _importance(record, words), _trials(record, words))
    best = None if record.best is None else record.trial(record.best)
    return Document(
        language=words.language,
        title=record.name,
        subtitle=words("subtitle"),
        verdict=verdict(record, words.language),
        tone="open" if best is None else "good",
        key_figures=_key_figures(record, words),
        chapters=tuple(chapter for chapter in chapters if chapter.blocks),
        words={"kind": words("kind"), "contents": words("contents"), "created": words("created")},
    )


def verdict(record: Record, language: Language) -> str:
    """What the search came to, in a sentence or two."""
    words = words_in(language)
    if record.best is None:
        return words("verdict_none")
    best = record.trial(record.best)
    own = next((trial for trial in record.trials if trial.facts.get("is_own")), None)
    told = words(
        "verdict_own" if own is not None and own.number == best.number else "verdict",
        number=best.number,
        num=record.count("complete") + record.count("pruned"),
        measure=words.known(record.measure),
        score=f"{best.score:.4f}",
        settings=settings_line(best),
    )
    is_other = record.recipe_trial is not None and record.recipe_trial != record.best
    return f"{told} {words('linear_best')}" if is_other else told


def _key_figures(record: Record, words: Words) -> tuple[KeyFigure, ...]:
    best = None if record.best is None else record.trial(record.best)
    counts = {state: record.count(state) for state in ("pruned", "failed", "waiting")}
    budget = record.budget_seconds
    return (
        KeyFigure(words("key_best"), "–" if best is None else f"{best.score:.4f}", words.known(record.measure)),
        KeyFigure(words("key_trials"), str(record.count("complete")), words("key_trials_note", **counts)),
        KeyFigure(
            words("key_time"),
            duration(record.seconds),
            "" if budget is None else words("key_time_note", budget=duration(budget)),
        ),
        KeyFigure(words("key_ended"), words.known(record.ended)),
    )


def _test(record: Record, words: Words) -> Chapter:
    if not record.test or record.best is None:
        return Chapter("test", words("test"), ())
    columns = (Column(words("metric")), Column(words("value"), "number"), Column(words("interval"), "number"))
    rows = tuple(
        (Cell(name.replace("_", " ")), Cell(f"{value:.4f}"), Cell(f"[{low:.4f}, {high:.4f}]"))
        for name, (value, low, high) in record.test.items()
    )
    how = Prose(words("test_how", what=settings_line(record.trial(record.best))))
    return Chapter("test", words("test"), (how, Table(columns, rows)))


def _curve(words: Words, drawn: str) -> Chapter:
    blocks: tuple[Block, ...] = (Figure(drawn, words("curve_caption")),) if drawn else ()
    return Chapter("curve", words("curve"), blocks)


def _importance(record: Record, words: Words) -> Chapter:
    if not record.importance:
        return Chapter("importance", words("importance"), ())
    columns = (Column(words("setting"), "text"), Column(words("share"), "number"), Column("", "figure"))
    rows = tuple(
        (Cell(name), Cell(f"{share:.0%}"), Cell("", figure=bar(share, 1.0)))
        for name, share in record.importance.items()
    )
    return Chapter("importance", words("importance"), (Prose(words("importance_how")), Table(columns, rows)))


def _trials(record: Record, words: Words) -> Chapter:
    if not record.trials:
        return Chapter("trials", words("trials"), ())
    columns = (
        Column(words("number"), "number"),
        Column(words("state")),
        Column(words.known(record.measure), "number"),
        Column(words("took"), "number"),
        Column(words("settings")),
        Column(words("why")),
    )
    ranked = sorted(record.trials, key=_rank)
    rows = tuple(
        (
            Cell(str(trial.number)),
            Cell(words.known(trial.state), "good" if trial.number == record.best else ""),
            Cell("–" if trial.score is None else f"{trial.score:.4f}"),
            Cell(duration(trial.seconds)),
            Cell(settings_line(trial)),
            Cell(trial.why),
        )
        for trial in ranked[:MOST_TRIALS]
    )
    caption = words("more_trials", shown=MOST_TRIALS, num=len(ranked)) if len(ranked) > MOST_TRIALS else ""
    return Chapter("trials", words("trials"), (Table(columns, rows, caption),))


def _rank(trial: Trial) -> tuple[float, ...]:
    return (_ORDER[trial.state], float("inf") if trial.score is None else trial.score, trial.number)
