"""The log of answers: several writers, days that are over, forgetting under a running writer, disks that refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from setsail.base.errors import SystemRefusal, UserError
from setsail.serve.feedback.folder import Account, Folder
from setsail.serve.feedback.key import AnswersKey, answers_key, new_key
from setsail.serve.feedback.log import MOST_WAITING, AnswerLog
from setsail.serve.feedback.record import Answered, Decided, Rated, as_json, from_json
from setsail.serve.feedback.standing import review_of

KEY = AnswersKey(bytes(range(32)))
TODAY = date(2026, 3, 5)


def answered(number: int = 0, text: str = "planted", **more: Any) -> Answered:
    values: dict[str, Any] = {"asked": {"messages": [{"role": "user", "content": text}]}, "said": {"content": "yes"}}
    names = {"key": "shop", "model": "m", "lineage": "abc", "task": "chat", "path": "/v1/chat/completions"}
    when = f"2026-03-05T10:00:{number:02}+00:00"
    return Answered(**{"id": f"a{number}", "time": when, **names, **values, "finish_reason": "stop", **more})


class Opened:
    """A log whose day a test chooses, and what it said."""

    def __init__(self, path: Path) -> None:
        self.folder = Folder(path, KEY)
        self.lines: list[str] = []
        self.today = TODAY
        self.mask: Any = lambda record: record
        self.log = AnswerLog(
            self.folder,
            days=30,
            mask=lambda record: self.mask(record),
            log=self.lines.append,
            today=lambda: self.today,
        )

    def keep(self, *records: Answered | Rated) -> list[str]:
        futures = [self.log.keep(record) for record in records]
        return [future.result(30) for future in futures]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    log = Opened(tmp_path / "answers")
    yield log
    log.log.close()


def found(folder: Folder) -> tuple[list[str], Account]:
    account = Account()
    return [record["id"] for _, record in folder.records(account)], account


def test_records_are_each_others_inverse() -> None:
    for record in (answered(), Rated("a0", "t", "down", "better", "no"), Decided("a0", "t", "corrected", "better")):
        assert from_json(as_json(record)) == record
        assert from_json({**as_json(record), "of_a_newer_version": 1}) == record
    assert from_json({"kind": "of a newer version"}) is None


def test_what_is_kept_is_found_and_the_file_is_closed_at_the_end(opened: Opened) -> None:
    assert opened.keep(*(answered(number) for number in range(40))) == ["kept"] * 40
    [file] = opened.folder.files()
    assert file.name.startswith("2026-03-05.") and opened.folder.path.stat().st_mode & 0o077 == 0
    assert found(opened.folder)[1].num_unclosed == 1
    opened.log.close()
    assert found(opened.folder) == ([f"a{n}" for n in range(40)], Account(num_files=1, num_records=40))
    assert opened.log.keep(answered()).result(1) == "lost" and opened.log.num_lost == 1
    assert opened.log.num_kept == 40


def test_a_day_that_turns_begins_another_file_and_deletes_what_is_over(opened: Opened) -> None:
    opened.keep(answered(1))
    opened.today = TODAY + timedelta(days=30)
    opened.keep(answered(2))
    assert [file.name[:10] for file in opened.folder.files()] == ["2026-03-05", "2026-04-04"]
    opened.today = TODAY + timedelta(days=31)
    opened.keep(answered(3))
    assert found(opened.folder)[0] == ["a2", "a3"]
    assert opened.lines == ["1 files of answers older than 30 days are deleted"]


def test_days_of_the_file_count_for_whoever_deletes_and_a_server_may_shorten_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "answers", KEY)
    folder.prepare()
    for day, days in ((date(2026, 3, 1), 2), (date(2026, 3, 1), 300)):
        file = folder.new_file(day=day, days=days)
        file.add([as_json(answered(days))])
        file.close()
    assert folder.longest_days() == 300
    assert folder.expire(TODAY) == 1 and found(folder)[0] == ["a300"]
    assert Folder(folder.path, AnswersKey(bytes(32))).expire(TODAY, days=3) == 1, "it needs no key"
    assert folder.files() == []


def test_what_a_killed_command_left_is_deleted_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "answers", KEY)
    folder.prepare()
    old, new = (folder.path / f".2026-03-05.{name}.sealed.7.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"sealed")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert folder.expire(TODAY) == 0
    assert list(folder.path.iterdir()) == [new]


WRITES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_answer_log import Opened, answered
log = Opened(Path(sys.argv[1]))
for number in range(60):
    assert log.keep(answered(number, text=sys.argv[3] if number % 3 else "forget ANN miller")) == ["kept"]
log.log.close()
"""


def test_several_processes_write_while_another_forgets(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "answers", KEY)
    folder.prepare()
    command = [sys.executable, "-c", WRITES, str(folder.path), str(Path(__file__).parent)]
    command = [*command[:2], WRITES.replace("from test_answer_log", "from serve.test_answer_log"), *command[3:]]
    command[-1] = str(Path(__file__).parent.parent)
    children = [subprocess.Popen([*command, f"child {number}"]) for number in range(3)]

    def is_unwanted(value: dict[str, Any]) -> bool:
        return "ANN" in str(value.get("asked"))

    num_gone = 0
    while any(child.poll() is None for child in children):
        num_gone += folder.without(is_unwanted, Account())
        time.sleep(0.01)
    assert [child.returncode for child in children] == [0, 0, 0]
    num_gone += folder.without(is_unwanted, Account())
    account = Account()
    texts = [record["asked"]["messages"][0]["content"] for _, record in folder.records(account)]
    assert num_gone == 60 and sorted(texts) == sorted(["child 0", "child 1", "child 2"] * 40)
    assert account == Account(num_files=account.num_files, num_records=120)


def test_what_cannot_be_read_is_counted_and_the_rest_is_read(opened: Opened) -> None:
    opened.keep(*(answered(number) for number in range(3)))
    opened.log.close()
    path = opened.folder.path
    [file] = opened.folder.files()
    raw = file.read_bytes()
    (path / "2026-03-04.torn.sealed").write_bytes(raw[: len(raw) * 2 // 3])
    (path / "2026-03-04.bad.sealed").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    (path / "2026-03-04.none.sealed").write_bytes(b"no file of this log" * 9)
    other = Folder(path, AnswersKey(bytes(32))).new_file(day=TODAY, days=30)
    other.add([as_json(answered(9))])
    other.close()
    ids, account = found(opened.folder)
    assert set(ids) == {"a0", "a1", "a2"}
    assert account == Account(
        num_files=5,
        num_records=len(ids),
        num_damaged=1,
        num_torn=1,
        num_unclosed=2,
        num_under_another_key=1,
        num_unknown=1,
    )
    assert found(Folder(path, AnswersKey(bytes(32))))[0] == ["a9"]
    review = review_of(opened.folder, "m")
    assert set(review.answers) == {"a0", "a1", "a2"}, "an id that stands in two files is one answer"
    forgotten = Account()
    assert opened.folder.without(lambda value: value["id"] == "a0", forgotten) == 3
    assert (forgotten.num_under_another_key, forgotten.num_unknown) == (1, 1)
    assert set(found(opened.folder)[0]) == {"a1", "a2"} and found(opened.folder)[1].num_torn == 0


def test_a_disk_that_refuses_loses_and_says_so_and_later_records_are_kept(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "answers")
    opened.keep(answered(1))
    for file in opened.folder.files():
        file.unlink()
    opened.folder.path.rmdir()
    assert opened.keep(answered(2)) == ["lost"]
    assert opened.lines == ["1 answers or ratings are not kept: No such file or directory (1 lost so far)"]
    opened.folder.path.mkdir()
    assert opened.keep(answered(3)) == ["kept"]
    opened.log.close()
    assert found(opened.folder)[0] == ["a3"] and (opened.log.num_kept, opened.log.num_lost) == (2, 1)


def test_a_fault_of_the_mask_loses_its_records_alone_and_tells_no_text(opened: Opened) -> None:
    def fails(record: Answered) -> Answered:
        raise ValueError("planted-prompt")

    opened.mask = fails
    assert opened.keep(answered()) == ["lost"]
    assert "ValueError at test_answer_log.py" in opened.lines[0] and "planted" not in opened.lines[0]
    opened.mask = lambda record: None
    assert opened.keep(answered()) == ["left_out"] and opened.log.num_left_out == 1
    opened.mask = lambda record: record
    assert opened.keep(answered()) == ["kept"]


def test_what_waits_is_bounded_and_what_is_left_at_the_end_is_told(tmp_path: Path) -> None:
    may_write, lines = threading.Event(), []

    def waits(record: Any) -> Any:
        may_write.wait()
        return record

    folder = Folder(tmp_path / "answers", KEY)
    log = AnswerLog(folder, days=30, mask=waits, log=lines.append, leave_seconds=0.01)
    first = log.keep(answered())
    while log._waiting.qsize():
        time.sleep(0.001)
    futures = [log.keep(answered(number)) for number in range(MOST_WAITING + 9)]
    assert [future.result(1) for future in futures[-9:]] == ["lost"] * 9 and log.num_lost == 9
    assert lines == [
        "1 answers or ratings are not kept: too many wait to be written; the next ones are only counted (1 lost so far)"
    ]
    log.close()
    assert lines[1] == f"about {MOST_WAITING} answers or ratings are not kept: there was no time left"
    may_write.set()
    log._thread.join()
    assert first.result(0) == "kept"
    assert log.num_kept == MOST_WAITING + 1


def test_the_last_that_was_said_of_an_answer_counts(opened: Opened) -> None:
    opened.keep(answered(1), answered(2), answered(3), answered(4, model="other"))
    opened.keep(Rated("a1", "2026-03-05T11", "down"), Rated("a1", "2026-03-05T12", "up", comment="after all"))
    opened.keep(Rated("a2", "2026-03-05T11", "down"), Rated("a4", "2026-03-05T11", "up"), Rated("a9", "t", "up"))
    file = opened.folder.new_file(day=TODAY, days=30)
    file.add([as_json(Decided("a3", when, verdict)) for when, verdict in (("t1", "rejected"), ("t2", "approved"))])
    file.close()
    review = review_of(opened.folder, "m")
    assert [standing.id for standing in review.waiting()] == ["a2", "a1"], "rated down first"
    rated = review.answers["a1"].rated
    assert rated is not None and (rated.rating, rated.comment) == ("up", "after all")
    assert review.answers["a3"].state == "approved"
    assert (review.num_of_others, review.num_without_answer) == (1, 1)
    assert review.read(review.answers["a1"]) == answered(1)
    opened.folder.without(lambda value: value["id"] == "a1", Account())
    assert review.read(review.answers["a1"]) is None


def test_keys_are_their_owners_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "answers.key"
    new_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    key = answers_key(str(file))
    with pytest.raises(SystemRefusal, match="a file of that name is in the way"):
        new_key(file)
    for mode in (0o640, 0o604):
        file.chmod(mode)
        with pytest.raises(SystemRefusal, match=f"open to others \\(mode {mode:04o}\\)"):
            answers_key(str(file))
    monkeypatch.delenv("SETSAIL_ANSWERS_KEY", raising=False)
    with pytest.raises(UserError, match="needs a key"):
        answers_key(None)
    monkeypatch.setenv("SETSAIL_ANSWERS_KEY", file.read_text())
    assert answers_key(None) == key
    monkeypatch.setenv("SETSAIL_ANSWERS_KEY", "planted-secret")
    with pytest.raises(UserError, match="64 hex digits") as caught:
        answers_key(None)
    assert "planted" not in str(caught.value)
    with pytest.raises(UserError, match="no such key file"):
        answers_key(str(tmp_path / "none"))
    with pytest.raises(SystemRefusal, match="cannot be written"):
        Folder(file / "answers", key).prepare()
    with pytest.raises(UserError, match="there is no log of answers"):
        Folder(tmp_path / "none", key).files()
