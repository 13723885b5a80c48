"""Facts become a document: the head with what it all comes to, and the chapters that have something to say.

This is the only place that knows the order of the page. Not here: HTML or Markdown.
"""

from __future__ import annotations

from setsail.base.page.blocks import Chapter, Document, KeyFigure, Tone
from setsail.base.page.words import Words
from setsail.evaluate import numbers, verdict
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.report.about_classes import classes_chapter
from setsail.evaluate.report.about_data import data_chapter, rendered_chapter
from setsail.evaluate.report.about_guard import guard_chapter
from setsail.evaluate.report.about_ladder import ladder_chapter
from setsail.evaluate.report.about_result import (
    faithfulness_chapter,
    files_chapter,
    next_chapter,
    origins_chapter,
    recipe_chapter,
)
from setsail.evaluate.report.about_scores import TONES, samples_chapter, scores_chapter
from setsail.evaluate.report.about_searches import missed_chapter
from setsail.evaluate.report.about_slices import slices_chapter
from setsail.evaluate.report.about_training import training_chapter
from setsail.evaluate.report.facts import ReportFacts
from setsail.evaluate.report.words import words_in

KEY_METRICS = (
    ("macro_f1", "key_f1"),
    ("accuracy", "key_accuracy"),
    ("preference_accuracy", "key_preference"),
    ("ndcg_at_10", "key_ndcg"),
    ("spearman", "key_spearman"),
    ("chrf", "key_chrf"),
    ("bits_per_byte", "key_bits"),
    ("bits_per_masked_byte", "key_masked"),
)


def document(facts: ReportFacts, language: verdict.Language) -> Document:
    """The whole page in one language; chapters without content are left out."""
    words = words_in(language)
    text, tone = _verdict(facts.evaluation, words)
    return Document(
        language=language,
        title=facts.name,
        subtitle=_subtitle(facts, words),
        verdict=text,
        tone=tone,
        key_figures=_key_figures(facts, words),
        chapters=tuple(chapter for chapter in _chapters(facts, words) if chapter.blocks),
        words={key: words(key) for key in ("kind", "contents")} | {"created": words("created", created=facts.created)},
    )


def evaluation_document(evaluation: Evaluation, name: str, language: verdict.Language) -> Document:
    """A page about an evaluation alone."""
    words = words_in(language)
    text, tone = _verdict(evaluation, words)
    chapters = (*_evaluation_chapters(evaluation, words), samples_chapter(evaluation, words))
    return Document(
        language=language,
        title=name,
        subtitle=words("evaluation_alone", rows=numbers.count(evaluation.num_rows)),
        verdict=text,
        tone=tone,
        key_figures=tuple(_score_figures(evaluation, words)),
        chapters=tuple(chapter for chapter in chapters if chapter.blocks),
        words={key: words(key) for key in ("kind", "contents")} | {"created": ""},
    )


def _chapters(facts: ReportFacts, words: Words) -> list[Chapter]:
    found = facts.evaluation
    return [
        next_chapter(facts.commands, words),
        *(_evaluation_chapters(found, words) if found else []),
        faithfulness_chapter(facts.faithfulness, words),
        data_chapter(facts.data, words),
        rendered_chapter(facts.data, words),
        training_chapter(facts.training, words),
        files_chapter(facts.files, words),
        *([samples_chapter(found, words)] if found else []),
        origins_chapter(facts.origins, words),
        recipe_chapter(facts.recipe, words),
    ]


def _evaluation_chapters(found: Evaluation, words: Words) -> list[Chapter]:
    """Everything that was measured; the answers to read come later on the page."""
    chapters = [scores_chapter(found, words)]
    if found.guard:
        chapters.append(guard_chapter(found.guard, words))
    if found.ladder:
        chapters.append(ladder_chapter(found.ladder, found.more_rows, words))
    if found.slices:
        chapters.append(slices_chapter(found.slices, words))
    if found.classes:
        chapters.append(classes_chapter(found.classes, words))
    return [*chapters, missed_chapter(found.missed, words)]


def _verdict(evaluation: Evaluation | None, words: Words) -> tuple[str, Tone]:
    if evaluation is None or not evaluation.comparisons:
        return words("no_verdict"), "open"
    first = evaluation.comparisons[0]
    return verdict.sentence(first, words.language), TONES[first.decision]


def _subtitle(facts: ReportFacts, words: Words) -> str:
    if facts.base and facts.data.source:
        return words("subtitle", base=facts.base, source=facts.data.source)
    return words("subtitle_base", base=facts.base) if facts.base else facts.data.source


def _key_figures(facts: ReportFacts, words: Words) -> tuple[KeyFigure, ...]:
    figures = _score_figures(facts.evaluation, words) if facts.evaluation else []
    if facts.faithfulness:
        passed, total = sum(check.passed for check in facts.faithfulness), len(facts.faithfulness)
        text = words("key_faithful_of", passed=passed, total=total)
        tone: Tone = "good" if passed == total else "bad"
        figures.append(KeyFigure(words("key_faithful"), text, words("key_faithful_hold"), tone))
    if facts.training.plan:
        figures.append(KeyFigure(words("key_rows"), numbers.count(facts.training.plan.num_rows)))
    if facts.origins.times:
        seconds = sum(time.seconds for time in facts.origins.times)
        figures.append(KeyFigure(words("key_time"), numbers.duration(seconds), words("key_time_note")))
    return tuple(figures)


def _score_figures(evaluation: Evaluation, words: Words) -> list[KeyFigure]:
    """The judged figures that matter most, of the first comparison."""
    if not evaluation.comparisons:
        return []
    first = evaluation.comparisons[0]
    figures = []
    for metric, key in KEY_METRICS:
        found = first.differences.get(metric)
        if found is not None:
            against = numbers.metric_value(metric, found.against_value)
            figures.append(
                KeyFigure(
                    words(key, system=words.known(first.system)),
                    numbers.metric_value(metric, found.system_value),
                    words("key_against", against=words.known(first.against), value=against),
                    TONES[found.decision],
                )
            )
    return figures
