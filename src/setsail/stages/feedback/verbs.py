"""The verbs of the log of answers: what waits for review, decisions, rows made of them, forgetting.

What does not live here: the interactive review (`feedback_review.py`), what rows look like (`feedback_rows.py`). The
invariant: each verb first deletes what is over, and says what of the log it could not read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from setsail.base.errors import CheckRefused, UserError
from setsail.base.files import explained_os_errors, write_private
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_serve import Answers
from setsail.base.run import Run
from setsail.data.prepare import MIN_ROWS
from setsail.data.row import Unfit
from setsail.data.trace import mentions
from setsail.serve.feedback.folder import Account, Folder
from setsail.serve.feedback.key import answers_key, new_key
from setsail.serve.feedback.record import Answered, Decided, Json, Record, Verdict, as_json, from_json, now
from setsail.serve.feedback.standing import Review, Standing, review_of
from setsail.stages.feedback.rows import ORIGIN, Rows, row_of, rows_of
from setsail.stages.feedback.words import account_words, line_of, rows_words

MOST_SHOWN = 20
_SHORTEST_NAME = 6


@dataclass(frozen=True)
class Desk:
    """The answers of a run's model, and where what is decided of them goes."""

    run: Path
    recipe: Recipe
    settings: Answers
    review: Review

    def decide(self, decisions: Sequence[Decided]) -> None:
        """Seals decisions. Raises: SystemRefusal when they cannot be written; none of them is kept then."""
        folder = self.review.folder
        days = max(self.settings.days, folder.longest_days())
        with explained_os_errors("writing decisions"):
            file = folder.new_file(day=datetime.now(UTC).date(), days=days)
            _, failure = file.add([as_json(decision) for decision in decisions])
            file.close()
            if failure is not None:
                file.path.unlink(missing_ok=True)
                raise failure


def open_desk(path: Path, answers: Path | None, key_file: Path | None, *, log: Log) -> Desk:
    """The answers of a run's model as they stand, once what is over has been deleted.

    Raises:
        UserError: nothing says where the log is; there is no log, or no key.
        SystemRefusal: others could read the key.
    """
    file = path / "recipe.yaml"
    if not file.exists():
        raise UserError("there is no such run", place=str(path), hint="setsail runs lists what is here")
    recipe = load_recipe(file).recipe
    said = recipe.serve.answers
    if answers is None and said is None:
        hint = "write serve.answers: FOLDER into it, or name the folder: --answers FOLDER"
        raise UserError("this run's recipe keeps no answers", place=str(path), hint=hint)
    settings = said or Answers(folder=str(answers))
    where = answers or Path(settings.folder).expanduser()
    folder = Folder(where, answers_key(str(key_file) if key_file else settings.key_file))
    num_deleted = folder.expire(datetime.now(UTC).date())
    if num_deleted:
        log.say(f"  {num_deleted} files were over and are deleted")
    review = review_of(folder, recipe.name)
    for line in account_words(review.account):
        log.say(f"  {line}")
    return Desk(path, recipe, settings, review)


def show(path: Path, answers: Path | None, key_file: Path | None, *, most: int = MOST_SHOWN, as_json: bool) -> None:
    """Prints what waits for review, what was rated down first, then the newest."""
    log = Log()
    desk = open_desk(path, answers, key_file, log=log)
    waiting = desk.review.waiting()
    records = [(each, desk.review.read(each)) for each in (waiting if as_json else waiting[:most])]
    counts = counts_of(desk.review)
    if as_json:
        told = [_told(standing, record) for standing, record in records if record is not None]
        print(
            json.dumps({**counts, "log": desk.review.account.as_json(), "answers": told}, ensure_ascii=False, indent=1)
        )
        return
    for standing, record in records:
        if record is not None:
            print(line_of(standing, record))
    more = f", {len(waiting) - most} more than are shown" if len(waiting) > most else ""
    log.say(f"  {counts['waiting']} wait{more}; {_decided_words(counts)}")
    if desk.review.num_of_others:
        log.say(f"  {desk.review.num_of_others} answers are of other models")
    if desk.review.num_without_answer:
        log.say(f"  {desk.review.num_without_answer} ratings or decisions are of answers that are not here")
    log.say(
        f"next   setsail feedback review {path}" if waiting else f"next   setsail feedback export {path} rows.jsonl"
    )


def counts_of(review: Review) -> dict[str, int]:
    """How many answers stand how."""
    states = [standing.state for standing in review.answers.values()]
    counts = {state: states.count(state) for state in ("waiting", "approved", "corrected", "rejected")}
    return {**counts, "of_other_models": review.num_of_others, "without_answer": review.num_without_answer}


def _decided_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in ("approved", "corrected", "rejected"))


def _told(standing: Standing, record: Answered) -> Json:
    rated = asdict(standing.rated) if standing.rated else None
    return {"state": standing.state, **asdict(record), "rated": rated}


def decide(
    path: Path,
    names: Sequence[str],
    verdict: Verdict,
    *,
    correction: str | None = None,
    answers: Path | None = None,
    key_file: Path | None = None,
) -> None:
    """Approves, rejects or corrects answers, by their ids or a part of one that no other has.

    Without a correction's text, that which the client sent with its rating is taken.

    Raises:
        UserError: no such answer; nothing to correct it by; an answer or a correction that makes no row. None of the
            answers is decided then.
    """
    log = Log()
    desk = open_desk(path, answers, key_file, log=log)
    decisions = []
    for name in names:
        standing = _named(desk.review, name)
        text = correction
        if verdict == "corrected":
            text = correction or (standing.rated.correction if standing.rated else "")
        if verdict != "rejected":
            checked(desk, standing, text)
        decisions.append(Decided(standing.id, now(), verdict, text or ""))
    desk.decide(decisions)
    for decision in decisions:
        print(f"{decision.verdict}  {decision.id}")
    log.say(f"next   setsail feedback export {path} rows.jsonl")


def checked(desk: Desk, standing: Standing, correction: str | None) -> None:
    """Raises: UserError where a correction is empty, or no row can be made with it, or without one as it is."""
    if correction is not None and not correction.strip():
        hint = f'setsail feedback correct {desk.run} {standing.id} "what it should have been"'
        raise UserError("there is no correction, and the client sent none", place=standing.id, hint=hint)
    record = desk.review.read(standing)
    if record is None:
        raise UserError("the answer was forgotten meanwhile", place=standing.id)
    try:
        row_of(record, correction, desk.recipe)
    except Unfit as unfit:
        told = "of this answer as it is" if correction is None else "with this correction"
        raise UserError(f"no row can be made {told}: {unfit.reason}", place=standing.id) from None


def _named(review: Review, name: str) -> Standing:
    """The answer that an id, its beginning or its end names."""
    if name in review.answers:
        return review.answers[name]
    found = [each for each in review.answers.values() if each.id.startswith(name) or each.id.endswith(name)]
    if len(found) == 1 and len(name) >= _SHORTEST_NAME:
        return found[0]
    told = f'{len(found)} answers are called "{name}"' if len(found) > 1 else f'there is no answer "{name}"'
    raise UserError(told, hint="setsail feedback list RUN --json gives whole ids")


def export(
    path: Path,
    out: Path,
    *,
    preferences: bool = False,
    answers: Path | None = None,
    key_file: Path | None = None,
    as_json: bool = False,
) -> None:
    """Writes what was approved and corrected as rows; with `preferences`, pairs of correction and answer.

    Raises:
        UserError: nothing is left to write; pairs of a task that has none; a file that is none of ours is in the way.
    """
    log = Log()
    desk = open_desk(path, answers, key_file, log=log)
    if preferences and desk.recipe.task != "chat":
        told = f"pairs of answers are for task chat, not for {desk.recipe.task}"
        raise UserError(told, place="--preferences", hint="leave it out")
    _refuse_foreign(out)
    made = rows_of(desk.review, desk.recipe, preferences=preferences)
    for line in rows_words(made):
        log.say(f"  {line}")
    if not made.rows:
        raise UserError("there is no row to write", place=str(path), hint=f"setsail feedback review {path}")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows)
    with explained_os_errors("writing the rows"):
        write_private(out, text)
    print(json.dumps({"file": str(out), **made.as_json()}, ensure_ascii=False, indent=1) if as_json else out)
    log.say("  the file is plain text: it is outside the log, its key and its days")
    log.say(_next_words(desk, out, made, preferences=preferences))


def _refuse_foreign(out: Path) -> None:
    """Raises: UserError where a file stands that no export wrote."""
    if out.suffix != ".jsonl":
        raise UserError("rows are written as .jsonl", place=str(out), hint=f"{out.with_suffix('.jsonl')}")
    if not out.parent.is_dir():
        raise UserError("there is no such folder", place=str(out.parent))
    if out.exists():
        with out.open("rb") as file:
            first = file.readline(1 << 24)
        if f'"{ORIGIN[0]}":'.encode() not in first:
            raise UserError("this file was not exported from a log", place=str(out), hint="give another name")


def _next_words(desk: Desk, out: Path, made: Rows, *, preferences: bool) -> str:
    if len(made.rows) < MIN_ROWS:
        return f"  a source of rows begins at {MIN_ROWS}: review more, or put these among the rows you have"
    rows, run = out.resolve(), Run(desk.run)
    if preferences:
        base = desk.run / run.current().get("merged", "merged-…")
        settings = f"--set name={desk.recipe.name}-preferred --set base={base.resolve()} --set data.source={rows}"
        return f"next   setsail run RECIPE {settings} --set data.near_duplicates=1 --set finetune.prefer.beta=0.1"
    if desk.recipe.task not in ("chat", "text"):
        beside = f"put {out} beside the rows of RECIPE (data.source may be a folder, or rows*.jsonl)"
        return f"next   {beside}, then setsail run RECIPE"
    key = f"{desk.recipe.training_key}.mix"
    return f"next   setsail run RECIPE --set {key}.source={rows} --set {key}.share={_share(run, len(made.rows))}"


def _share(run: Run, num_rows: int) -> str:
    """A share of the training rows that so many rows can make up, a tenth of them lost on the way."""
    if "data" not in run.current():
        return "0.1"
    num_own = pq.read_metadata(run.artifact("data", verify=False).file("train.parquet")).num_rows
    share = 0.9 * num_rows / (num_own + 0.9 * num_rows)
    return f"{max(1, int(share * 1000)) / 1000:g}"


def forget(
    path: Path,
    names: Sequence[str],
    *,
    person: str | None = None,
    answers: Path | None = None,
    key_file: Path | None = None,
) -> None:
    """Takes answers out of the log for good, with all that was said of them: by id, or by a text that stands in them.

    A text is looked for in the answers of all models of the log.

    Raises:
        UserError: nothing to forget, or no such answer.
        CheckRefused: it is done, and files could not be searched, since they need another key or are none of ours.
    """
    if person is not None and not person.strip():
        raise UserError("--person is empty: it would name every answer")
    if not names and person is None:
        raise UserError("there is nothing to forget", hint="name answers, or --person TEXT that stands in them")
    log = Log()
    desk = open_desk(path, answers, key_file, log=log)
    folder = desk.review.folder
    ids = {_named(desk.review, name).id for name in names}
    if person is not None:
        ids |= {record.id for record in _records(folder) if mentions(as_json(record), person)}

    def is_unwanted(value: Json) -> bool:
        return value.get("id") in ids or (person is not None and mentions(value, person))

    account = Account()
    with explained_os_errors("forgetting answers"):
        num_gone = folder.without(is_unwanted, account)
    print(f"deleted  {len(ids)} answers, {num_gone} records with what was said of them")
    log.say("  rows that were exported hold them until they are exported again; models that learned of them, for good")
    log.say(f"next   setsail feedback export {path} rows.jsonl")
    num_unsearched = account.num_under_another_key + account.num_unknown
    if num_unsearched:
        raise CheckRefused(
            f"{num_unsearched} files of the log could not be searched: they need another key, or are damaged",
            place=str(folder.path),
            hint="forget with that key too (--answers-key OLD), or delete these files",
        )


def _records(folder: Folder) -> list[Record]:
    found = (from_json(value) for _, value in folder.records(Account()))
    return [record for record in found if record is not None]


def make_key(path: Path) -> None:
    """Makes a key. Raises: SystemRefusal when something stands there already."""
    new_key(path)
    print(path)
    log = Log()
    log.say("  keep a copy elsewhere: without it nobody can read the log")
    log.say(f"next   setsail serve RUN --answers answers --set serve.answers.key_file={path}")
