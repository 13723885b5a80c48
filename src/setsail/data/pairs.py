"""Pairs of texts for the tasks embed and rank: how columns become a query with its texts, and what is too little of it.

A row of pairs has named texts as its messages: a "query" and a "positive", with "negative" ones behind it; or a "query"
and a "text" whose label is a grade; or a "query" and a "positive" whose label says how alike they are. What does not
live here: the other formats (`formats.py`). The invariant: a label is "" or a number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from setsail.base.errors import DataError
from setsail.data.index import Index
from setsail.data.row import Message, Row, Unfit
from setsail.data.sketch import normalised

QUERY, POSITIVE, NEGATIVE, TEXT = "query", "positive", "negative", "text"
PAIR_TASKS = ("embed", "rank")
# For each format its parts, as in formats.py: those that must be there, then those that may be.
PAIR_FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "graded": (("query", "text", "label"), ()),
    "scored_pair": (("sentence1", "sentence2", "score"), ()),
    "query_positive": (("query", "positive"), ("negative",)),
    "title_text": (("title", "text"), ()),
}
FORMATS_OF: dict[str, tuple[str, ...]] = {
    "embed": ("scored_pair", "query_positive", "title_text"),
    "rank": ("graded", "query_positive"),
}
# Other names of the parts, by format.
PAIR_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "graded": {
        "query": ("查询",),
        "text": ("document", "passage", "doc", "文档", "段落"),
        "label": ("relevance", "grade", "score", "相关性"),
    },
    "scored_pair": {
        "sentence1": ("text1", "sentence_a", "句子1"),
        "sentence2": ("text2", "sentence_b", "句子2"),
        "score": ("similarity", "label", "相似度"),
    },
    "query_positive": {
        "query": ("anchor", "question", "prompt", "查询", "问题"),
        "positive": ("answer", "completion", "response", "reply", "答案", "回答"),
        "negative": ("negatives", "hard_negative"),
    },
    "title_text": {"title": ("heading", "标题"), "text": ("body", "abstract", "正文", "文本", "内容")},
}
_LONGER = 3.0  # queries that are so many times longer than their texts are most likely the texts


def read_pair(form: str, parts: Mapping[str, object]) -> tuple[tuple[Message, ...], str]:
    """The named texts of a record in one of these formats, and its label.

    Raises:
        Unfit: a text is missing, or says what another one says.
    """
    if form == "graded":
        texts = [(QUERY, _text(parts, "query")), (TEXT, _text(parts, "text"))]
        return _messages(texts), number_text(parts["label"], "label")
    if form == "scored_pair":
        texts = [(QUERY, _text(parts, "sentence1")), (POSITIVE, _text(parts, "sentence2"))]
        return _messages(texts), number_text(parts["score"], "score")
    if form == "title_text":
        title, text = _text(parts, "title"), _text(parts, "text")
        return _messages([(QUERY, title), (POSITIVE, text.strip().removeprefix(title.strip()))]), ""
    texts = [(QUERY, _text(parts, "query")), (POSITIVE, _text(parts, "positive"))]
    return _messages([*texts, *((NEGATIVE, text) for text in _negatives(parts.get("negative")))]), ""


def _messages(texts: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    query, text, *negatives = texts
    if not query[1].strip():
        raise Unfit("no_query", "the query is empty")
    if not text[1].strip():
        raise Unfit("empty_text", f"the {text[0]} is empty")
    known = normalised(text[1])
    if any(normalised(negative) == known for _, negative in negatives):
        raise Unfit("positive_is_negative", "the positive stands among the negatives")
    return tuple(Message(role=role, content=content) for role, content in (query, text, *negatives))


def number_text(value: object, part: str) -> str:
    """A number as the text of a label.

    >>> number_text("2", "label"), number_text(0.50, "score"), number_text(True, "label")
    ('2', '0.5', '1')
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Unfit("no_label", f"the {part} is empty")
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unfit("no_number", f"{part} is no number: {str(value)[:40]!r}")
    return str(int(number)) if number == int(number) else repr(number)


def _text(parts: Mapping[str, object], part: str) -> str:
    value = parts.get(part)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where text was expected")


def _negatives(value: object) -> Iterator[str]:
    """None, one text, or a list of them; empty ones are none."""
    for text in value if isinstance(value, list) else [value]:
        if text is not None and not isinstance(text, str):
            raise Unfit("wrong_type", f"negative is a {type(text).__name__} where text was expected")
        if text and text.strip():
            yield text


def query_of(row: Row) -> str:
    """The query of a row of pairs."""
    return row.messages[0]["content"]


def text_of(row: Row) -> str:
    """What the query is held against: its positive, or its graded text."""
    return row.messages[1]["content"]


def negatives_of(row: Row) -> tuple[str, ...]:
    """The negatives that the row itself brings."""
    return tuple(message["content"] for message in row.messages[2:])


def check_pairs(index: Index, rows: npt.NDArray[np.int64], task: str, place: str) -> list[str]:
    """What is worth telling about the pairs of these rows.

    Raises:
        DataError: one query, one text or one grade everywhere, or grades on some rows only; with a row and what to do.
    """
    _refuse_one_grade(index, rows, task, place)
    pairs = list(_pairs(index, rows))
    first = index.origin(int(rows[0]))
    columns = "{query: …, text: …}" if task == "rank" else "{query: …, positive: …}"
    for name, values in (("query", [query for query, _ in pairs]), ("text", [text for _, text in pairs])):
        if len(set(values)) == 1:
            raise DataError(
                f"every row has the same {name}: there is nothing to search in",
                place=f"{place}, first {first}",
                hint=f"are two columns swapped? name them: data.columns: {columns}",
            )
    texts_of_query = Counter(query for query, _ in pairs)
    num_texts = len({text for _, text in pairs})
    findings = [f"{len(pairs):,} pairs of {len(texts_of_query):,} queries and {num_texts:,} texts"]
    means = [float(np.mean([len(pair[side]) for pair in pairs])) for side in (0, 1)]
    if means[0] > _LONGER * means[1] and not index.labels[index.label[int(rows[0])]]:
        findings.append(
            f"queries have {means[0]:,.0f} characters and their texts {means[1]:,.0f} in the mean: if the columns are "
            f"swapped, say so: data.columns: {columns}"
        )
    alone = [place for place, (query, _) in zip(rows.tolist(), pairs, strict=True) if texts_of_query[query] == 1]
    if task == "rank" and alone and index.label_of(alone[0]):
        findings.append(
            f"{len(alone):,} queries have a single text, so that nothing can be ordered there: {index.origin(alone[0])}"
        )
    return findings


def _refuse_one_grade(index: Index, rows: npt.NDArray[np.int64], task: str, place: str) -> None:
    codes, places = np.unique(index.label[rows], return_index=True)
    found = {index.labels[code]: index.origin(int(rows[at])) for code, at in zip(codes, places, strict=True)}
    noun = "grade" if task == "rank" else "score"
    if "" in found and len(found) > 1:
        raise DataError(
            f"some rows have a {noun} and some have none", place=found[""], hint="keep files of one form in data.source"
        )
    if "" not in found and len(found) == 1:
        ((label, origin),) = found.items()
        raise DataError(
            f"every row has the {noun} {label}: there is nothing to tell apart",
            place=f"{place}, first {origin}",
            hint=f"add rows with other {noun}s; or leave the column out, and texts of other queries are the negatives",
        )


def _pairs(index: Index, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    """Query and text of each of these rows, which ascend, a shard at a time."""
    for number, shard in enumerate(index.shards):
        start, end = index.starts[number : number + 2]
        inside = rows[(rows >= start) & (rows < end)] - start
        messages = pq.read_table(shard / "rows.parquet", columns=["messages"]).column("messages").take(inside)
        for turns in messages.to_pylist():
            yield turns[0]["content"], turns[1]["content"]
