"""Gettext catalogues: what a translator wrote is read back, once, and what nobody confirmed is counted out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.containers import content_of, read_file
from setsail.data.row import Drop, Record

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: zh_Hans\\n"\n\n'
CATALOGUE = (
    HEADER
    + r"""
#: forms.py:12
#, python-format
msgid "Delete %(name)s?"
msgstr "删除%(name)s？"

msgctxt "month"
msgid "May"
msgstr "五月"

#, fuzzy, python-format
#| msgid "Old"
msgid "Not sure"
msgstr "不确定"

msgid ""
"First line,\n"
"a \"second\" one with a \\ and a\ttab"
msgstr ""
"第一行，\n"
"第二行"
msgid "%(num)d year"
msgid_plural "%(num)d years"
msgstr[0] "%(num)d 年"

msgid "%d thing"
msgid_plural "%d things"
msgstr[0] "%d cosa"
msgstr[1] "%d cose"

msgid "Untranslated"
msgstr ""

#~ msgid "Gone"
#~ msgstr "没了"
"""
)


def items(text: str) -> tuple:
    return content_of(text.encode(), "django.po", "django.po").items


def pairs(text: str) -> list[tuple[object, object]]:
    return [(item.fields["msgid"], item.fields["msgstr"]) for item in items(text) if isinstance(item, Record)]


def test_each_entry_comes_out_once() -> None:
    assert pairs(CATALOGUE) == [
        ("Delete %(name)s?", "删除%(name)s？"),
        ("May", "五月"),
        ('First line,\na "second" one with a \\ and a\ttab', "第一行，\n第二行"),
        ("%(num)d year", "%(num)d 年"),
        ("%(num)d years", "%(num)d 年"),
        ("%d thing", "%d cosa"),
        ("%d things", "%d cose"),
        ("Untranslated", ""),
    ]
    assert [item.reason for item in items(CATALOGUE) if isinstance(item, Drop)] == ["fuzzy", "obsolete"]


def test_the_origin_is_the_line_on_which_the_original_stands() -> None:
    lines = CATALOGUE.split("\n")
    begins = [lines[int(item.origin.removeprefix("django.po:")) - 1] for item in items(CATALOGUE)]
    assert begins[:3] == ['msgid "Delete %(name)s?"', 'msgctxt "month"', 'msgid "Not sure"']
    assert all(line.removeprefix("#~ ").startswith(("msgid", "msgctxt")) for line in begins)


def test_forms_of_one_entry_stay_together_and_with_the_same_original_elsewhere() -> None:
    made = [item for item in items(CATALOGUE) if isinstance(item, Record)]
    groups = {item.fields["msgid"]: item.group for item in made}
    assert groups["%(num)d year"] == groups["%(num)d years"] != groups["%d thing"] == groups["%d things"]
    assert groups["May"] == ""


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=8))
def test_whatever_is_written_is_read_back(written: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return '"' + escaped.replace("\r", "\\r").replace("\v", "\\v").replace("\f", "\\f") + '"'

    clean = [(one.encode("utf-8", "ignore").decode(), two.encode("utf-8", "ignore").decode()) for one, two in written]
    clean = [(one or "x", two) for one, two in clean if "\x00" not in one + two] or [("x", "y")]
    text = HEADER + "".join(f"msgid {quoted(one)}\nmsgstr {quoted(two)}\n\n" for one, two in clean)
    read = [item for item in items(text) if isinstance(item, Record)]
    kept = {item.origin: (item.fields["msgid"], item.fields["msgstr"]) for item in read}
    assert set(kept.values()) <= set(clean) and len(items(text)) == len(clean)


def test_a_line_that_is_no_part_of_an_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.po"
    path.write_text(HEADER + 'msgid "a"\nmsgstr b\n', encoding="utf-8")
    with pytest.raises(DataError, match="not a line of a gettext catalogue: 'msgstr b'") as caught:
        read_file(path, "broken.po")
    assert caught.value.place == "broken.po:7"


def test_the_header_says_the_encoding() -> None:
    text = HEADER.replace("UTF-8", "GB18030") + 'msgid "year"\nmsgstr "年"\n'
    (item,) = content_of(text.encode("gb18030"), "a.po", "a.po").items
    assert isinstance(item, Record) and item.fields["msgstr"] == "年"
