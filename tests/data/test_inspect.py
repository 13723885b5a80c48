"""A look at a file says what it is, what is wrong, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data.small_rows import pair
from setsail.data.inspect import inspect


def test_a_good_file(jsonl: Callable[..., Path], tmp_path: Path) -> None:
    jsonl([{**pair(n), "customer_id": n % 12, "note": "x"} for n in range(40)])
    before = sorted(tmp_path.rglob("*"))
    seen = inspect("rows.jsonl", base_dir=tmp_path)
    assert (seen.container, seen.encoding, seen.format, seen.task) == ("jsonl", "utf-8", "prompt_completion", "chat")
    assert (seen.num_rows, seen.num_usable, len(seen.samples), seen.problems) == (40, 40, 3, ())
    assert seen.columns == {"prompt": "prompt", "completion": "completion"} and seen.split_by == "customer_id"
    assert sorted(tmp_path.rglob("*")) == before


def test_problems_are_named(tmp_path: Path) -> None:
    rows = ["question,answer"] + [f"问题{n % 10},答案{n % 10}" for n in range(30)] + ["没有答案,", "一,二,三"]
    (tmp_path / "a.csv").write_bytes("\n".join(rows).encode("gb18030"))
    seen = inspect(tmp_path / "a.csv")
    assert seen.encoding == "gb18030" and seen.columns == {"prompt": "question", "completion": "answer"}
    assert seen.problems == (
        "1 row was dropped (no answer): a.csv:32",
        "1 row was dropped (more or fewer cells than the header): a.csv:33",
        "30 rows hold 10 distinct ones; 20 are copies",
        "10 usable rows; at least 20 are needed",
    )


def test_unknown_columns_are_a_problem_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frage,antwort\n1,2\n")
    seen = inspect("a.csv", base_dir=tmp_path)
    assert seen.format is None and seen.columns_found == ("frage", "antwort")
    assert "found: frage, antwort" in seen.problems[0] and "data.columns" in seen.problems[0]
