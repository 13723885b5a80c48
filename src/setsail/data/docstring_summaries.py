"""Documents and their summaries made from docstrings by a stated rule: the first sentence sums up the rest.

The document is the docstring's longer description and its notes, cut between blocks; the summary is the line that its
authors put above them. A docstring with next to nothing below its first line makes no pair. All functions with the same
last name share a split group. What does not live here: questions and answers (`docstring_pairs.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from setsail.data.docstrings import parse
from setsail.data.introspect import Documented
from setsail.data.markup import inline, to_blocks
from setsail.data.row import Drop, Record, row_id

MIN_DOCUMENT_CHARACTERS = 80
MIN_SUMMARY_CHARACTERS = 15
MOST_CHARACTERS = 1200


def summaries(entries: Iterable[Documented], package: str) -> Iterator[Record | Drop]:
    """A record with document and summary for each docstring, or a drop with the reason."""
    for entry in entries:
        doc = parse(entry["doc"])
        origin = f"docstrings:{package}:{entry['name']}#summary"
        document = _whole_blocks(to_blocks(f"{doc.extended}\n\n{doc.notes}"))
        fields = {"document": document, "summary": inline(" ".join(doc.summary.split())), "function": entry["name"]}
        if len(document) < MIN_DOCUMENT_CHARACTERS or len(fields["summary"]) < MIN_SUMMARY_CHARACTERS:
            yield Drop(row_id(fields, origin), origin, "nothing_to_sum_up", f"{len(document)} characters")
        else:
            yield Record(origin, fields, group=entry["name"].rsplit(".", 1)[-1])


def _whole_blocks(blocks: Sequence[str]) -> str:
    kept: list[str] = []
    for block in blocks:
        if sum(map(len, kept)) + len(block) > MOST_CHARACTERS:
            break
        kept.append(block)
    return "\n\n".join(kept)
