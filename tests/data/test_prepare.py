"""The whole of preparing: accounting, the trap of copies, splits, determinism, and what is refused."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.errors import DataError, RecipeError, SystemRefusal
from setsail.data.row import Row, read_drops, read_rows
from setsail.data.summary import Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]


def _rows(folder: Path) -> list[Row]:
    return [row for part in ("train", "validation", "test") for row in read_rows(folder / f"{part}.parquet")]


def test_a_clean_file_is_kept_whole_and_split(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(100)])
    summary = prepared("rows.jsonl")
    assert summary.sizes == {"train": 80, "validation": 10, "test": 10}
    assert summary.dropped == {}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "data.html",
        "data.json",
        "data.md",
        "dropped.parquet",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    row = next(row for row in _rows(tmp_path / "out") if row.origin == "rows.jsonl:8")
    assert row.messages == (
        {"role": "user", "content": pair(7)["prompt"]},
        {"role": "assistant", "content": pair(7)["completion"]},
    )
    assert json.loads(json.dumps(summary.as_dict()))["num_read"] == 100


def test_a_file_of_copies_is_told_in_one_sentence_and_refused(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n % 10) for n in range(1050)])
    sentence = "1,050 rows hold 10 distinct question–answer pairs; 1,040 copies were removed"
    with pytest.raises(DataError, match=sentence) as caught:
        prepared("rows.jsonl")
    assert "only 10 usable rows" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_copies_never_stand_in_two_parts(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n % 30) for n in range(1050)])
    summary = prepared("rows.jsonl")
    assert summary.findings[0] == "1,050 rows hold 30 distinct question–answer pairs; 1,020 copies were removed"
    assert len(_rows(tmp_path / "out")) == 30
    drops = read_drops(tmp_path / "out" / "dropped.parquet")
    assert {drop.reason for drop in drops} == {"exact_duplicate"}
    assert drops[0].detail == "like rows.jsonl:1"


def test_every_broken_row_is_counted_with_its_line(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    rows: list[object] = [pair(n) for n in range(60)]
    rows[9] = '{"prompt": "broken'
    rows[19] = {"prompt": "Nobody answers this", "completion": "  "}
    rows[29] = {"prompt": "What", "completion": 5}
    rows[39] = '{"prompt": "half \\ud83d", "completion": "a pair"}'
    rows[49] = '{"prompt": "a NUL", "completion": "in\\u0000side"}'
    summary = prepared(jsonl(rows).name)
    assert summary.dropped == {"broken_json": 1, "lone_surrogate": 1, "no_answer": 1, "wrong_type": 1}
    assert summary.first_dropped["broken_json"] == ("rows.jsonl:10",)
    assert summary.first_dropped["lone_surrogate"] == ("rows.jsonl:40",)
    assert summary.changed == {"control_characters": 1}
    assert summary.num_read == 60 == len(_rows(tmp_path / "out")) + sum(summary.dropped.values())
    assert any("rows.jsonl:20" in finding for finding in summary.findings)


def test_more_than_a_tenth_broken_is_refused_with_the_first_line(jsonl: Write, prepared: Prepare) -> None:
    jsonl([pair(n) if n % 5 else "{broken" for n in range(100)])
    with pytest.raises(DataError, match=r"20 of 100 rows .* are broken") as caught:
        prepared("rows.jsonl")
    assert caught.value.place == "rows.jsonl:1"


def test_the_same_input_gives_the_same_bytes(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n % 70) for n in range(90)])
    assert prepared("rows.jsonl", out="a") == prepared("rows.jsonl", out="b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    prepared("rows.jsonl", out="c", seed=2)
    assert (tmp_path / "a" / "test.parquet").read_bytes() != (tmp_path / "c" / "test.parquet").read_bytes()


def test_max_rows_samples_the_same_rows_and_counts_the_rest(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(100)])
    summary = prepared("rows.jsonl", max_rows=40)
    assert summary.dropped == {"over_max_rows": 60}
    assert sum(summary.sizes.values()) == 40
    chosen = {row.id for row in _rows(tmp_path / "out")}
    prepared("rows.jsonl", max_rows=50, out="more")
    assert chosen < {row.id for row in _rows(tmp_path / "more")}


def test_rows_of_one_group_stay_together(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([{**pair(n), "customer": f"ann{n % 15}@example.org"} for n in range(120)])
    prepared("rows.jsonl", split={"by": "customer", "validation": 0.2, "test": 0.2})
    parts = [read_rows(tmp_path / "out" / f"{name}.parquet") for name in ("train", "validation", "test")]
    groups = [{row.group for row in part} for part in parts]
    assert all(groups) and not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert not any("@" in group for part in groups for group in part)


def test_the_same_first_question_is_one_group(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([{"prompt": f"Question {n % 25} is?", "completion": pair(n)["completion"]} for n in range(100)])
    prepared("rows.jsonl")
    seen: dict[str, set[str]] = {}
    for name in ("train", "validation", "test"):
        for row in read_rows(tmp_path / "out" / f"{name}.parquet"):
            seen.setdefault(row.messages[0]["content"], set()).add(name)
    assert len(seen) == 25 and all(len(names) == 1 for names in seen.values())


def test_personal_data_is_masked_dropped_or_left(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    rows = [pair(n) for n in range(40)]
    rows[3]["completion"] += " Write to ann.lee@example.org."
    jsonl(rows)
    summary = prepared("rows.jsonl")
    assert summary.redacted == {"EMAIL": 1}
    assert not any("ann.lee" in m["content"] for row in _rows(tmp_path / "out") for m in row.messages)
    assert prepared("rows.jsonl", redact="drop").dropped == {"personal_data": 1}
    assert b"ann.lee" not in (tmp_path / "out" / "dropped.parquet").read_bytes()
    assert prepared("rows.jsonl", redact="none").redacted == {}


def test_texts_become_rows_of_task_text(prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("\n\n".join(pair(n)["completion"] + "\nSecond line." for n in range(40)))
    summary = prepared("notes.txt", task="text")
    assert sum(summary.sizes.values()) == 40
    assert all(row.messages == () and row.text.endswith("Second line.") for row in _rows(tmp_path / "out"))
    with pytest.raises(DataError, match="task chat needs questions and answers"):
        prepared("notes.txt")


def test_files_that_are_not_read_are_named(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    jsonl([pair(n) for n in range(30)], name="d/rows.jsonl")
    (tmp_path / "d" / "README.md").write_text("# About")
    assert "not read: README.md" in prepared("d").findings


def test_a_system_prompt_is_put_first(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(30)])
    prepared("rows.jsonl", system="Be brief.")
    assert all(row.messages[0] == {"role": "system", "content": "Be brief."} for row in _rows(tmp_path / "out"))


def test_too_few_rows_name_the_reasons(jsonl: Write, prepared: Prepare) -> None:
    jsonl([pair(n) if n < 5 else {"prompt": f"Open {n}", "completion": ""} for n in range(40)])
    with pytest.raises(DataError, match=r"only 5 usable rows are left of 40.*35 rows were dropped .no answer."):
        prepared("rows.jsonl")


def test_a_missing_split_column_lists_the_columns(jsonl: Write, prepared: Prepare) -> None:
    jsonl([pair(n) for n in range(30)])
    with pytest.raises(DataError, match='"promt" that is not there; found: prompt, completion') as caught:
        prepared("rows.jsonl", split={"by": "promt"})
    assert caught.value.hint == 'did you mean "prompt"?'


def test_a_full_disk_is_a_refusal_and_the_same_command_succeeds_later(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(pair(n) for n in range(400))
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from setsail.base.errors import SystemRefusal; from setsail.base.log import Log\n"
        "from setsail.base.recipe import Data; from setsail.data.prepare import prepare\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), {resource.RLIM_INFINITY}))\n"
        f"here = Path({str(tmp_path)!r})\n"
        "try:\n"
        "    data, log = Data(source='rows.csv'), Log(quiet=True)\n"
        "    prepare(data, task='chat', seed=1, base_dir=here, out=here / 'out', log=log)\n"
        "except SystemRefusal as error:\n"
        "    sys.exit(error.exit_code)\n"
    )
    codes = [
        subprocess.run([sys.executable, "-c", program, limit], check=False, timeout=60).returncode
        for limit in ("1000", "10000000")
    ]
    assert codes == [2, 0]


def test_an_unwritable_place_is_a_refusal(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(30)])
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises((SystemRefusal, FileExistsError)):
        prepared("rows.jsonl")


_cells = st.one_of(
    st.none(), st.integers(), st.text(max_size=12), st.sampled_from(["Yes.", "no", "ann@example.org", " "])
)
_record = st.fixed_dictionaries({}, optional={"prompt": _cells, "completion": _cells, "note": _cells})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_record, max_size=30))
def test_read_is_kept_plus_dropped(prepared: Prepare, tmp_path: Path, records: list[dict[str, object]]) -> None:
    every: list[object] = [*(pair(n) for n in range(30)), *records]
    (tmp_path / "any.jsonl").write_text("\n".join(json.dumps(row) for row in every), encoding="utf-8")
    summary = prepared("any.jsonl")
    kept, drops = _rows(tmp_path / "out"), read_drops(tmp_path / "out" / "dropped.parquet")
    assert summary.num_read == len(every) == len(kept) + len(drops)
    origins = [row.origin for row in kept] + [drop.origin for drop in drops]
    assert sorted(origins) == sorted(f"any.jsonl:{n + 1}" for n in range(len(every)))
    assert len({row.id for row in kept} | {drop.id for drop in drops}) == len(every)


def test_a_folder_that_is_used_again_tells_the_places_of_the_new_rows(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    for num in (30, 60):
        jsonl([*(pair(n) for n in range(num)), pair(num - 1)])
        prepared("rows.jsonl")
        (drop,) = read_drops(tmp_path / "out" / "dropped.parquet")
        assert drop.origin == f"rows.jsonl:{num + 1}" and f"rows.jsonl:{num}" in drop.detail


def test_cleaning_is_counted_by_step_and_each_drop_has_its_figure(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    texts = [f"<p>{pair(n)['completion']}</p>" if n < 5 else pair(n)["completion"] for n in range(40)]
    jsonl([{"text": text} for text in [*texts, "short", "you idiot, " + texts[9]]])
    clean = ["html", "standard", {"length": {"min_words": 3}}, "toxicity"]
    summary = prepared("rows.jsonl", task="text", clean=clean, near_duplicates=1.0)
    assert summary.changed == {"html": 5, "toxicity": 1}
    assert summary.dropped == {"too_short": 1}
    (drop,) = read_drops(tmp_path / "out" / "dropped.parquet")
    assert (drop.origin, drop.detail) == ("rows.jsonl:41", "length: 1 words < 3")
    rows = _rows(tmp_path / "out")
    assert [row.origin for row in rows if row.marks == ("toxic",)] == ["rows.jsonl:42"]
    assert not any("<p>" in row.text for row in rows)


def test_a_step_that_does_not_exist_is_refused_before_anything_is_written(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    jsonl([pair(n) for n in range(30)])
    with pytest.raises(RecipeError, match="white_space"):
        prepared("rows.jsonl", clean=["white_spaces"])
    assert not (tmp_path / "out").exists()


def test_the_documentation_of_a_package_is_split_by_function(prepared: Prepare, tmp_path: Path) -> None:
    summary = prepared("docstrings:statistics")
    groups = [{row.group for row in read_rows(tmp_path / "out" / f"{part}.parquet")} for part in summary.sizes]
    assert all(groups) and len(set.union(*groups)) == sum(map(len, groups))
    assert "mean" in set.union(*groups)
