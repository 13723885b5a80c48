"""WordNet's nouns become sentences with two names; relations of one sentence are no copies of one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsail.base.errors import DataError
from setsail.data.containers import content_of, read_file
from setsail.data.duplicates import content_of as compared
from setsail.data.formats import recognise, to_row
from setsail.data.row import Record, Row
from setsail.data.sketch import equal_words

NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE
00000010 03 n 01 entity 0 001 ~ 00000020 n 0000 | that which is perceived
00000020 15 n 02 Peru 0 Republic_of_Peru 0 003 @i 00000030 n 0000 #p 00000040 n 0000 ;c 00000050 n 0000 | a republic \
in western South America; "Peru is high"
00000030 14 n 01 republic 0 000 | a state
00000040 15 n 02 South_America 0 Am 1 000 | a continent
00000050 09 n 01 geography 0 000 | study of the earth
"""


def records(text: str = NOUNS) -> list[Record]:
    return [item for item in content_of(text.encode(), "data.noun", "data.noun").items if isinstance(item, Record)]


def test_each_pointer_that_the_definition_says_is_a_row() -> None:
    first, second = records()
    text = "Peru: a republic in western South America"
    assert first.origin == second.origin == "data.noun:3"
    assert first.fields == {"text": text, "head": [0, 4], "tail": [8, 16], "relation": "instance of"}
    assert second.fields == {"text": text, "head": [0, 4], "tail": [28, 41], "relation": "part of"}


def test_two_relations_of_a_sentence_are_two_rows_and_stay_on_one_side() -> None:
    form = recognise(["text", "head", "tail", "relation"], task="relate")
    rows = [row for row in (to_row(record, form) for record in records()) if isinstance(row, Row)]
    assert len({row.group for row in rows}) == 1 and len(rows) == 2
    assert len(set(equal_words([compared(row) for row in rows]))) == 2


def test_what_is_no_line_of_wordnet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.noun"
    path.write_text(NOUNS + "text,head,tail\n", encoding="utf-8")
    with pytest.raises(DataError, match="not a line of WordNet's nouns: 'text,head,tail'") as caught:
        read_file(path, "data.noun")
    assert caught.value.place == "data.noun:7" and "text, head, tail, relation" in str(caught.value.hint)
