"""A sealed file: what is noticed when its bytes change, what a kill and a full disk leave, nothing is plain."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.sealed import SealedFile, Seen, Stale, read_head, read_one, read_records, write_anew

KEY = AnswersKey(bytes(range(32)))
DAY = date(2026, 3, 5)
RECORDS = [{"kind": "answer", "id": f"a{n}", "text": f"planted-{n} 植入"} for n in range(4)]
HEAD = 48


def read(raw: bytes, key: AnswersKey = KEY) -> tuple[list[dict[str, Any]], Seen]:
    file, seen = io.BytesIO(raw), Seen()
    head = read_head(file)
    if head is None or head.mark != key.mark:
        return [], seen
    return [record for _, _, record in read_records(file, head, key, seen, size=len(raw))], seen


def written(path: Path, records: list[dict[str, Any]] = RECORDS, *, close: bool = True) -> bytes:
    file = SealedFile(path, KEY, day=DAY, days=30)
    assert file.add(records) == (len(records), None)
    if close:
        file.close()
    return path.read_bytes()


def parts(raw: bytes) -> list[bytes]:
    """The sealed records behind the head, each with its length."""
    found, at = [], HEAD
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        found.append(raw[at:end])
        at = end
    return found


def test_what_is_written_is_read_and_stands_nowhere_in_the_clear(tmp_path: Path) -> None:
    raw = written(tmp_path / "a")
    assert read(raw) == (RECORDS, Seen(num_records=4, is_closed=True))
    assert b"planted" not in raw and b"answer" not in raw and "植入".encode() not in raw
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert "0001020304" not in repr(KEY) and "\\x00\\x01" not in repr(KEY)
    with (tmp_path / "a").open("rb") as file:
        head = read_head(file)
        assert head is not None and (head.day, head.days) == (DAY, 30)
        assert [head.is_over(date(2026, 4, day)) for day in (4, 5)] == [False, True]
        assert head.is_over(date(2026, 3, 10), days=4)
        places = [(offset, number) for offset, number, _ in read_records(file, head, KEY, Seen(), size=len(raw))]
        assert [read_one(file, KEY, *place) for place in places] == RECORDS
        assert read_one(file, KEY, places[0][0], 1) is None


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    raw = written(tmp_path / "a")
    for place in range(len(raw)):
        found, seen = read(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert all(record in RECORDS for record in found)
        assert found == [record for record in RECORDS if record in found], "in their order, none twice"
        assert len(found) < 4 or not seen.is_closed, place


def test_records_that_were_swapped_doubled_removed_or_borrowed_are_noticed(tmp_path: Path) -> None:
    raw, other = written(tmp_path / "a"), written(tmp_path / "b")
    a, b, c, d, end = parts(raw)
    head, stranger = raw[:HEAD], parts(other)[1]

    def ids(*records: bytes) -> tuple[list[str], int, bool]:
        found, seen = read(head + b"".join(records))
        return [record["id"] for record in found], seen.num_damaged, seen.is_closed

    assert ids(a, b, c, d, end) == (["a0", "a1", "a2", "a3"], 0, True)
    assert ids(a, c, b, d, end) == (["a0", "a3"], 2, True)
    assert ids(a, a, b, c, d, end) == (["a0"], 5, False)
    assert ids(a, c, d, end) == (["a0"], 3, False)
    assert ids(a, stranger, c, d, end) == (["a0", "a2", "a3"], 1, True)
    assert ids(a, b, c, d, end, d) == (["a0", "a1", "a2", "a3"], 1, True)
    assert ids(a, b) == (["a0", "a1"], 0, False)
    assert read(other[:HEAD] + raw[HEAD:])[1].num_damaged == 5


def test_an_end_that_was_cut_anywhere_is_told_from_a_closed_file(tmp_path: Path) -> None:
    raw = written(tmp_path / "a")
    ends = {HEAD + sum(map(len, parts(raw)[:number])) for number in range(6)}
    for size in range(HEAD, len(raw)):
        found, seen = read(raw[:size])
        assert found == RECORDS[: len(found)] and not seen.is_closed and not seen.num_damaged
        assert bool(seen.num_torn_bytes) == (size not in ends)


def test_another_key_and_what_is_no_file_of_ours_are_told(tmp_path: Path) -> None:
    raw = written(tmp_path / "a")
    head = read_head(io.BytesIO(raw))
    assert head is not None and head.mark == KEY.mark != AnswersKey(bytes(32)).mark
    assert read(raw, AnswersKey(bytes(32)))[0] == []
    assert read_head(io.BytesIO(b"{}" * 40)) is None and read_head(io.BytesIO(raw[: HEAD - 1])) is None


WRITES = """
import sys
from datetime import date
from pathlib import Path
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.sealed import SealedFile
file = SealedFile(Path(sys.argv[1]), AnswersKey(bytes(range(32))), day=date(2026, 3, 5), days=30)
for number in range(10**9):
    file.add([{"id": number, "text": "x" * 3000}])
    if number == 20:
        print("written", flush=True)
"""


def test_a_writer_that_is_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found, seen = read((tmp_path / "a").read_bytes())
    assert len(found) > 20 and [record["id"] for record in found] == list(range(len(found)))
    assert not seen.num_damaged and not seen.is_closed


FULL = """
import resource, signal, sys
from datetime import date
from pathlib import Path
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.sealed import SealedFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = SealedFile(Path(sys.argv[1]), AnswersKey(bytes(range(32))), day=date(2026, 3, 5), days=30)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
done, failure = file.add([{"id": n, "text": "x" * 1000} for n in range(5)])
print(done, failure.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(*file.add([{"id": 2, "text": "later"}]))
file.close()
"""


def test_what_a_full_disk_took_of_a_record_is_taken_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 File too large", "1 None"]
    found, seen = read((tmp_path / "a").read_bytes())
    assert [record["id"] for record in found] == [0, 1, 2] and found[2]["text"] == "later"
    assert seen == Seen(num_records=3, is_closed=True)


def test_a_writer_sees_that_its_file_was_replaced_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = SealedFile(path, KEY, day=DAY, days=30)
    file.add(RECORDS)
    with path.open("rb") as old:
        head = read_head(old)
    assert head is not None
    write_anew(path, KEY, head, RECORDS[:1])
    assert read(path.read_bytes()) == (RECORDS[:1], Seen(num_records=1, is_closed=True))
    with pytest.raises(Stale):
        file.add(RECORDS)
    path.unlink()
    with pytest.raises(Stale):
        file.add(RECORDS)
    file.close()
    assert os.listdir(tmp_path) == []
