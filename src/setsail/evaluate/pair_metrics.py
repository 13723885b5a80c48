"""What is measured of a text written from another: BLEU, ROUGE, length, placeholders kept, exact matches.

Each metric is a mean over rows, a ratio of sums over rows, or a function of sums of counts over rows (BLEU), so that
all can be drawn again from figures of single rows. Not here: chrF and ROUGE-L (`metrics.py`), what follows from the
figures (`pair_scores.py`).

Legend: N rows, R resamples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from setsail.data.steps.script import is_chinese
from setsail.evaluate.metrics import rouge_tokens

_ORDER = 4
# What must stand in a translation as it stood: formats of Python, C and web templates, tags, addresses, numbers.
_PLACEHOLDER = re.compile(
    r"%\(\w+\)[#0\- +]*\d*(?:\.\d+)?[a-zA-Z]|%[sdrif]|\{\{.+?\}\}|\{%.+?%\}|\{[\w.!:]*\}|</?[a-zA-Z][^<>]*>"
    r"|&\w+;|https?://[^\s<>\"]+|\d+(?:[.,]\d+)*"
)


@dataclass(frozen=True)
class Texts:
    """Of N rows the sources, the references, and one system's answers."""

    sources: Sequence[str]
    references: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True)
class Sums:
    """Of each row what is summed above and below the line; without `bottoms` the metric is a mean over rows.

    Rows with nothing below the line say nothing, and are left out of `counting`.
    """

    tops: list[float]
    bottoms: list[float] | None = None

    @property
    def counting(self) -> list[int]:
        """The rows that the metric speaks of."""
        return [place for place in range(len(self.tops)) if self.bottoms is None or self.bottoms[place] > 0]


def placeholders(text: str) -> list[str]:
    """The placeholders of a text, in order.

    >>> placeholders("Hi %(name)s, <b>{0}</b> costs 3.50: https://a.io/x")
    ['%(name)s', '<b>', '{0}', '</b>', '3.50', 'https://a.io/x']
    """
    return _PLACEHOLDER.findall(text)


def bleu_counts(answers: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Counts [N, 10]: tokens of answer and of reference, then for n-grams of 1 to 4 how many are right, then of all.

    Source: Papineni et al. 2002; tokens as in sacrebleu, `zh` where most references are Chinese, else `13a`.
    """
    chinese = sum(map(is_chinese, references))
    tokenizer = TokenizerZh() if 2 * chinese > len(references) else Tokenizer13a()
    rows = []
    for answer, reference in zip(answers, references, strict=True):
        said, wanted = (tokenizer(text.rstrip()).split() for text in (answer, reference))
        right, total = [], []
        for size in range(1, _ORDER + 1):
            grams, known = _ngrams(said, size), _ngrams(wanted, size)
            right.append(sum((grams & known).values()))
            total.append(sum(grams.values()))
        rows.append([len(said), len(wanted), *right, *total])
    return np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * _ORDER)


def bleu_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU, 0 to 100, of sums of counts [..., 10].

    Source: sacrebleu's corpus_bleu: an order without a right n-gram is smoothed (exp, Chen and Cherry 2014), one
    without any n-gram, or no right word at all, gives 0.
    """
    said, wanted = counts[..., 0], counts[..., 1]
    right, total = counts[..., 2 : 2 + _ORDER], counts[..., 2 + _ORDER :]
    none = (right == 0) & (total > 0)
    safe = np.maximum(total, 1.0)
    precision = np.where(none, 1.0 / (2.0 ** np.cumsum(none, axis=-1) * safe), right / safe)
    shortness = np.exp(np.minimum(0.0, 1.0 - wanted / np.maximum(said, 1e-9)))
    usable = (total > 0).all(axis=-1) & (right > 0).any(axis=-1)
    logs = np.log(np.where(precision > 0, precision, 1.0)).mean(axis=-1)
    return np.where(usable, 100.0 * shortness * np.exp(logs), 0.0)


def rouge_n(answers: Sequence[str], references: Sequence[str], size: int) -> list[float]:
    """ROUGE-N F1 of each row, 0 to 1, over words; over characters in scripts without spaces.

    Source: Lin 2004, as rouge-score computes it, without stemming.
    """
    values = []
    for answer, reference in zip(answers, references, strict=True):
        said, wanted = (_ngrams(rouge_tokens(text), size) for text in (answer, reference))
        common = sum((said & wanted).values())
        values.append(2 * common / (sum(said.values()) + sum(wanted.values())) if common else 0.0)
    return values


def _ngrams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def _exact(texts: Texts) -> Sums:
    pairs = zip(texts.answers, texts.references, strict=True)
    return Sums([float(answer.split() == reference.split()) for answer, reference in pairs])


def _lengths(texts: Texts) -> Sums:
    return Sums([float(len(text)) for text in texts.answers], [float(len(text)) for text in texts.references])


def _kept(texts: Texts) -> Sums:
    """Of the placeholders of a source that stand in the reference too, how many stand in the answer."""
    tops, bottoms = [], []
    for source, reference, answer in zip(texts.sources, texts.references, texts.answers, strict=True):
        wanted = Counter(placeholders(source)) & Counter(placeholders(reference))
        tops.append(float(sum((wanted & Counter(placeholders(answer))).values())))
        bottoms.append(float(sum(wanted.values())))
    return Sums(tops, bottoms)


SUMS: dict[str, Callable[[Texts], Sums]] = {
    "rouge_1": lambda texts: Sums(rouge_n(texts.answers, texts.references, 1)),
    "rouge_2": lambda texts: Sums(rouge_n(texts.answers, texts.references, 2)),
    "exact_text": _exact,
    "length_ratio": _lengths,
    "placeholders_kept": _kept,
}
