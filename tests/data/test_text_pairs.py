"""Pairs of texts: every way to write them, which side is which, and what is wrong with some."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from setsail.base.errors import DataError
from setsail.base.log import Log
from setsail.base.recipe_data import Data, Redact, Split
from setsail.data.damage import damaged
from setsail.data.formats import for_task, recognise, to_row
from setsail.data.package_source import package_fingerprint, read_package
from setsail.data.prepare import prepare
from setsail.data.row import Drop, Record, Row, read_rows
from setsail.data.summary import Summary
from setsail.data.text_pairs import languages_of

PAIR = ("The parcel is late.", "包裹晚到了。")


def sides(fields: dict[str, Any], *, task: str = "translate", **data: Any) -> tuple[str, str] | str:
    """The source and the target that a record gives, or why it gives none."""
    given = Data(source="x", **data)
    form = recognise(fields, columns=given.columns, task=task, languages=given.languages)
    row = to_row(Record("f:1", fields), for_task(form, task, ""), system=given.system)
    if isinstance(row, Drop):
        return row.reason
    assert [message["role"] for message in row.messages] == ["user", "assistant"]
    return row.messages[0]["content"], row.messages[1]["content"]


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"source": PAIR[0], "target": PAIR[1]}, {}),
        ({"input": PAIR[0], "output": PAIR[1]}, {}),
        ({"原文": PAIR[0], "译文": PAIR[1]}, {}),
        ({"msgid": PAIR[0], "msgstr": PAIR[1]}, {}),
        ({"prompt": PAIR[0], "completion": PAIR[1]}, {}),
        ({"en": PAIR[0], "zh": PAIR[1]}, {"columns": {"source": "en", "target": "zh"}}),
        ({"zh": PAIR[1], "en": PAIR[0]}, {"languages": ("en", "zh")}),
        ({"Chinese": PAIR[1], "English": PAIR[0], "note": "n"}, {"languages": ("en", "zh")}),
        ({"translation": {"zh": PAIR[1], "en": PAIR[0]}}, {"languages": ("en", "zh")}),
        ({"translation": {"zh": PAIR[1], "en": PAIR[0]}}, {"columns": {"source": "en", "target": "zh"}}),
        ({"translation": json.dumps({"zh": PAIR[1], "en": PAIR[0]})}, {"languages": ("en", "zh")}),
        ({"text": PAIR[0], "translation": PAIR[1]}, {"columns": {"source": "text", "target": "translation"}}),
    ],
)
def test_pairs_are_read_in_every_form(fields: dict[str, Any], data: dict[str, Any]) -> None:
    assert sides(fields, **data) == PAIR


def test_the_direction_is_what_the_recipe_says() -> None:
    fields = {"translation": {"en": PAIR[0], "zh": PAIR[1]}}
    assert sides(fields, languages=("zh", "en")) == PAIR[::-1]
    assert sides({"en": PAIR[0], "zh": PAIR[1]}, languages=("zh", "en")) == PAIR[::-1]


@pytest.mark.parametrize("document", ["document", "article", "dialogue", "text", "正文"])
def test_a_document_has_its_summary(document: str) -> None:
    fields = {document: "Long. Very long.", "summary": "Short."}
    assert sides(fields, task="summarize") == ("Long. Very long.", "Short.")
    assert recognise(["text", "summary"]).name == "text"  # where nothing asks for pairs, nothing changes


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"source": "a", "target": ""}, "no_answer"),
        ({"source": "a", "target": None}, "no_answer"),
        ({"source": " ", "target": "b"}, "empty_turn"),
        ({"source": {"a": 1}, "target": "b"}, "wrong_type"),
        ({"translation": {"en": "a", "de": "b"}}, "no_language"),
        ({"translation": "no JSON"}, "wrong_type"),
        ({"translation": None}, "wrong_type"),
    ],
)
def test_what_is_no_pair_is_dropped_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    data: dict[str, Any] = {"languages": ("en", "zh")} if "translation" in fields else {}
    assert sides(fields, **data) == reason


@pytest.mark.parametrize(
    ("columns", "data", "words"),
    [
        (["translation"], {}, "holds several languages, and nothing says which is the source"),
        (["en", "zh"], {"columns": {"source": "en", "target": "en"}}, "names en as source and as target"),
        (["en", "zh"], {"columns": {"source": "en", "target": "cn"}}, 'there is no column "cn"; found: en, zh'),
        (["en", "zh"], {}, "do not say which is the question"),
        (["text"], {}, "needs pairs of a source and a target, and the data holds only texts"),
    ],
)
def test_what_cannot_be_told_is_asked_for(columns: list[str], data: dict[str, Any], words: str) -> None:
    given = Data(source="x", **data)
    with pytest.raises(DataError, match=words) as caught:
        for_task(
            recognise(columns, columns=given.columns, task="translate", languages=given.languages), "translate", ""
        )
    assert caught.value.hint


def test_languages_are_those_that_the_recipe_names() -> None:
    assert languages_of(Data(source="x", languages=("en", "zh"))) == ("en", "zh")
    assert languages_of(Data(source="x", columns={"source": "Chinese", "target": "en"})) == ("zh", "en")
    assert languages_of(Data(source="x", columns={"prompt": "en", "completion": "zh"})) == ("en", "zh")
    assert languages_of(Data(source="x", columns={"source": "a", "target": "b"})) is None


NOUNS = ("parcel", "invoice", "password", "report", "printer", "window", "engine", "garden", "letter", "picture")
WORDS = ("包裹", "发票", "密码", "报告", "打印机", "窗户", "引擎", "花园", "信件", "图片")


def write_pairs(folder: Path, extra: str = "") -> None:
    chance = random.Random(1)
    lines = ["en,zh"]
    for number in range(60):
        one, two = chance.sample(range(len(NOUNS)), 2)
        english = f"The {NOUNS[one]} stands beside the {NOUNS[two]} number {number}."
        lines.append(f"{english},{WORDS[one]}在第{number}个{WORDS[two]}旁边。")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")


def prepared(folder: Path, task: str = "translate", **data: Any) -> Summary:
    given = Data(source="pairs.csv", near_duplicates=1.0, redact=Redact(mode="none"), **data)
    return prepare(given, task=task, seed=1, base_dir=folder, out=folder / "out", log=Log(quiet=True))


def told(summary: Summary, words: str) -> str:
    return next((finding for finding in summary.findings if words in finding), "")


def test_good_pairs_pass_without_a_word(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    summary = prepared(tmp_path, languages=("en", "zh"))
    assert summary.num_read == 60 and summary.dropped == {} and summary.findings == ()


def test_swapped_columns_are_told_with_a_row(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    summary = prepared(tmp_path, columns={"source": "zh", "target": "en"}, languages=("en", "zh"))
    found = told(summary, "read like Chinese")
    assert found.startswith("60 of 60 sources read like Chinese, which should be the target's language: pairs.csv:")
    assert "data.languages: [zh, en]" in found


def test_identical_sides_are_counted_and_left_out(tmp_path: Path) -> None:
    write_pairs(tmp_path, "Django,Django\nURL , URL\n")
    summary = prepared(tmp_path, languages=("en", "zh"))
    assert summary.dropped == {"same_text": 2}
    assert told(summary, "source and target are the same text").endswith("pairs.csv:62, pairs.csv:63")
    assert prepared(tmp_path / ".." / tmp_path.name, task="rewrite", languages=("en", "zh")).dropped == {}


def test_a_target_far_from_the_usual_length_is_told_and_stays(tmp_path: Path) -> None:
    write_pairs(tmp_path, "A very short sentence this is.,好\n")
    summary = prepared(tmp_path, languages=("en", "zh"))
    assert told(summary, "1 pair has a target more than 4 times").find("pairs.csv:62 (6 words to 1)") > 0
    assert sum(summary.sizes.values()) == 61


def test_a_longer_conversation_is_no_pair(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    rows = [
        {"messages": [{"role": role, "content": f"{role} {n} {m}"} for m, role in enumerate(turns)]}
        for n, turns in enumerate([("user", "assistant")] * 30 + [("user", "assistant", "user", "assistant")])
    ]
    (tmp_path / "pairs.csv").unlink()
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Data(source="pairs.jsonl", near_duplicates=1.0)
    summary = prepare(data, task="rewrite", seed=1, base_dir=tmp_path, out=tmp_path / "o", log=Log(quiet=True))
    assert summary.dropped == {"not_a_pair": 1}


def test_damaged_texts_are_the_sources_of_themselves(tmp_path: Path) -> None:
    texts = [f"Well, said the King number {n}, it's a half-made plan. He left!" for n in range(40)]
    (tmp_path / "pairs.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    prepared(tmp_path, task="rewrite", damage=("case", "punctuation"), split=Split(validation=0.1, test=0.1))
    rows = read_rows(tmp_path / "out" / "train.parquet")
    for row in rows:
        source, target = (message["content"] for message in row.messages)
        assert target in texts and source == damaged(target, ("case", "punctuation"))
        assert source.startswith("well said the king number") and "it's a half-made plan he left" in source


def test_damage_is_for_texts_alone(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    with pytest.raises(DataError, match=r"data\.damage makes pairs of texts"):
        prepared(tmp_path, task="rewrite", damage=("case",), languages=("en", "zh"))


def test_the_first_sentence_of_a_docstring_sums_up_the_rest() -> None:
    items = read_package("docstrings:json#summaries").items
    made = {item.fields["function"]: item.fields for item in items if isinstance(item, Record)}
    dumps = made["json.dumps"]
    assert dumps["summary"] == "Serialize `obj` to a JSON formatted `str`."
    assert str(dumps["document"]).startswith("If `skipkeys` is true")
    assert {item.reason for item in items if isinstance(item, Drop)} <= {"nothing_to_sum_up"}
    assert package_fingerprint("docstrings:json#summaries") != package_fingerprint("docstrings:json")


def test_every_row_is_a_row(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    prepared(tmp_path, languages=("en", "zh"))
    rows = [row for part in ("train", "validation", "test") for row in read_rows(tmp_path / "out" / f"{part}.parquet")]
    assert len(rows) == 60 and all(isinstance(row, Row) and len(row.messages) == 2 for row in rows)
