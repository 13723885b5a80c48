"""Figures of texts written from texts: equal to sacrebleu's and rouge-score's, drawn again, compared, on a ladder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from setsail.data.row import Message, Row
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.pair_baselines import copied, extracted, leading, sentences, word_by_word, writing
from setsail.evaluate.pair_metrics import SUMS, Texts, bleu_counts, bleu_of, placeholders, rouge_n
from setsail.evaluate.pair_scores import COMPARISONS, evaluate_pairs
from setsail.evaluate.report.about_ladder import ladder_chapter
from setsail.evaluate.report.about_scores import scores_chapter
from setsail.evaluate.report.words import words_in
from setsail.evaluate.score import Plan
from setsail.evaluate.system import Answer, System

ENGLISH = [
    "the",
    "cat,",
    "sat",
    "on",
    "a",
    "mat.",
    "don't",
    "see",
    "%(name)s?",
    "3.5",
    "dogs-and_cats",
    "(it)",
    "runs!",
]
CHINESE = [*"猫坐在垫子上，你看见了吗？请输入有效的邮箱地址。", "Django", "3.5"]
TRANSLATING = ("bleu", "bits_per_byte", "chrf", "length_ratio", "exact_text", "placeholders_kept", "exact_stop")


def texts(words: Sequence[str], num: int, seed: int, *, between: str = " ") -> list[str]:
    chance = random.Random(seed)
    return [between.join(chance.choices(words, k=chance.randrange(0, 14))) for _ in range(num)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("words", "tokenizer", "between"), [(ENGLISH, "13a", " "), (CHINESE, "zh", "")])
def test_bleu_is_that_of_sacrebleu(words: list[str], tokenizer: str, between: str, seed: int) -> None:
    """On few and on many rows, empty answers among them, and where no n-gram of the largest order is right."""
    num = 2 if seed % 2 else 40
    answers, references = (texts(words, num, seed + part, between=between) for part in (0, 100))
    references = [reference or words[0] for reference in references]
    expected = BLEU(tokenize=tokenizer).corpus_score(answers, [references]).score
    assert float(bleu_of(bleu_counts(answers, references).sum(axis=0))) == pytest.approx(expected, abs=1e-9)
    half = [f"{reference}{between}{answer}" for reference, answer in zip(references, answers, strict=True)]
    expected = BLEU(tokenize=tokenizer).corpus_score(half, [references]).score
    assert float(bleu_of(bleu_counts(half, references).sum(axis=0))) == pytest.approx(expected, abs=1e-9)
    assert expected > 10


@pytest.mark.parametrize("size", [1, 2])
def test_rouge_n_is_that_of_rouge_score(size: int) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer([f"rouge{size}"])
    answers, references = texts(ENGLISH, 40, 1), texts(ENGLISH, 40, 2)
    expected = [
        scorer.score(reference, answer)[f"rouge{size}"].fmeasure
        for answer, reference in zip(answers, references, strict=True)
    ]
    assert rouge_n(answers, references, size) == pytest.approx(expected)
    assert rouge_n(["今天下雨"], ["今天下雪了"], 2) == [pytest.approx(2 * 2 / (3 + 4))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Delete %(count)d of %s?", ["%(count)d", "%s"]),
        ("{0} and {name!r} and {}", ["{0}", "{name!r}", "{}"]),
        ("{{ user.name }} {% url %}", ["{{ user.name }}", "{% url %}"]),
        ('<a href="/x">here</a>&nbsp;', ['<a href="/x">', "</a>", "&nbsp;"]),
        ("see https://a.io/b?c=1 or 1,000.5", ["https://a.io/b?c=1", "1,000.5"]),
        ("100 % sure, 3 < 4", ["100", "3", "4"]),
    ],
)
def test_placeholders_are_found(text: str, found: list[str]) -> None:
    assert placeholders(text) == found


def test_what_a_source_and_its_reference_share_should_stand_in_the_answer() -> None:
    given = Texts(["%(a)s has 2", "plain", "%s %s"], ["%(a)s 有两个", "无", "%s%s"], ["%(b)s", "x", "%s"])
    kept = SUMS["placeholders_kept"](given)
    assert (kept.tops, kept.bottoms) == ([0.0, 0.0, 1.0], [1.0, 0.0, 2.0])
    assert kept.counting == [0, 2]
    assert SUMS["exact_text"](Texts(["a"] * 2, ["b  c", "d"], [" b c", "D"])).tops == [1.0, 0.0]


def pair(number: int, source: str, target: str) -> Row:
    turns: tuple[Message, ...] = ({"role": "user", "content": source}, {"role": "assistant", "content": target})
    system: Message = {"role": "system", "content": "Translate."}
    return Row(f"r{number:03}", (system, *turns), "", "", f"t:{number}")


TRAIN = [
    pair(0, "the red house", "红房子"),
    pair(1, "the blue house", "蓝房子"),
    pair(2, "a red car", "红车"),
    pair(3, "a blue car", "蓝车"),
    pair(4, "save %(name)s", "保存%(name)s"),
]


def test_a_word_list_is_learned_from_pairs() -> None:
    write = word_by_word(TRAIN)
    assert write("Red") == "红" and write("blue") == "蓝" and write("car") == "车"
    assert write("red Zebra %(who)s") == "红Zebra%(who)s"


def test_first_and_central_sentences_are_taken_as_many_as_validate_best() -> None:
    text = "Birds sing. The river floods the town. The town fears the river flood. Cake is nice."
    one = [pair(0, text, "Birds sing.")]
    assert leading(one)(text) == "Birds sing." and leading([])(text) == "Birds sing."
    assert leading([pair(0, text, text)])(text) == " ".join(sentences(text)[:3])
    assert extracted([pair(0, text, "The river floods the town.")])(text) in sentences(text)[1:3]
    assert extracted([])("") == "" and leading([])("一。二。三。") == "一。"


def systems(good: float) -> dict[str, System]:
    chance = random.Random(4)

    def answers(prompts: Sequence[tuple[Message, ...]]) -> list[Answer]:
        said = [prompt[-1]["content"] for prompt in prompts]
        return [Answer(f"译{text}" if chance.random() < good else "不知道", True, 3) for text in said]

    return {
        "tuned": System(answers=answers, nats=lambda rows: [3.0] * len(rows)),
        "copy": writing(copied),
        "nearest": fit_nearest(TRAIN).system(),
        "words": writing(word_by_word(TRAIN)),
    }


def evaluated(out: Path, good: float):
    rows = [pair(n, word, f"译{word}") for n, word in enumerate(texts(ENGLISH, 40, 5)) if word]
    making = {"tuned": 100.0, "copy": 0.0, "nearest": 0.1, "words": 0.2}
    plan = Plan(COMPARISONS["translate"], num_samples=2, resamples=300, seed=1)
    return rows, evaluate_pairs(systems(good), rows, out, metrics=TRANSLATING, plan=plan, making=making, core_hour=0.05)


def test_an_evaluation_has_the_metrics_of_its_task_with_intervals_and_a_ladder(tmp_path: Path) -> None:
    rows, evaluation = evaluated(tmp_path, 1.0)
    tuned, copy = evaluation.systems["tuned"].metrics, evaluation.systems["copy"].metrics
    told = ["bits_per_byte", "bleu", "chrf", "exact_text", "placeholders_kept", "exact_stop", "length_ratio"]
    assert list(tuned) == [*told, "num_tokens"]
    assert set(told) - set(copy) == {"bits_per_byte", "exact_stop"}
    assert tuned["bleu"].value == pytest.approx(100) and tuned["exact_text"].value == 1.0
    assert tuned["placeholders_kept"].num_units < tuned["chrf"].num_units == len(rows)
    assert [(each.system, each.against) for each in evaluation.comparisons] == [
        ("tuned", "nearest"),
        ("tuned", "words"),
        ("tuned", "copy"),
    ]
    assert evaluation.decision == "better" and "Also better on BLEU" in evaluation.verdict
    assert evaluation.ladder is not None and evaluation.ladder.metric == "chrf"
    assert [rung.system for rung in evaluation.ladder.rungs] == ["copy", "nearest", "words", "tuned"]
    assert evaluation.ladder.stop == "tuned"
    assert all(rung.cost.thousand >= 0 for rung in evaluation.ladder.rungs)
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation


def test_the_interval_of_bleu_is_drawn_over_rows_and_its_difference_is_paired(tmp_path: Path) -> None:
    rows, evaluation = evaluated(tmp_path, 0.6)
    bleu = evaluation.systems["tuned"].metrics["bleu"]
    assert bleu.low < bleu.value < bleu.high and bleu.num_units == len(rows)
    against = next(each for each in evaluation.comparisons if each.against == "copy")
    gap = against.differences["bleu"]
    copy = evaluation.systems["copy"].metrics["bleu"]
    assert gap.gap.value == pytest.approx(bleu.value - copy.value)
    assert gap.gap.high - gap.gap.low < (bleu.high - bleu.low) + (copy.high - copy.low)
    assert (gap.system_value, gap.against_value) == (bleu.value, copy.value)
    # Drawn by hand with the same seed: the resampled corpus is scored whole.
    given = [(f"译{row.messages[1]['content']}", row.messages[2]["content"]) for row in rows]
    counts = bleu_counts([one for one, _ in given], [two for _, two in given])
    rng = np.random.default_rng(1)
    draw = rng.integers(0, len(rows), size=len(rows))
    expected = BLEU(tokenize="13a").corpus_score([given[at][0] for at in draw], [[given[at][1] for at in draw]]).score
    assert float(bleu_of(counts[draw].sum(axis=0))) == pytest.approx(expected)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_tells_it_in_both_languages(tmp_path: Path, language) -> None:
    _, evaluation = evaluated(tmp_path, 0.6)
    words = words_in(language)
    assert evaluation.ladder is not None
    shown = str(scores_chapter(evaluation, words)) + str(ladder_chapter(evaluation.ladder, None, words))
    wanted = (
        ("Placeholders kept", "chrF to the best", "word by word")
        if language == "en"
        else ("占位符保留率", "与最好者的chrF之差", "逐词翻译")
    )
    assert all(word in shown for word in wanted)
