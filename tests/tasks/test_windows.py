"""Texts longer than the context, in windows: nothing is lost, no part is learned by half."""

from __future__ import annotations

import itertools
import json

import pytest
from models import toy_encoder

from setsail.base.target import Span, of_spans
from setsail.data.row import Message, Row
from setsail.tasks import answer, tag
from setsail.tasks.task import Dropped
from setsail.tokens.read import LEAST_ROOM
from setsail.tokens.tokenizer import Tokenizer, load

TEXT = " ".join(["parcel box late", "order sum"] * 20)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load(toy_encoder.write_folder(tmp_path_factory.mktemp("encoder")))


@pytest.mark.parametrize("context", [10, 11, 16, 33, 99, 101])
@pytest.mark.parametrize("texts", [(TEXT,), ("the order ?", TEXT)])
def test_windows_hold_every_token_and_what_stands_around(
    tokenizer: Tokenizer, texts: tuple[str, ...], context: int
) -> None:
    whole = tokenizer.read(*texts)
    inside = [place for place, is_inside in enumerate(whole.in_last) if is_inside]
    around = set(range(len(whole.ids))) - set(inside)
    windows = whole.windows(context)
    if context - len(around) < LEAST_ROOM:
        assert not windows
        return
    for window in windows:
        assert len(window.places) <= context and around <= set(window.places)
        assert window.encoded.ids == tuple(whole.ids[place] for place in window.places)
        assert window.encoded.in_last == tuple(whole.in_last[place] for place in window.places)
    assert {place for window in windows for place in window.places} == set(range(len(whole.ids)))
    for left, right in itertools.pairwise(windows):
        assert set(left.places) & set(right.places) > around, "neighbours share a part of the text"
        assert not set(right.places) <= set(left.places)


def test_a_part_is_learned_whole_or_not_at_all(tokenizer: Tokenizer) -> None:
    starts = [index for index in range(len(TEXT)) if TEXT.startswith("late order", index)]
    spans = [Span(start, start + len("late order"), "X") for start in starts]
    row = Row("a", (), TEXT, "", "rows:1", target=of_spans(spans))
    examples = tag.example(row, tokenizer, 13, "split")
    assert not isinstance(examples, Dropped) and len(examples) > 5
    frame = tag.frame([row])
    begun = 0
    for each in examples:
        assert each.change == "split" and len(each.ids) <= 13
        learned = tag.targets([each], frame)
        words = [tokenizer.decode([int(token)]).strip() for token in each.ids]
        for place, tag_of in enumerate(learned):
            if tag_of == 1:  # B-X: the whole part follows
                begun += 1
                assert words[place : place + 2] == ["late", "order"] and learned[place + 1] == 2
            if words[place] in ("late", "order") and tag_of != 1 and learned[place - 1] != 1:
                assert tag_of == -100, "half a part is not learned"
    assert begun >= len(spans)


def test_the_windows_without_the_answer_have_none(tokenizer: Tokenizer) -> None:
    text = TEXT + " refund " + TEXT
    messages = (Message(role="question", content="the ?"), Message(role="context", content=text))
    span = Span(text.index("refund"), text.index("refund") + 6, "answer")
    examples = answer.example(Row("a", messages, "", "", "rows:1", target=of_spans([span])), tokenizer, 20, "split")
    assert not isinstance(examples, Dropped)
    places = [json.loads(each.label) for each in examples]
    held = [(each, place) for each, place in zip(examples, places, strict=True) if place != [0, 0]]
    assert 1 <= len(held) <= 2 < len(examples)
    for each, (first, last) in held:
        assert first == last and tokenizer.decode([int(each.ids[first])]).strip() == "refund"
    cut = answer.example(Row("a", messages, "", "", "rows:1", target=of_spans([span])), tokenizer, 20, "cut")
    assert isinstance(cut, Dropped) and cut.reason == "answer_behind_the_cut"
