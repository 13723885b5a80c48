"""Rows from reviewed answers: what each task makes of one, what is left out and why, what a redactor leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_data import Redact
from setsail.base.target import labels_of, score_of, spans_of
from setsail.data.privacy.options import redactor_of
from setsail.data.row import Row, Unfit, read_rows
from setsail.serve.feedback.folder import Folder
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.record import Answered, Decided, Json, Rated, as_json
from setsail.serve.feedback.standing import Review, review_of
from setsail.stages.feedback.log import mask_of, masked
from setsail.stages.feedback.rows import ORIGIN, as_correction, row_of, rows_of
from setsail.stages.voyage import sail

KEY = AnswersKey(bytes(range(32)))


def recipe_of(task: str, **data: Any) -> Recipe:
    # A ranker and an embedder need no base here: nothing is trained.
    return Recipe.model_validate({"name": "m", "task": task, "data": {"source": "rows.jsonl", **data}})


def answered(answer_id: str, task: str, asked: Json, said: Json, **more: Any) -> Answered:
    path = "/v1/chat/completions" if "messages" in asked else "/v1/completions" if "prompt" in asked else "/predict"
    names = {"key": "", "model": "m", "lineage": "abc123", "task": task, "path": path}
    values = {"asked": asked, "said": said, "finish_reason": "stop"}
    return Answered(**{"id": answer_id, "time": f"2026-{answer_id}", **names, **values, **more})


def chatted(answer_id: str, question: str, answer: str, *before: Json, **more: Any) -> Answered:
    asked = {"messages": [*before, {"role": "user", "content": question}]}
    return answered(answer_id, "chat", asked, {"content": answer}, **more)


def reviewed(folder: Path, *each: tuple[Answered, str | None] | Answered) -> Review:
    """A log with these answers: approved, or corrected where a text stands beside one, or "-" for rejected."""
    log = Folder(folder, KEY)
    log.prepare()
    file = log.new_file(day=datetime.now(UTC).date(), days=30)
    for one in each:
        record, said = one if isinstance(one, tuple) else (one, "")
        file.add([as_json(record)])
        if said == "-":
            file.add([as_json(Decided(record.id, "t", "rejected"))])
        elif said is not None:
            file.add([as_json(Decided(record.id, "t", "corrected" if said else "approved", said))])
    file.close()
    return review_of(log, "m")


ASKED: dict[str, tuple[Json, Json, str | None]] = {
    # task: what was asked, what was said, a correction
    "classify": ({"text": "快递坏了"}, {"label": "login", "probability": 0.4}, "delivery"),
    "regress": ({"text": "a fine day"}, {"score": 0.25}, "0.75"),
    "grade": ({"rubric": "says four", "text": "it is four"}, {"score": 1.5}, "3"),
    "tag": (
        {"text": "Ann lives in Rome."},
        {"spans": [{"start": 0, "end": 3, "label": "PER", "text": "Ann", "probability": 0.9}]},
        '[[0, 3, "PER"], {"text": "Rome", "label": "LOC"}]',
    ),
    "relate": ({"text": "Ann lives in Rome.", "head": "Ann", "tail": "Rome"}, {"relation": "born_in"}, "lives_in"),
    "answer": (
        {"question": "Where?", "context": "Ann lives in Rome."},
        {"answer": "Ann", "start": 0, "end": 3, "probability": 0.5},
        "Rome",
    ),
    "translate": ({"text": "good morning"}, {"output": "晚上好"}, "早上好"),
    "embed": ({"text": "late parcel"}, {}, "the parcel came late"),
    "rank": ({"query": "late parcel", "text": "the late parcel"}, {"score": 0.91}, "2"),
    "text": ({"prompt": "Once upon "}, {"content": "a time there was a cat."}, "a time there was a dog."),
    "chat": ({"text": "hello", "system": "Be kind."}, {"output": "What?"}, "你好，很高兴见到你。"),
}
EXPECTED: dict[str, tuple[Any, Any]] = {
    "classify": ("login", "delivery"),
    "regress": (0.25, 0.75),
    "grade": (1.5, 3.0),
    "tag": ([(0, 3, "PER")], [(0, 3, "PER"), (13, 17, "LOC")]),
    "relate": ("born_in", "lives_in"),
    "answer": ([(0, 3, "answer")], [(13, 17, "answer")]),
    "translate": ("晚上好", "早上好"),
    "embed": (None, "the parcel came late"),
    "rank": (None, "2"),
    "text": ("Once upon a time there was a cat.", "Once upon a time there was a dog."),
    "chat": ("What?", "你好，很高兴见到你。"),
}


def learned(row: Row, task: str) -> Any:
    """What a prepared row teaches."""
    if task in ("classify", "relate", "rank"):
        return row.label
    if task in ("regress", "grade"):
        return score_of(row.target)
    if task in ("tag", "answer"):
        return [tuple(span) for span in spans_of(row.target)]
    return row.text if task == "text" else row.messages[-1]["content"]


@pytest.mark.parametrize("task", ASKED)
def test_the_data_stage_reads_what_is_exported_of_every_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, said, correction = ASKED[task]
    recipe = recipe_of(task, **({"languages": ["en", "zh"]} if task == "translate" else {}))
    first, second = (answered(name, task, asked, said) for name in ("01", "02"))
    approved = rows_of(reviewed(tmp_path / "approved", first), recipe)
    corrected = rows_of(reviewed(tmp_path / "corrected", (second, correction)), recipe)
    expected = EXPECTED[task]
    assert len(approved.rows) == (expected[0] is not None) and len(corrected.rows) == 1
    assert sum(approved.left_out.values()) == (expected[0] is None)
    monkeypatch.chdir(tmp_path)
    data = "source: rows.jsonl, redact: none, clean: [], near_duplicates: 1.0, split: {validation: 0, test: 0}"
    data += ", languages: [en, zh]" if task == "translate" else ""
    Path("r.yaml").write_text(f"name: m\ntask: {task}\ndata: {{{data}}}\n", encoding="utf-8")
    for rows, wanted in ((approved.rows, expected[0]), (corrected.rows, expected[1])):
        if not rows:
            continue
        # Beside it other rows, since a source of twenty is the least, and one of one label or query is refused.
        others = [{**rows[0], **_other(task, number)} for number in range(22)]
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *others]), encoding="utf-8")
        made = Path(sail(Path("r.yaml"), (), Path("runs"), until="prepare", log=Log(quiet=True))["stages"]["prepare"])
        prepared = read_rows(made / "train.parquet")
        assert learned(next(row for row in prepared if row.origin == "rows.jsonl:1"), task) == wanted
        assert rows[0].keys() >= set(ORIGIN) and rows[0]["lineage"] == "abc123"


def _other(task: str, number: int) -> Json:
    """Columns that make another row of one."""
    n, relation = number * 7919, ("born_in", "lives_in")[number % 2]
    return {
        "classify": {"text": f"password {n} wrong", "label": ("login", "delivery")[number % 2]},
        "regress": {"text": f"a bad night {n}", "score": -3},
        "grade": {"text": f"it is {n}", "score": 0},
        "tag": {"text": f"The dog sees London town {n}.", "spans": [[13, 19, "LOC"]]},
        "relate": {
            "text": f"Bob hates Paris {n} times.",
            "head": "Bob",
            "tail": "Paris",
            "relation": relation,
        },
        "answer": {"question": f"Who sees {n}?", "context": f"The dog sees {n}.", "answers": ["dog"]},
        "translate": {"source": f"a red house {n}", "target": f"一座红房子 {n}"},
        "embed": {"query": f"wrong invoice {n}", "positive": f"the bill {n} is wrong"},
        "rank": {"query": f"wrong invoice {n}", "text": f"the bill {n} is wrong", "label": "0"},
        "text": {"text": f"A wholly different story about the sea and its ships number {n}."},
        "chat": {"messages": [{"role": "user", "content": f"Bye {n}"}, {"role": "assistant", "content": f"Bye {n}."}]},
    }[task]


def test_several_labels_no_answer_and_columns_of_ones_own(tmp_path: Path) -> None:
    many = answered("01", "classify", {"text": "a"}, {"labels": ["x"], "probabilities": {}})
    made = rows_of(reviewed(tmp_path / "a", many, (replace(many, id="02"), "x | y")), recipe_of("classify"))
    assert [row["labels"] for row in made.rows] == [["x"], "x | y"]
    assert as_correction(many) == '["x"]' and labels_of('{"labels": ["x", "y"]}') == ("x", "y")
    asked = {"question": "Who?", "context": "Nobody knows."}
    none = answered("01", "answer", asked, {"answer": "", "start": 0, "end": 0})
    some = answered("02", "answer", asked, {"answer": "Nobody", "start": 0, "end": 6})
    made = rows_of(reviewed(tmp_path / "b", none, (some, "[]")), recipe_of("answer"))
    assert [row["answers"] for row in made.rows] == [[]] and made.num_merged == 1
    own = answered("01", "classify", {"text": "a"}, {"label": "x"})
    made = rows_of(reviewed(tmp_path / "c", own), recipe_of("classify", columns={"text": "body", "label": "topic"}))
    assert {name: made.rows[0][name] for name in ("body", "topic")} == {"body": "a", "topic": "x"}


def test_every_answer_is_a_row_or_counted_with_its_reason(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"id": 7}'}}
    tools = [{"type": "function", "function": {"name": "look"}}]
    calling = chatted("06", "Where is 7?", "")
    calling = replace(calling, asked={**calling.asked, "tools": tools}, said={"content": "", "tool_calls": [call]})
    made = rows_of(
        reviewed(
            tmp_path / "log",
            chatted("01", "Hi", "Hello."),
            chatted("02", "Hi", "Hello."),
            (chatted("03", "Hi", "Go away."), "你好。"),
            (chatted("04", "Bye", "Never."), "-"),
            (chatted("05", "What?", "That."), None),
            replace(calling, finish_reason="tool_calls"),
            chatted("07", "Long?", "It goes on and", finish_reason="length"),
            answered("08", "chat", {"prompt": "abc"}, {"content": "def"}),
            answered("09", "text", {"prompt": "abc"}, {"content": "def"}),
            chatted("10", "Empty?", ""),
            (chatted("11", "Long?", "It goes on and", finish_reason="length"), "It ends."),
            chatted("12", "Other", "model", model="other"),
        ),
        recipe_of("chat"),
    )
    assert [row["answer_id"] for row in made.rows] == ["01", "03", "06", "11"]
    assert [row["review"] for row in made.rows] == ["approved", "corrected", "approved", "corrected"]
    assert made.rows[1]["messages"][-1] == {"role": "assistant", "content": "你好。"}
    assert made.rows[2]["tools"] == tools and made.rows[2]["messages"][-1]["tool_calls"] == [call]
    assert made.num_merged == 1 and made.by_lineage == {"abc123": 2}
    assert made.left_out == {
        "rejected": 1,
        "waits for review": 1,
        "was cut off, and nothing says how it goes on": 1,
        "is a plain completion, no conversation": 1,
        "was given by a model of task text": 1,
        "no answer (an empty answer)": 1,
    }


def test_a_conversation_is_one_row_and_holds_no_answer_that_was_refused(tmp_path: Path) -> None:
    def turns(*texts: str) -> list[Json]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    made = rows_of(
        reviewed(
            tmp_path / "log",
            chatted("01", "A?", "a"),
            chatted("02", "B?", "b", *turns("A?", "a")),
            (chatted("03", "C?", "c"), "-"),
            chatted("04", "D?", "d", *turns("C?", "c")),
            (chatted("05", "E?", "e"), "better"),
            chatted("06", "F?", "f", *turns("E?", "e")),
            chatted("07", "G?", "g", *turns("E?", "better")),
        ),
        recipe_of("chat"),
    )
    assert [row["answer_id"] for row in made.rows] == ["02", "07"]
    assert made.num_merged == 2, "the first two turns stand in longer conversations"
    assert made.left_out == {"holds an earlier answer that was rejected or corrected": 2, "rejected": 1}


def test_pairs_are_of_what_was_corrected(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "m", "data": {"source": "r"}, "finetune": {"prefer": {}}})
    system = {"role": "system", "content": "Be kind."}
    made = rows_of(
        reviewed(
            tmp_path / "log",
            (chatted("01", "Hi", '[{"a": 1}]', system), "你好。"),
            chatted("02", "Hi", "Hello."),
            (chatted("03", "Hi", "Same."), "Same."),
            (chatted("04", "Hi", "It goes", finish_reason="length"), "Done."),
        ),
        recipe,
        preferences=True,
    )
    [row] = made.rows
    assert row["prompt"] == [system, {"role": "user", "content": "Hi"}]
    assert row["chosen"] == [{"role": "assistant", "content": "你好。"}]
    assert row["rejected"] == [{"role": "assistant", "content": '[{"a": 1}]'}]
    assert made.left_out == {
        "was not corrected": 1,
        "same answers (the chosen and the rejected answer are the same)": 1,
        "was cut off: how it ends cannot be compared": 1,
    }


def test_a_correction_that_makes_no_row_is_refused() -> None:
    for task, correction, words in (
        ("regress", "very", "no score"),
        ("tag", "Rome", "corrected by JSON"),
        ("tag", '[[0, 99, "PER"]]', "a span from 0 to 99"),
        ("answer", "Paris", "does not stand in the context"),
        ("classify", " ", "no label"),
    ):
        asked, said, _ = ASKED[task]
        with pytest.raises(Unfit) as caught:
            row_of(answered("01", task, asked, said), correction, recipe_of(task))
        assert words in caught.value.reason
    for task, (asked, said, correction) in ASKED.items():
        record = answered("01", task, asked, said)
        row_of(record, correction or "", recipe_of(task))
        if task not in ("embed", "rank"):
            row_of(record, as_correction(record), recipe_of(task))


def test_a_redactor_masks_all_texts_of_a_record_together_and_moves_places() -> None:
    redactor = redactor_of(Redact(), Path())
    record = chatted("01", "Mail ann@example.org or bob@example.org", "I mailed bob@example.org")
    done = masked(record, redactor)
    assert isinstance(done, Answered)
    assert done.asked["messages"][0]["content"] == "Mail [EMAIL_1] or [EMAIL_2]"
    assert done.said["content"] == "I mailed [EMAIL_2]"
    text = "Write to ann@example.org in Rome today"
    tagged = answered(
        "02",
        "tag",
        {"text": text},
        {"spans": [{"start": 28, "end": 32, "label": "LOC", "text": "Rome"}]},
    )
    assert text[28:32] == "Rome"
    done = masked(tagged, redactor)
    assert isinstance(done, Answered)
    span = done.said["spans"][0]
    assert done.asked["text"][span["start"] : span["end"]] == "Rome" and span["start"] != 28
    pair = answered("03", "relate", {"text": text, "head": [28, 32], "tail": "today"}, {"relation": "x"})
    done = masked(pair, redactor)
    assert isinstance(done, Answered)
    start, end = done.asked["head"]
    assert done.asked["text"][start:end] == "Rome"
    rated = masked(Rated("01", "t", "down", "Mail ann@example.org", "ann@example.org"), redactor)
    assert rated == Rated("01", "t", "down", "Mail [EMAIL_1]", "[EMAIL_1]")
    clean = chatted("04", "Hello", "Hi")
    assert masked(clean, redactor) is clean and masked(record, None) is record
    assert masked(record, redactor_of(Redact(mode="drop"), Path())) is None


def test_each_model_is_masked_by_its_own_recipe() -> None:
    recipes = [
        recipe_of("chat", redact="none").model_copy(update={"name": "open"}),
        recipe_of("chat", redact="mask").model_copy(update={"name": "shut"}),
    ]
    mask = mask_of(recipes)
    record = chatted("01", "ann@example.org", "yes")
    for model, text in (("open", "ann@example.org"), ("shut", "[EMAIL_1]"), ("shut/base", "[EMAIL_1]")):
        done = mask(replace(record, model=model))
        assert isinstance(done, Answered) and done.asked["messages"][0]["content"] == text
    rated = mask(Rated("01", "t", "down", "ann@example.org"))
    assert isinstance(rated, Rated) and rated.correction == "[EMAIL_1]"
