from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.engine.event_stream import MOST_LINE_BYTES, BrokenAnswer, EventReader, words_of


@given(
    texts=st.lists(st.text(), max_size=5),
    end=st.sampled_from([b"\n", b"\r\n"]),
    size=st.integers(min_value=1, max_value=9),
    plain=st.booleans(),
)
def test_events_are_the_same_however_their_bytes_arrive(texts: list[str], end: bytes, size: int, plain: bool) -> None:
    events = [{"text": text} for text in texts]
    lead = b"" if plain else b"data: "
    sent = b"".join(lead + json.dumps(event).encode() + end + end for event in events)
    reader = EventReader(plain=plain)
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert [event for chunk in chunks for event in reader.feed(chunk)] == events


@given(st.binary(), st.booleans())
def test_any_bytes_are_events_or_a_broken_answer(raw: bytes, plain: bool) -> None:
    reader = EventReader(plain=plain)
    with contextlib.suppress(BrokenAnswer):
        assert all(isinstance(event, dict) for event in reader.feed(b"data: " + raw + b"\n"))


def test_done_is_the_end_and_comments_are_nothing() -> None:
    reader = EventReader()
    assert reader.feed(b': ping\nevent: x\ndata:{"a": 1}\ndata: [DONE]\ndata: {"b": 2}\n') == [{"a": 1}]
    assert reader.done


def test_a_line_without_end_is_not_held_for_ever() -> None:
    reader = EventReader()
    with pytest.raises(BrokenAnswer, match="a line of more than"):
        for _ in range(3):
            reader.feed(b"x" * (MOST_LINE_BYTES // 2))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"error": "model not found"}, "model not found"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"message": "a\x1b[31m\nb"}, "a[31m b"),
        ({"error": {"message": "x" * 1000}}, "x" * 300 + "…"),
        ({"error": {"error": {"error": {"error": {"error": "deep"}}}}}, ""),
        (["no"], ""),
        (None, ""),
    ],
)
def test_the_words_of_an_error(said: object, words: str) -> None:
    assert words_of(said) == words
