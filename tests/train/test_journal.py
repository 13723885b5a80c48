"""The journal holds each step once."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from faults import fault_at

from setsail.base.errors import SystemRefusal
from setsail.train.journal import open_journal, read_journal, record_of
from setsail.train.loop import Step


def write(path: Path, start: int, steps: range) -> None:
    with open_journal(path, start=start) as journal:
        for step in steps:
            journal.append({"step": step, "of": start})
        journal.flush()


def test_what_was_written_beyond_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "new" / "steps.jsonl"
    write(path, 0, range(1, 8))
    with path.open("a") as file:
        file.write('{"step": 8, "torn')
    write(path, 4, range(5, 10))
    records = read_journal(path)
    assert [record["step"] for record in records] == list(range(1, 10))
    assert [record["of"] for record in records] == [0] * 4 + [4] * 5


def test_a_line_is_there_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with open_journal(tmp_path / "steps.jsonl", start=0) as journal:
        journal.append({"step": 1})
        assert read_journal(tmp_path / "steps.jsonl") == [{"step": 1}]


def test_numbers_are_kept_to_the_last_bit() -> None:
    step = Step(3, 1 / 3, 10, 7, 2 / 3, 1e-3, 0.123456)
    record = json.loads(json.dumps(record_of(step)))
    assert float.fromhex(record["loss_hex"]) == record["loss_nats"] == 1 / 3
    assert float.fromhex(record["grad_norm_hex"]) == record["grad_norm"]
    assert (record["step"], record["num_tokens"], record["num_supervised"]) == (3, 10, 7)


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    refused = 0
    for nth in range(1, 50):
        with fault_at(nth, refuse):
            try:
                write(tmp_path / f"{nth}.jsonl", 0, range(1, 3))
            except SystemRefusal as error:
                assert "no space is left" in str(error)
                refused += 1
    assert refused >= 7  # opening, writing, flushing, renaming: each of them once or more


def test_no_file_is_an_empty_journal(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "steps.jsonl") == []
    assert os.listdir(tmp_path) == []
