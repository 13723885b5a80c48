"""How each answer of the log stands: what was said of it last, and what was decided last.

Texts of answers stay on the disk until they are asked for. The invariant: of an id that stands twice, the first record
counts; ratings and decisions of an answer that is not there are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from setsail.serve.feedback.folder import Account, Folder, Place
from setsail.serve.feedback.record import Answered, Decided, Rated, from_json

State = Literal["waiting", "approved", "corrected", "rejected"]


@dataclass(frozen=True)
class Standing:
    """One answer, without its texts."""

    id: str
    time: str
    model: str
    lineage: str
    place: Place = field(repr=False)
    rated: Rated | None = None
    decided: Decided | None = None

    @property
    def state(self) -> State:
        return self.decided.verdict if self.decided else "waiting"

    @property
    def is_down(self) -> bool:
        return self.rated is not None and self.rated.rating == "down"


@dataclass(frozen=True)
class Review:
    """The answers of one model, those of others counted."""

    folder: Folder
    answers: dict[str, Standing]
    account: Account
    num_of_others: int = 0
    num_without_answer: int = 0

    def waiting(self) -> list[Standing]:
        """What nobody has decided: those that were rated down first, the newest first among equals."""
        waiting = [each for each in self.answers.values() if each.decided is None]
        return sorted(sorted(waiting, key=lambda each: each.time, reverse=True), key=lambda each: not each.is_down)

    def read(self, standing: Standing) -> Answered | None:
        """The answer whole; None where something of its file was forgotten since the review began."""
        value = self.folder.read(standing.place)
        record = from_json(value) if value is not None else None
        return record if isinstance(record, Answered) and record.id == standing.id else None

    def texts(self) -> Iterator[tuple[Standing, Answered | None]]:
        """Every answer with its texts, by time; None as `read` has it."""
        for standing in sorted(self.answers.values(), key=lambda each: each.time):
            yield standing, self.read(standing)


def review_of(folder: Folder, model: str) -> Review:
    """How the answers of a model stand. Raises: UserError where there is no log."""
    account = Account()
    answers: dict[str, Standing] = {}
    others: set[str] = set()
    said: list[Rated | Decided] = []
    for place, value in folder.records(account):
        record = from_json(value)
        if isinstance(record, Rated | Decided):
            said.append(record)
        elif record is not None and record.model != model:
            others.add(record.id)
        elif record is not None and record.id not in answers:
            answers[record.id] = Standing(record.id, record.time, record.model, record.lineage, place)
    num_without = 0
    for each in sorted(said, key=lambda each: each.time):  # the last one counts
        known = answers.get(each.id)
        if known is None:
            num_without += each.id not in others
        elif isinstance(each, Rated):
            answers[each.id] = replace(known, rated=each)
        else:
            answers[each.id] = replace(known, decided=each)
    return Review(folder, answers, account, len(others), num_without)
