"""One row's way there and back: where it came from, what was made of it, and that it can be forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsail.base.errors import UserError
from setsail.base.log import Log
from setsail.data.row import read_drops, read_rows
from setsail.stages.rows.tracing import forget, why
from setsail.stages.voyage import sail


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lines = [
        json.dumps(
            {
                "question": f"How do I reset thing {n * 37}?  ",
                "answer": f"Open page {n * n}, press {n * 7919} and wait. Mail person{n}@example.com",
                "customer": f"Ann Miller {n % 9}",
            }
        )
        for n in range(60)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "forget.txt").write_text("", encoding="utf-8")
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ndata: {source: t.jsonl, forget: forget.txt, augment: {swap: 0.3}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def prepared(recipe: Path) -> Path:
    return Path(sail(recipe, (), Path("runs"), until="prepare", log=Log(quiet=True))["stages"]["prepare"])


def test_why_walks_the_way_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepared(recipe)
    why(recipe, "t.jsonl:7", Path("runs"), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["row"]["origin"] == "t.jsonl:7" and told["source_unchanged"]
    steps = {step["step"]: step for step in told["steps"]}
    assert steps["white_space"]["before"][0].endswith("?  ") and steps["white_space"]["after"][0].endswith("?")
    assert "person6@example.com" in steps["personal data"]["before"][1]
    assert steps["personal data"]["after"][1].endswith("[EMAIL_1]")
    assert [held["data"] for held in told["held"]] == [str(folder)]
    stored = {row.id: row for part in ("train", "validation", "test") for row in read_rows(folder / f"{part}.parquet")}
    assert stored[told["row"]["id"]].messages[1]["content"] == steps["personal data"]["after"][1]
    why(recipe, told["row"]["id"], Path("runs"))
    assert "from     t.jsonl:7" in capsys.readouterr().out


def test_a_made_row_names_the_one_it_was_made_from(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepared(recipe)
    made = next(row for row in read_rows(folder / "train.parquet") if row.marks)
    original = made.marks[0].rpartition(" ")[2]
    why(recipe, original, Path("runs"), as_json=True)
    stands = json.loads(capsys.readouterr().out)["held"][0]["stands"]
    assert {stand["id"] for stand in stands} == {original, made.id}


def test_a_source_that_changed_is_said_to_have(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(recipe)
    file = recipe.parent / "t.jsonl"
    file.write_text(file.read_text("utf-8").replace("thing 222?", "thing 223?"), encoding="utf-8")
    why(recipe, "t.jsonl:7", Path("runs"))
    assert "the source has changed since" in capsys.readouterr().out


def test_a_person_is_forgotten_with_what_was_made_and_the_old_folders_are_named(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepared(recipe)
    forget(recipe, [], Path("runs"), person="ANN  miller 3")
    lines = capsys.readouterr().out.splitlines()
    after = Path(lines[-1])
    assert lines[0] == f"holds it  {before}" and after != before
    drops = [drop for drop in read_drops(after / "dropped.parquet") if drop.reason == "forgotten"]
    assert [drop.origin for drop in drops] == [f"t.jsonl:{n + 1}" for n in range(60) if n % 9 == 3]
    gone = {drop.id for drop in drops}
    for part in ("train", "validation", "test"):
        for row in read_rows(after / f"{part}.parquet"):
            assert row.id not in gone and not any(id in mark for id in gone for mark in row.marks)
    assert "Miller" not in (recipe.parent / "forget.txt").read_text("utf-8")
    forget(recipe, [], Path("runs"), person="Ann Miller 3", delete=True)
    assert not before.exists() and after.exists()  # what no longer holds them stays
    unfinished = recipe.parent / "runs" / "r" / "finetune-0123.partial"
    unfinished.mkdir()
    forget(recipe, ["t.jsonl:1"], Path("runs"), delete=True)
    assert not after.exists() and not unfinished.exists()
    assert prepared(recipe).exists()


@pytest.mark.parametrize(
    ("names", "person", "words"),
    [([], None, "nothing to forget"), (["t.jsonl:999"], None, "no row"), ([], "  ", "--person is empty")],
)
def test_what_cannot_be_forgotten_is_said(recipe: Path, names: list[str], person: str | None, words: str) -> None:
    prepared(recipe)
    with pytest.raises(UserError, match=words):
        forget(recipe, names, Path("runs"), person=person)


def test_a_recipe_without_a_list_is_told_to_name_one(recipe: Path) -> None:
    recipe.write_text("name: r\ndata: {source: t.jsonl}\n", encoding="utf-8")
    prepared(recipe)
    with pytest.raises(UserError, match="names no list") as caught:
        forget(recipe, ["t.jsonl:1"], Path("runs"))
    assert "data.forget: forget.txt" in str(caught.value)
    with pytest.raises(UserError, match='no row "nothing"'):
        why(recipe, "nothing", Path("runs"))
