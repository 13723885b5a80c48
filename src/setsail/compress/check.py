"""The faithfulness check: what was trained is what is exported and what is served.

Each stage on the way from the trainer to the server is observed on the same held-out prompts, and compared with what
the trainer itself did at the end of training. This file compares; the observing of torch models is in `observe.py`,
that of engines and servers is wired by the caller, since this room knows neither. The first stage with a breach is
the one that is named: everything after it inherits the fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from setsail.base.errors import CheckRefused

NUM_FIRST = 64  # tokens of the first distribution that are kept: all but a sliver of the mass


@dataclass(frozen=True)
class Probe:
    """One held-out prompt: messages for chat, else a beginning of a text.

    `prompt_ids` and `answer_ids` are as training renders them; the stop token ends an answer.
    """

    row_id: str
    messages: tuple[Mapping[str, str], ...]
    text: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer: str
    stop_id: int


@dataclass(frozen=True)
class Answer:
    """What a stage did with one probe.

    `first` maps token ids to log-probabilities (nats) of the first generated token, most likely first; empty where the
    stage cannot tell. `nats` is the cost of the held-out answer, where the stage can score. `stopped` says that the
    text ended with the stop token and not at the limit.
    """

    prompt_ids: tuple[int, ...]
    text_ids: tuple[int, ...]
    text: str
    stopped: bool
    first: Mapping[int, float] = field(default_factory=dict)
    nats: float | None = None


@dataclass(frozen=True)
class Observation:
    """What one stage did with every probe. `precision` names the row of `LIMITS` that it is held to."""

    stage: str
    precision: str
    answers: tuple[Answer, ...]
    weights_off: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """How far a stage of one precision may be from the trainer.

    Units: `kl_nats` mean and worst over the prompts, of the first token's distribution; `agreement` the mean share of
    the trainer's greedy text that is repeated before the first difference; `bits_per_byte` and `chrf` as differences
    over all prompts; `stop` the share of prompts that end alike.
    """

    kl_nats_mean: float
    kl_nats_worst: float
    agreement: float
    bits_per_byte: float
    chrf: float
    stop: float


# Derived from clean runs (docs/concepts/faithfulness.md tells how); a test holds the document's table to this one.
LIMITS: dict[str, Limits] = {
    "same": Limits(1e-6, 1e-5, 0.99, 0.001, 0.5, 0.99),
    "bf16": Limits(0.03, 0.2, 0.60, 0.03, 5.0, 0.50),
    "q8_0": Limits(0.05, 0.3, 0.50, 0.03, 6.0, 0.50),
    "q4_0": Limits(1.0, 4.0, 0.05, 0.30, 12.0, 0.10),
}
COARSEST = "q4_0"
LIMITS["f16"] = LIMITS["bf16"]
LIMITS["q4_k"] = LIMITS[COARSEST]
LIMITS["mixed"] = LIMITS[COARSEST]  # as coarse as its coarsest layer; how much it costs in all was measured


@dataclass(frozen=True)
class Finding:
    """One comparison: a figure, its limit, and whether it holds."""

    stage: str
    check: str
    value: float
    limit: float
    passed: bool
    detail: str = ""
    bound: str = "≤"


@dataclass(frozen=True)
class Verdict:
    """Every comparison, in the order of the stages."""

    findings: tuple[Finding, ...]

    @property
    def breach(self) -> Finding | None:
        """The first comparison that does not hold."""
        return next((finding for finding in self.findings if not finding.passed), None)

    def as_json(self) -> dict[str, Any]:
        breach = self.breach
        return {
            "passed": breach is None,
            "first_breach": breach and asdict(breach),
            "findings": [asdict(f) for f in self.findings],
        }

    def refuse_on_breach(self) -> None:
        """Raises:
        CheckRefused: naming the first stage that differs from the one before it.
        """
        breach = self.breach
        if breach is not None:
            raise CheckRefused(
                f'"{breach.stage}" is not what was trained: {breach.check} is {breach.value:.4g}, '
                f"allowed is {breach.bound} {breach.limit:.4g}{'. ' if breach.detail else ''}{breach.detail}",
                place=f"stage {breach.stage}",
                hint="faithfulness.json beside the refusal has every figure; nothing after this stage can be trusted",
            )


def compare(probes: Sequence[Probe], trainer: Observation, stages: Sequence[Observation]) -> Verdict:
    """Holds each stage against the trainer, in order."""
    findings: list[Finding] = []
    for stage in stages:
        findings += compare_stage(probes, trainer, stage)
    return Verdict(tuple(findings))


def compare_stage(probes: Sequence[Probe], trainer: Observation, stage: Observation) -> list[Finding]:
    """Every comparison of one stage with the trainer."""
    limits = LIMITS[stage.precision]
    findings = [_token_ids(probes, stage)]
    if stage.weights_off:
        names = ", ".join(stage.weights_off[:3])
        detail = f"not the one rounding of the merged weights: {names}"
        findings.append(Finding(stage.stage, "tensors off", len(stage.weights_off), 0, False, detail))
    findings += _distributions(trainer, stage, limits)
    findings += _texts(probes, trainer, stage, limits)
    bits = bits_per_byte(probes, stage)
    expected = bits_per_byte(probes, trainer)
    if bits is not None and expected is not None:
        findings.append(_at_most(stage, "bits per byte, difference", abs(bits - expected), limits.bits_per_byte))
    return findings


def compare_roughly(trainer: Observation, stage: Observation) -> list[Finding]:
    """What a few prompts tell of a stage whose precision is not known: whether it is another model."""
    limits = LIMITS[COARSEST]
    shared = _at_least(stage, "greedy text, shared prefix", _shared_prefix(trainer, stage), limits.agreement)
    return [*_distributions(trainer, stage, limits), shared]


def compare_restoration(probes: Sequence[Probe], trainer: Observation, stage: Observation) -> list[Finding]:
    """Every comparison of one stage with the trainer, of models that restore hidden text instead of answering.

    `text_ids` are the most likely token at each place that was hidden, `first` the distribution at the first of them.
    """
    limits = LIMITS[stage.precision]
    pairs = [
        (expected, seen)
        for ours, theirs in zip(trainer.answers, stage.answers, strict=True)
        for expected, seen in zip(ours.text_ids, theirs.text_ids, strict=True)
    ]
    alike = sum(expected == seen for expected, seen in pairs) / max(len(pairs), 1)
    bits, expected_bits = bits_per_byte(probes, stage), bits_per_byte(probes, trainer)
    assert bits is not None and expected_bits is not None, "a model that restores text can score it"
    return [
        _token_ids(probes, stage),
        *_distributions(trainer, stage, limits),
        _at_least(stage, "hidden tokens restored alike", alike, limits.agreement),
        _at_most(stage, "bits per masked byte, difference", abs(bits - expected_bits), limits.bits_per_byte),
    ]


def _at_most(stage: Observation, check: str, value: float, limit: float) -> Finding:
    return Finding(stage.stage, check, value, limit, value <= limit)


def _at_least(stage: Observation, check: str, value: float, limit: float) -> Finding:
    return Finding(stage.stage, check, value, limit, value >= limit, bound="≥")


def _token_ids(probes: Sequence[Probe], stage: Observation) -> Finding:
    pairs = list(zip(probes, stage.answers, strict=True))
    off = [(probe, answer) for probe, answer in pairs if probe.prompt_ids != answer.prompt_ids]
    detail = ""
    if off:
        probe, answer = off[0]
        at = common_prefix(probe.prompt_ids, answer.prompt_ids)
        detail = (
            f"row {probe.row_id}: trained {len(probe.prompt_ids)} tokens, here {len(answer.prompt_ids)}; they part at "
            f"token {at}: {list(probe.prompt_ids[at : at + 4])} against {list(answer.prompt_ids[at : at + 4])}"
        )
    return Finding(stage.stage, "prompts with other token ids", len(off), 0, not off, detail)


def _distributions(trainer: Observation, stage: Observation, limits: Limits) -> list[Finding]:
    pairs = zip(trainer.answers, stage.answers, strict=True)
    kls = [kl_nats(expected.first, answer.first) for expected, answer in pairs if answer.first]
    if not kls:
        return []
    return [
        _at_most(stage, "first-token KL, mean", sum(kls) / len(kls), limits.kl_nats_mean),
        _at_most(stage, "first-token KL, worst", max(kls), limits.kl_nats_worst),
    ]


def _texts(probes: Sequence[Probe], trainer: Observation, stage: Observation, limits: Limits) -> list[Finding]:
    pairs = list(zip(trainer.answers, stage.answers, strict=True))
    alike = sum(expected.stopped == answer.stopped for expected, answer in pairs) / len(pairs)
    score = abs(chrf(probes, stage) - chrf(probes, trainer))
    return [
        _at_least(stage, "greedy text, shared prefix", _shared_prefix(trainer, stage), limits.agreement),
        _at_least(stage, "answers that end alike", alike, limits.stop),
        _at_most(stage, "chrF, difference", score, limits.chrf),
    ]


def _shared_prefix(trainer: Observation, stage: Observation) -> float:
    """The mean share of the trainer's greedy text that is repeated before the first difference."""
    pairs = zip(trainer.answers, stage.answers, strict=True)
    shares = [
        common_prefix(expected.text_ids, answer.text_ids) / len(expected.text_ids)
        for expected, answer in pairs
        if expected.text_ids
    ]
    return sum(shares) / max(len(shares), 1)


def kl_nats(expected: Mapping[int, float], seen: Mapping[int, float]) -> float:
    """KL divergence of two first-token distributions, over the tokens that both list; the rest is one more outcome.

    Both maps hold log-probabilities. Where a stage tells only a few tokens the figure is a lower bound of the true
    divergence (data-processing inequality), so it can miss a difference but never invent one.
    """
    shared = [token for token in expected if token in seen]
    if not shared:
        return math.inf
    total = sum(math.exp(expected[token]) * (expected[token] - seen[token]) for token in shared)
    rest_expected = max(0.0, 1.0 - sum(math.exp(expected[token]) for token in shared))
    rest_seen = max(1e-9, 1.0 - sum(math.exp(seen[token]) for token in shared))
    if rest_expected > 1e-9:
        total += rest_expected * (math.log(rest_expected) - math.log(rest_seen))
    return max(0.0, total)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading items two sequences share."""
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def bits_per_byte(probes: Sequence[Probe], stage: Observation) -> float | None:
    """Bits that the stage spends on a byte of the held-out answers; None where it cannot score."""
    nats = [answer.nats for answer in stage.answers]
    if any(value is None for value in nats):
        return None
    num_bytes = sum(len(probe.answer.encode("utf-8")) for probe in probes)
    return sum(value for value in nats if value is not None) / math.log(2) / num_bytes


def chrf(probes: Sequence[Probe], stage: Observation) -> float:
    """chrF of the greedy texts against the held-out answers."""
    texts = [answer.text for answer in stage.answers]
    return CHRF().corpus_score(texts, [[probe.answer for probe in probes]]).score
