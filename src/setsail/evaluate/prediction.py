"""What each system said to each test row, with the values of that row: the lines of predictions.jsonl.

Everything in evaluation.json can be computed again from these lines (`score.summarise`). Not here: means and intervals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from setsail.base.errors import ArtifactError
from setsail.data.row import Message, Row
from setsail.evaluate import metrics
from setsail.evaluate.question import Question, answer_bytes, question_of
from setsail.evaluate.system import Answer, System

FILE = "predictions.jsonl"


@dataclass(frozen=True)
class Scored:
    """One system's answer to one row ("" where it writes none) and its values: those of METRICS, and NATS' names."""

    answer: str
    stopped: bool | None
    num_tokens: int | None
    seconds: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Prediction:
    """One test row as it was asked, its reference, its supervised or hidden bytes, and what systems made of it."""

    row_id: str
    group: str
    prompt: tuple[Message, ...]
    reference: str
    num_bytes: int
    systems: Mapping[str, Scored]
    origin: str = ""


def ask(
    systems: Mapping[str, System], rows: Sequence[Row], masked_bytes: Sequence[int] | None = None
) -> list[Prediction]:
    """Every system's answers and nats on every row; each system is asked once, for all rows together.

    `masked_bytes` says how many bytes of each row are hidden, where systems are asked to restore them.
    """
    questions = [question_of(row) if row.messages else Question(row.id, row.group, (), row.text) for row in rows]
    columns = {name: _ask_one(system, rows, questions) for name, system in systems.items()}
    return [
        Prediction(
            row_id=question.row_id,
            group=question.group,
            prompt=question.prompt,
            reference=question.reference,
            num_bytes=masked_bytes[index] if masked_bytes else answer_bytes(row),
            systems={name: column[index] for name, column in columns.items()},
            origin=row.origin,
        )
        for index, (row, question) in enumerate(zip(rows, questions, strict=True))
    ]


def series(predictions: Sequence[Prediction], system: str, metric: str) -> list[float] | None:
    """A system's values of one metric, one per row, or None if it has none; of bits over bytes, the bits."""
    key = metrics.NATS.get(metric, metric)
    scale = 1 / math.log(2) if metric in metrics.NATS else 1.0
    values = [prediction.systems[system].values.get(key) for prediction in predictions]
    held = [value * scale for value in values if value is not None]
    return held if len(held) == len(predictions) else None


def rows_with(predictions: Sequence[Prediction], metric: str) -> list[Prediction]:
    """The rows that a metric is about: those whose reference calls a tool for the metrics of calls, else all."""
    if metric not in metrics.OF_CALLS:
        return list(predictions)
    return [row for row in predictions if any(metric in scored.values for scored in row.systems.values())]


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """One JSON line per row, UTF-8."""
    with path.open("w", encoding="utf-8") as lines:
        for prediction in predictions:
            lines.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a finished evaluation.

    Raises: ArtifactError naming the line that is damaged.
    """
    predictions = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                predictions.append(_from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise ArtifactError("a prediction cannot be read", place=f"{path}:{number}") from error
    return predictions


def _ask_one(system: System, rows: Sequence[Row], questions: Sequence[Question]) -> list[Scored]:
    paid = {"nats": system.nats, "masked_nats": system.masked_nats}
    nats = {name: given(rows) for name, given in paid.items() if given is not None}
    asks = system.answers is not None and all(question.prompt for question in questions)
    answers = system.answers([question.prompt for question in questions]) if system.answers and asks else None
    for given in (*nats.values(), answers):
        assert given is None or len(given) == len(rows), "a system gives one value per row"
    values = [{name: float(given[index]) for name, given in nats.items()} for index in range(len(rows))]
    if system.margins is not None:
        margins = zip(values, system.margins(rows), strict=True)
        values = [held | metrics.of_margin(whole, per_token) for held, (whole, per_token) in margins]
    if answers is None:
        return [Scored("", None, None, 0.0, held) for held in values]
    measured = _measure(answers, [question.reference for question in questions])
    return [
        Scored(answer.text, answer.stopped, answer.num_tokens, answer.seconds, held | more)
        for answer, held, more in zip(answers, values, measured, strict=True)
    ]


def _measure(answers: Sequence[Answer], references: Sequence[str]) -> list[dict[str, float]]:
    texts = [answer.text for answer in answers]
    pairs = zip(answers, references, metrics.chrf(texts, references), metrics.rouge_l(texts, references), strict=True)
    return [
        {"chrf": chrf, "rouge_l": rouge}
        | metrics.of_calls(answer.text, reference)
        | ({} if answer.stopped is None else {"exact_stop": float(answer.stopped)})
        | ({} if answer.num_tokens is None else {"num_tokens": float(answer.num_tokens)})
        | {"num_characters": float(len(answer.text))}
        for answer, reference, chrf, rouge in pairs
    ]


def _from_json(record: dict) -> Prediction:
    systems = {name: Scored(**scored) for name, scored in record.pop("systems").items()}
    prompt = tuple(Message(role=message["role"], content=message["content"]) for message in record.pop("prompt"))
    return Prediction(prompt=prompt, systems=systems, **record)
