"""Values of one answer against its reference, row by row, and the few that exist only over all rows.

Not here: intervals and differences (`interval.py`), and asking a model for its answers (`score.py`). Every function
gives one float per row in the order of its input, so that rows can be paired between systems.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from sacrebleu.metrics.chrf import CHRF

from setsail.base.tool_calls import calls_in

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """What a metric is called, which way is better, and whether it may speak in the verdict."""

    name: str
    better: Direction
    judged: bool = False


# The order is the order of every table. `neither` is described, never judged: a longer answer is no better.
METRICS = (
    Metric("macro_f1", "higher", judged=True),
    Metric("accuracy", "higher", judged=True),
    Metric("micro_f1", "higher", judged=True),
    Metric("r2", "higher", judged=True),
    Metric("entity_f1", "higher", judged=True),
    Metric("token_f1", "higher", judged=True),
    Metric("exact_match", "higher", judged=True),
    Metric("mae", "lower", judged=True),
    Metric("mse", "lower"),
    Metric("spearman", "higher", judged=True),
    Metric("kappa", "higher"),
    Metric("entity_precision", "higher"),
    Metric("entity_recall", "higher"),
    Metric("macro_precision", "higher"),
    Metric("macro_recall", "higher"),
    Metric("auroc", "higher"),
    Metric("ece", "lower"),
    Metric("ndcg_at_10", "higher", judged=True),
    Metric("mrr_at_10", "higher", judged=True),
    Metric("recall_at_1", "higher"),
    Metric("recall_at_10", "higher"),
    Metric("recall_at_100", "higher"),
    Metric("nats_per_row", "lower"),
    Metric("preference_accuracy", "higher", judged=True),
    Metric("preference_margin", "higher"),
    Metric("tool_name", "higher"),
    Metric("tool_arguments", "higher", judged=True),
    Metric("bits_per_byte", "lower", judged=True),
    Metric("bits_per_masked_byte", "lower", judged=True),
    Metric("bleu", "higher", judged=True),
    Metric("chrf", "higher", judged=True),
    Metric("rouge_1", "higher"),
    Metric("rouge_2", "higher"),
    Metric("rouge_l", "higher", judged=True),
    Metric("exact_text", "higher"),
    Metric("placeholders_kept", "higher"),
    Metric("exact_stop", "higher"),
    Metric("length_ratio", "neither"),
    Metric("num_tokens", "neither"),
    Metric("num_characters", "neither"),
)

# Metrics of rows whose reference calls a tool.
OF_CALLS = ("tool_name", "tool_arguments")

# Metrics that are bits over bytes, and under which name the nats of a row are kept.
NATS = {"bits_per_byte": "nats", "bits_per_masked_byte": "masked_nats"}

# Scripts written without spaces between words: each character is a token. Han with its extensions, kana, and the
# South-East Asian scripts; Korean puts spaces between words and is left to the word rule.
UNSPACED = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff\u31f0-\u31ff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_TOKEN = re.compile(f"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\\W_])+")


def chrf(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF of each row, 0 to 100: character n-grams up to 6, beta 2, spaces ignored.

    Source: Popović 2015, as computed by sacrebleu (`CHRF().sentence_score`). Works for Chinese as it stands.
    """
    scorer = CHRF()
    pairs = zip(answers, references, strict=True)
    return [scorer.sentence_score(answer, [reference]).score for answer, reference in pairs]


def corpus_chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """chrF over all rows at once, 0 to 100: long rows weigh more than in the mean of `chrf`."""
    return CHRF().corpus_score(list(answers), [list(references)]).score


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-L F1 of each row, 0 to 1: the longest common subsequence of tokens.

    Source: Lin 2004, sentence level, beta 1, no stemming. Equal to rouge-score's `rougeL` for ASCII; beyond ASCII
    rouge-score drops every letter (and gives 0 for Chinese), where `rouge_tokens` keeps them.

    >>> rouge_l(["the cat sat"], ["the cat sat down"])
    [0.8571428571428571]
    """
    pairs = zip(answers, references, strict=True)
    return [_lcs_f1(rouge_tokens(answer), rouge_tokens(reference)) for answer, reference in pairs]


def rouge_tokens(text: str) -> list[str]:
    """Lower-cased words; where a script has no spaces between words (Chinese, Japanese, Thai), its characters.

    >>> rouge_tokens("Don't use np.dot，用矩阵")
    ['don', 't', 'use', 'np', 'dot', '用', '矩', '阵']
    """
    return _TOKEN.findall(text.lower())


def lcs_length(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence.

    Source: Hyyrö 2004, bit-parallel: one row of the table lives in one integer, a zero bit marks a step of the length.
    """
    places: dict[Hashable, int] = {}
    for index, token in enumerate(left):
        places[token] = places.get(token, 0) | (1 << index)
    full = (1 << len(left)) - 1
    row = full
    for token in right:
        matches = row & places.get(token, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(left) - row.bit_count()


def _lcs_f1(answer: list[str], reference: list[str]) -> float:
    common = lcs_length(answer, reference)
    # 2PR/(P+R) with P = common/len(answer), R = common/len(reference); two empty texts share nothing.
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def of_margin(nats: float, nats_per_token: float) -> dict[str, float]:
    """The metrics of a row with two answers, from by how many nats the chosen one is preferred; a tie is half right.

    Accuracy goes by the mean per token: by the sum, the shorter answer would nearly always be the preferred one.

    Source: the length-normalised ranking accuracy of Chen et al. 2024 (arXiv 2405.19534).

    >>> of_margin(-2.5, 0.1)
    {'preference_accuracy': 1.0, 'preference_margin': -2.5}
    """
    right = 0.5 + 0.5 * (nats_per_token > 0) - 0.5 * (nats_per_token < 0)
    return {"preference_accuracy": right, "preference_margin": nats}


def of_calls(answer: str, reference: str) -> dict[str, float]:
    """Whether an answer calls the tools of the reference in its order, and with exactly its arguments.

    Nothing where the reference calls none.

    >>> right = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'
    >>> of_calls(right.replace("UTC", "CET"), right), of_calls("It is noon.", "It is noon.")
    ({'tool_name': 1.0, 'tool_arguments': 0.0}, {})
    """
    wanted, made = calls_in(reference), calls_in(answer)
    if not wanted:
        return {}
    names = made is not None and [call.name for call in made] == [call.name for call in wanted]
    return {"tool_name": float(names), "tool_arguments": float(made == wanted)}


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Bits that a model needs per byte of supervised text: nats / ln 2 / bytes. Lower is better.

    Units: `nats` is the sum of −ln p over every supervised token, the stop token of each answer included: not knowing
    where to stop costs. `num_bytes` is the UTF-8 length of the supervised text alone (see `question.answer_bytes`);
    the stop token has no bytes. So the figure can be compared between tokenizers. Over several rows, sum both first.
    """
    if num_bytes <= 0:
        raise ValueError(f"bits per byte needs at least one byte of text, got {num_bytes}")
    return nats / math.log(2) / num_bytes
