"""Rows that a model writes anew: what is wrong is left out and counted, and nothing is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.errors import RecipeError
from setsail.base.recipe_file import load_recipe
from setsail.data.augment import MARK
from setsail.data.page.said import said
from setsail.data.rewrite import Rewriter, fault_of, fault_of_answer
from setsail.data.row import Message, read_rows
from setsail.data.summary import ANSWER_FAULTS, Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]
SERVER = {"url": "http://127.0.0.1:1", "model": "any"}


class Model:
    """Answers with its last line in capitals, and keeps what it was asked."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.prompts: list[str] = []
        self.fails_after = fails_after

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        prompt = messages[-1]["content"]
        if self.fails_after is not None and len(self.prompts) >= self.fails_after:
            raise KeyboardInterrupt
        self.prompts.append(prompt)
        return f" {prompt.rpartition(chr(10))[2]} indeed\n"


def test_rows_are_written_anew_marked_and_only_of_training(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(60)])
    model = Model()
    summary = prepared("rows.jsonl", augment={"paraphrase": 0.5, "server": SERVER}, ask=model)
    rows = {part: read_rows(tmp_path / "out" / f"{part}.parquet") for part in ("train", "validation", "test")}
    made = [row for row in rows["train"] if row.marks]
    assert 10 < len(made) == summary.num_made == len(model.prompts) < 40
    by_id = {row.id: row for row in rows["train"]}
    for row in made:
        source = by_id[row.marks[0].removeprefix(f"{MARK}paraphrase from ")]
        assert row.messages[0]["content"] == f"{source.messages[0]['content']} indeed"
        assert row.messages[1:] == source.messages[1:] and row.group == source.group
    assert not any(row.marks for part in ("validation", "test") for row in rows[part])
    assert all("in other words" in prompt for prompt in model.prompts)


def test_a_text_goes_to_the_other_language_and_back(tmp_path: Path) -> None:
    prompts = []

    def ask(messages: Sequence[Message], seed: int) -> str:
        prompt = messages[-1]["content"]
        prompts.append(prompt)
        return "我的包裹在哪里" if "into Chinese" in prompt else "Where might my parcel be"

    assert Rewriter(ask, tmp_path / "kept").rewritten("back_translate", "Where is my parcel", seed=1).endswith("be")
    assert "into Chinese" in prompts[0] and "into English" in prompts[1] and prompts[1].endswith("我的包裹在哪里")


def test_after_a_kill_nothing_is_asked_twice(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(60)])
    wanted = {"paraphrase": 1.0, "server": SERVER}
    whole = Model()
    prepared("rows.jsonl", augment=wanted, ask=whole, out="whole")
    first = Model(fails_after=17)
    with pytest.raises(KeyboardInterrupt):
        prepared("rows.jsonl", augment=wanted, ask=first)
    kept = tmp_path / "out" / "work" / "answers.jsonl"
    kept.write_bytes(kept.read_bytes() + b'{"torn')
    again = Model(fails_after=9)
    with pytest.raises(KeyboardInterrupt):
        prepared("rows.jsonl", augment=wanted, ask=again)
    second = Model()
    prepared("rows.jsonl", augment=wanted, ask=second)
    assert first.prompts + again.prompts + second.prompts == whole.prompts
    assert (tmp_path / "out" / "train.parquet").read_bytes() == (tmp_path / "whole" / "train.parquet").read_bytes()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "empty"),
        ("order 7 of [NAME_1], is late today!", "same words"),
        ("7 [NAME_1]", "length"),
        ("The order of [NAME_1] has not come yet", "numbers"),
        ("Order 7 of NAME_1 has not come yet", "numbers"),
        ("[NAME_1] 的订单 7 还没有到，请帮忙查一下到哪里了", "language"),
        ("Order 7 for [NAME_1] has not come", ""),
    ],
)
def test_what_is_of_no_use_is_left_out_and_counted(tmp_path: Path, answer: str, fault: str) -> None:
    text = "Order 7 of [NAME_1] is late today"
    rewriter = Rewriter(lambda prompt, seed: answer, tmp_path / "kept")
    assert rewriter.rewritten("paraphrase", text, seed=1) == (text if fault else answer)
    assert dict(rewriter.refused) == ({fault: 1} if fault else {})
    assert not fault or fault in ANSWER_FAULTS


def test_what_was_left_out_is_told_in_both_languages(jsonl: Write, prepared: Prepare) -> None:
    jsonl([pair(n) for n in range(60)])
    summary = prepared("rows.jsonl", augment={"paraphrase": 1.0, "server": SERVER}, ask=lambda prompt, seed: "no")
    told = summary.findings[-1]
    assert summary.num_made == 0 and "far shorter or longer 48" in told
    assert said(told, "zh") == "模型改写后未采用的文本：长度相差过大 48"


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_answer_is_judged(before: str, after: str) -> None:
    assert fault_of(before, after) in ("", *ANSWER_FAULTS)
    assert fault_of_answer(before, after) in ("", *ANSWER_FAULTS)


def turns(row: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]


def test_a_teacher_answers_and_its_answers_stand_beside_the_rows_own(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    system = {"role": "system", "content": "Be brief."}
    rows = [{"messages": [system, *turns(pair(n))]} for n in range(60)]
    tool = {"role": "tool", "content": "nothing found"}
    rows[7] = {"messages": [*rows[7]["messages"][:2], tool, rows[7]["messages"][-1]]}
    jsonl(rows)
    asked: list[Sequence[Message]] = []

    def teacher(messages: Sequence[Message], seed: int) -> str:
        asked.append(messages)
        return ("A teacher says so.", "", "老师这样说，没有别的", rows[0]["messages"][-1]["content"])[len(asked) % 4]

    summary = prepared("rows.jsonl", augment={"answer": 1.0, "server": SERVER}, ask=teacher)
    train = {row.id: row for row in read_rows(tmp_path / "out" / "train.parquet")}
    made = [row for row in train.values() if row.marks]
    assert len(made) == summary.num_made > 10
    for row in made:
        source = train[row.marks[0].removeprefix(f"{MARK}answer from ")]
        assert row.messages[:-1] == source.messages[:-1] and row.messages[-1] != source.messages[-1]
    conversations = [row for row in train.values() if not row.marks and row.messages[-2]["role"] != "tool"]
    assert len(asked) == len(conversations)
    assert all([turn["role"] for turn in messages] == ["system", "user"] for messages in asked)
    assert "nothing came" in summary.findings[-1] and "in another language" in summary.findings[-1]


def test_a_conversation_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    rewriter = Rewriter(lambda messages, seed: "never", tmp_path / "kept")
    long = [Message(role="user", content="word " * 4000)]
    assert rewriter.answered(long, "own", seed=1) == "own" and dict(rewriter.refused) == {"long": 1}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["task=classify", "data.augment={answer: 1.0, server: {url: 'http://x', model: m}}"], "for conversations"),
        (["data.augment={answer: 0.5}"], "and server, the model that writes, go together"),
        (["data.augment={answer: 1.5, server: {url: 'http://x', model: m}}"], "answer"),
    ],
)
def test_recipes_without_a_teacher_or_with_nothing_to_answer(settings: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r\nbase: b\ndata: {source: rows.jsonl}\n")
    with pytest.raises(RecipeError, match=words):
        load_recipe(tmp_path / "r.yaml", settings)
