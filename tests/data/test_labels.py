"""Labels: what is read as one, what contradicts, what is too little, and that every part has every label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsail.base.errors import DataError
from setsail.base.log import Log
from setsail.base.recipe_data import Data, Split
from setsail.data.inspect import inspect
from setsail.data.prepare import prepare
from setsail.data.row import read_drops, read_rows
from setsail.data.summary import Summary

WORDS = [
    "parcel",
    "invoice",
    "login",
    "refund",
    "crash",
    "order",
    "box",
    "late",
    "wrong",
    "sum",
    "快递",
    "发票",
    "登录",
]


def text(number: int) -> str:
    """A text that is nearly the same as no other."""
    return (
        " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(6)) + f" {number * 37}"
    )


def write(folder: Path, rows: list[tuple[str, object]], name: str = "t.jsonl") -> Path:
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def prepared(folder: Path, **settings: object) -> Summary:
    data = Data(**{"source": "t.jsonl", "redact": "none", "near_duplicates": 1.0, **settings})
    return prepare(data, task="classify", seed=1, base_dir=folder, out=folder / "out", log=Log(quiet=True))


def test_labels_are_text_numbers_and_truth_values_and_keep_their_language(tmp_path: Path) -> None:
    labels = ["  late   delivery ", "late delivery", 3, 3.0, True, "发票"]
    write(tmp_path, [(text(number), labels[number % 6]) for number in range(60)])
    summary = prepared(tmp_path)
    rows = [row for part in ("train", "validation", "test") for row in read_rows(tmp_path / "out" / f"{part}.parquet")]
    assert {row.label for row in rows} == {"late delivery", "3", "true", "发票"}
    assert any("4 labels: late delivery 20, 3 20" in finding for finding in summary.findings)


def test_every_label_stands_in_every_part_and_no_row_is_lost(tmp_path: Path) -> None:
    rare = 7
    write(tmp_path, [(text(number), "rare" if number < rare else f"common {number % 2}") for number in range(200)])
    summary = prepared(tmp_path)
    for part, least in (("train", 5), ("validation", 1), ("test", 1)):
        labels = [row.label for row in read_rows(tmp_path / "out" / f"{part}.parquet")]
        assert set(labels) == {"rare", "common 0", "common 1"} and labels.count("rare") >= least
    assert sum(summary.sizes.values()) == 200


def test_texts_under_several_labels_are_dropped_counted_and_named(tmp_path: Path) -> None:
    rows = [(text(number), f"label {number % 2}") for number in range(40)]
    write(tmp_path, [*rows, (text(3).upper() + "!", "label 0"), (text(4), "label 0")])
    summary = prepared(tmp_path)
    assert summary.dropped["contradictory_label"] == 2 and summary.dropped["exact_duplicate"] == 1
    drops = [drop for drop in read_drops(tmp_path / "out" / "dropped.parquet") if drop.reason == "contradictory_label"]
    assert {drop.origin for drop in drops} == {"t.jsonl:4", "t.jsonl:41"}
    assert '"label 1" here, "label 0" at t.jsonl:41' in [drop.detail for drop in drops]
    assert any("the same text stands under another label too" in finding for finding in summary.findings)


def test_rows_of_one_text_and_one_label_do_not_contradict(tmp_path: Path) -> None:
    write(tmp_path, [*[(text(number), f"label {number % 2}") for number in range(40)], (text(0), "label 0")])
    assert prepared(tmp_path).dropped == {"exact_duplicate": 1}


def test_near_copies_with_another_label_stay(tmp_path: Path) -> None:
    rows = [(text(number), f"label {number % 2}") for number in range(40)]
    long = "the parcel that i ordered last week on your page has not come to my house in the green street yet"
    write(tmp_path, [*rows, (long, "label 0"), (f"{long} sir", "label 0"), (f"{long} madam", "label 1")])
    summary = prepared(tmp_path, near_duplicates=0.6)
    assert summary.dropped == {"near_duplicate": 1}
    assert any("1 row is nearly the same as one with another label, and kept" in found for found in summary.findings)


def test_an_empty_label_is_a_reason(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(text(number), f"label {number % 2}") for number in range(40)]
    write(tmp_path, [*rows, ("no label", "  "), ("none", None), ("nan", float("nan")), ("many", ["a", "b"])])
    summary = prepared(tmp_path)
    assert summary.dropped == {"no_label": 3, "wrong_type": 1}
    assert summary.first_dropped["no_label"] == ("t.jsonl:41", "t.jsonl:42", "t.jsonl:43")


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [(text(number), "only") for number in range(40)])
    with pytest.raises(DataError, match='every row has the label "only"') as raised:
        prepared(tmp_path)
    assert "t.jsonl:1" in str(raised.value.place) and "data.columns" in str(raised.value.hint)


def test_texts_and_labels_in_each_others_columns_are_told_of(tmp_path: Path) -> None:
    write(tmp_path, [(f"label {number % 2}", text(number)) for number in range(60)])
    with pytest.raises(DataError, match="the same text stands under another label too") as raised:
        prepared(tmp_path)
    assert "in each other's columns" in str(raised.value.hint)
    summary = prepared(tmp_path, columns={"text": "label", "label": "text"})
    assert summary.sizes == {"train": 48, "validation": 6, "test": 6}


def test_three_rows_of_a_label_are_refused_with_the_first_of_them(tmp_path: Path) -> None:
    write(tmp_path, [(text(number), "rare" if number in (7, 9, 11) else f"label {number % 2}") for number in range(60)])
    with pytest.raises(DataError, match=r'at least 5 rows .* "rare" has 3 \(first t.jsonl:8\)') as raised:
        prepared(tmp_path)
    assert raised.value.place == "t.jsonl:8" and "join them" in str(raised.value.hint)


def test_ten_thousand_labels_are_no_labels(tmp_path: Path) -> None:
    write(tmp_path, [(text(number), f"customer {number}") for number in range(10_000)])
    with pytest.raises(DataError, match=r"10,000 rows have 10,000 different labels, for instance") as raised:
        prepared(tmp_path)
    assert raised.value.place == "t.jsonl:1" and "name its column" in str(raised.value.hint)


def test_a_label_that_train_lacks_is_refused_where_groups_allow_no_other_split(tmp_path: Path) -> None:
    lines = [{"text": text(n), "label": f"label {n % 2}", "user": f"u{n % 20}"} for n in range(100)]
    lines += [
        {"text": text(200 + 5 * place + n), "label": f"of {user}", "user": user}
        for place, user in enumerate("abcdefghij")
        for n in range(5)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(DataError, match=r'the label "of ." stands in (validation|test) and nowhere in train') as raised:
        prepared(tmp_path, split=Split(validation=0.2, test=0.2, by="user"))
    assert str(raised.value.place).startswith("t.jsonl:")


def test_labels_that_differ_in_spelling_are_told(tmp_path: Path) -> None:
    write(tmp_path, [(text(number), ["Billing", "billing", "other"][number % 3]) for number in range(60)])
    assert any('"Billing", "billing"' in finding for finding in prepared(tmp_path).findings)


def test_without_a_label_column_the_columns_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n' * 30, encoding="utf-8")
    with pytest.raises(DataError, match="needs a text and a label column") as raised:
        prepared(tmp_path)
    assert "data.columns: {text" in str(raised.value.hint)


@pytest.mark.parametrize("header", ["text,label", "内容,类别", "Text,Category", "文本,标签"])
def test_a_table_of_texts_and_labels_is_recognised(header: str, tmp_path: Path) -> None:
    lines = [header, *(f"{text(number)},label {number % 2}" for number in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    seen = inspect(tmp_path / "t.csv")
    assert seen.format == "text_label" and seen.task == "classify" and seen.num_usable == 40
    assert seen.samples[0].label == "label 0"


def test_other_tasks_read_the_text_alone(tmp_path: Path) -> None:
    write(tmp_path, [(text(number), f"label {number % 2}") for number in range(40)])
    data = Data(source="t.jsonl", redact="none")
    prepare(data, task="text", seed=1, base_dir=tmp_path, out=tmp_path / "out", log=Log(quiet=True))
    assert {row.label for row in read_rows(tmp_path / "out" / "train.parquet")} == {""}
