"""The chapters about scores: what may be said, every metric with its interval, the differences, answers to read."""

from __future__ import annotations

from collections.abc import Mapping

from setsail.base.page.blocks import Block, Bullets, Cell, Chapter, Column, Exchange, Part, Prose, Table, Tone
from setsail.base.page.words import Words
from setsail.data.row import BEFORE_SPEAKING
from setsail.evaluate import metrics, numbers, verdict
from setsail.evaluate.evaluation import Evaluation, Sample
from setsail.evaluate.interval import Interval
from setsail.evaluate.metrics import METRICS, Metric
from setsail.evaluate.report import drawing
from setsail.evaluate.report.exam_words import EXAM_NAMES
from setsail.evaluate.report.read_words import READ_NAMES

TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "not_shown": "open"}
PAIR_SYSTEMS = ("copy", "words", "lead", "extract")
READ_METRICS = ("micro_f1", "r2", "mae", "entity_f1", "token_f1", "exact_match")
PAIR_METRICS = ("bleu", "chrf", "rouge_1", "rouge_l", "exact_stop", "exact_text", "placeholders_kept", "length_ratio")
_TOLD_METRICS = (
    *("accuracy", *READ_METRICS, "auroc", "ece", "ndcg_at_10", "mrr_at_10", "recall_at_1", "spearman", "nats_per_row"),
    *("preference_accuracy", "preference_margin", "tool_arguments", *metrics.NATS, *PAIR_METRICS),
)
_TOLD_SYSTEMS = (
    *("nearest", "unigram", "tfidf", "majority", "random", "bm25", "tfidf_cosine", "base_vectors"),
    *PAIR_SYSTEMS,
    *READ_NAMES,
    *EXAM_NAMES,
)
_ARROWS = {"higher": "\u00a0↑", "lower": "\u00a0↓", "neither": ""}


def scores_chapter(evaluation: Evaluation, words: Words) -> Chapter:
    """The comparisons that the head of the page has not told, how it was scored, contamination, and the two tables."""
    language = words.language
    findings = [
        Prose(verdict.sentence(comparison, language), TONES[comparison.decision])
        for comparison in evaluation.comparisons[1:]
    ]
    grouped = evaluation.num_groups < evaluation.num_rows
    how = words(
        "scores_how_grouped" if grouped else "scores_how",
        rows=numbers.count(evaluation.num_rows),
        groups=numbers.count(evaluation.num_groups),
        resamples=numbers.count(evaluation.resamples),
    )
    blocks: list[Block] = [*findings, Prose(how)]
    if evaluation.contamination:
        blocks.append(Prose(_contamination(evaluation, words)))
    blocks.append(_scores(evaluation, words))
    blocks += [_differences(comparison, words) for comparison in evaluation.comparisons]
    blocks.append(Bullets(_definitions(evaluation, words)))
    return Chapter("scores", words("scores"), tuple(blocks))


def samples_chapter(evaluation: Evaluation, words: Words) -> Chapter:
    """The sample rows, and how they were chosen."""
    if not evaluation.samples:
        return Chapter("samples", words("samples"), ())
    shown = evaluation.comparisons[0].system if evaluation.comparisons else next(iter(evaluation.systems))
    how = verdict.samples_how(shown, len(evaluation.samples), evaluation.num_rows, words.language)
    exchanges = [_exchange(sample, words) for sample in evaluation.samples]
    return Chapter("samples", words("samples"), (Prose(how), *exchanges))


def _contamination(evaluation: Evaluation, words: Words) -> str:
    found = evaluation.contamination
    assert found is not None
    key = "contaminated" if found.exact or found.near else "clean_test"
    return words(
        key,
        total=numbers.count(found.num_test),
        exact=numbers.count(len(found.exact)),
        near=numbers.count(len(found.near)),
        kept=numbers.count(found.num_kept),
        threshold=numbers.short(found.threshold),
    )


def _scores(evaluation: Evaluation, words: Words) -> Table:
    columns = (
        Column(words("metric")),
        Column(words("who")),
        Column(words("value"), "number"),
        Column(words("interval"), "number"),
        Column("", "figure"),
    )
    rows: list[tuple[Cell, ...]] = []
    for metric in METRICS:
        held = {
            name: scores.metrics[metric.name]
            for name, scores in evaluation.systems.items()
            if metric.name in scores.metrics
        }
        rows += _metric_rows(metric, held, words)
    return Table(columns, tuple(rows), words("scores_table"))


def _metric_rows(metric: Metric, held: dict[str, Interval], words: Words) -> list[tuple[Cell, ...]]:
    if not held:
        return []
    low, high = min(held_.low for held_ in held.values()), max(held_.high for held_ in held.values())
    return [
        (
            Cell(metric_title(metric, words)),
            Cell(words.known(name)),
            Cell(numbers.metric_value(metric.name, interval.value)),
            Cell(numbers.metric_interval(metric.name, interval)),
            Cell("", figure=drawing.whisker(interval, low, high)),
        )
        for name, interval in held.items()
    ]


def _differences(comparison: verdict.Comparison, words: Words) -> Table:
    columns = (
        Column(words("metric")),
        Column(words("difference"), "number"),
        Column(words("interval"), "number"),
        Column("", "figure"),
        Column(words("decision")),
    )
    rows = tuple(
        _difference_row(metric, comparison.differences[metric.name], words)
        for metric in METRICS
        if metric.name in comparison.differences
    )
    pair = words("pair", system=words.known(comparison.system), against=words.known(comparison.against))
    return Table(columns, rows, words("differences", pair=pair))


def _difference_row(metric: Metric, found: verdict.Difference, words: Words) -> tuple[Cell, ...]:
    judged = metric.better != "neither"
    tone: Tone = TONES[found.decision] if judged else "quiet"
    reach = max(abs(found.gap.low), abs(found.gap.high)) or 1.0
    return (
        Cell(metric_title(metric, words)),
        Cell(numbers.metric_value(metric.name, found.gap.value, signed=True)),
        Cell(numbers.metric_interval(metric.name, found.gap, signed=True)),
        Cell("", figure=drawing.whisker(found.gap, -reach, reach, zero=True, tone=tone)),
        Cell(words(found.decision if judged else "described"), tone),
    )


def metric_title(metric: Metric, words: Words) -> str:
    """A metric's name at the head of a line, with an arrow to where better is."""
    name = verdict.METRIC_NAMES[metric.name][words.language == "zh"]
    return name[0].upper() * (name != "chrF") + name[name != "chrF" :] + _ARROWS[metric.better]


def _definitions(evaluation: Evaluation, words: Words) -> tuple[str, ...]:
    present = {metric for scores in evaluation.systems.values() for metric in scores.metrics}
    corpus = words.joined(
        [
            f"{words.known(name)} {numbers.metric_value('chrf', scores.corpus_chrf)}"
            for name, scores in evaluation.systems.items()
            if scores.corpus_chrf is not None
        ]
    )
    keys = [metric for metric in _TOLD_METRICS if metric in present]
    keys += [name for name in _TOLD_SYSTEMS if name in evaluation.systems]
    return tuple(words(f"about_{key}", corpus=corpus) for key in keys)


def _exchange(sample: Sample, words: Words) -> Exchange:
    # The system's message is the same in every row and stands, as tools do, among the rows that the model sees.
    asked = [message for message in sample.prompt if message["role"] not in BEFORE_SPEAKING]
    parts = [_turn(message, words) for message in asked]
    parts.append(Part(words("reference"), sample.reference, kind="reference"))
    for name, answer in sample.answers.items():
        chrf = numbers.metric_value("chrf", answer.chrf)
        note = words("sample_cut" if answer.stopped is False else "sample_note", chrf=chrf)
        parts.append(Part(words.known(name), answer.text or words("empty"), note))
    return Exchange(words("sample", row_id=sample.row_id), tuple(parts))


def _turn(message: Mapping[str, str], words: Words) -> Part:
    if message["role"] in ("assistant", "tool"):
        return Part(words.known(message["role"]), message["content"])
    return Part(words("question"), message["content"], kind="question")
