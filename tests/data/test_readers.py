"""Workbooks, web pages, mail and documents: what was written is read back, once, under ids that stay."""

from __future__ import annotations

import datetime
import gzip
import io
import struct
from pathlib import Path
from xml.sax.saxutils import escape

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import file_makers as made
from setsail.base.errors import DataError
from setsail.data.containers import Contents, content_of, read_file
from setsail.data.readers import apart
from setsail.data.readers.cells import text_of
from setsail.data.row import Drop, Record, row_id

# Text that every format can hold: no controls, no half pairs, nothing that XML forbids.
TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFFF, exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")),
    min_size=1,
)
CELL = TEXT.map(str.strip).filter(bool)
APART = settings(max_examples=8, deadline=None)
MANY = settings(max_examples=80, deadline=None)


def read(name: str, data: bytes, encoding: str = "auto") -> Contents:
    return content_of(data, name, name, encoding=encoding)


def fields(contents: Contents) -> list[dict[str, object]]:
    return [dict(item.fields) for item in contents.items if isinstance(item, Record)]


@APART
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20), st.sampled_from(["xlsx", "xls", "ods"]))
def test_a_workbook_gives_its_lines_back(pairs: list[tuple[str, str]], kind: str) -> None:
    pairs = [(one[:60], two[:60]) for one, two in pairs]
    pairs = [(one.strip() or "x", two.strip() or "x") for one, two in pairs]
    if kind == "xls":  # 16 bits a character there
        pairs = [(_short(one), _short(two)) for one, two in pairs]
    table = [("a", "b"), *pairs]
    maker = {"xlsx": made.xlsx_of, "ods": made.ods_of}.get(kind)
    data = maker({"One": table}) if maker else made.xls_of(table)
    contents = read(f"t.{kind}", data)
    got = [(item["a"], item["b"]) for item in fields(contents)]
    squeezed = [tuple(" ".join(cell.split()) for cell in pair) for pair in pairs]
    assert [tuple(" ".join(str(cell).split()) for cell in pair) for pair in got] == squeezed
    sheet = "Sheet1" if kind == "xls" else "One"
    assert [item.origin for item in contents.items] == [f"t.{kind}#{sheet}:{n}" for n in range(2, len(pairs) + 2)]
    again = read(f"t.{kind}", data)
    assert _ids(contents) == _ids(again) and len(set(_ids(contents))) == len(pairs)


def _short(text: str) -> str:
    return "".join(c for c in text if c < "\uffff").strip() or "x"


def _ids(contents: Contents) -> list[str]:
    return [row_id(dict(item.fields), item.origin) for item in contents.items if isinstance(item, Record)]


def test_sheets_headers_and_hidden_ones() -> None:
    data = made.xlsx_of(
        {
            "May": [[None, None], ["name", None, "n"], ["a", None, 1.0], [None, None, None], ["b", "loose", 0.5]],
            "Empty": [],
            "六月": [["name"], ["c"]],
            "Secret": [["name"], ["d"]],
        },
        hidden=["Secret"],
    )
    items = read("a.xlsx", data).items
    records = [(item.origin, dict(item.fields)) for item in items if isinstance(item, Record)]
    assert records == [
        ("a.xlsx#May:3", {"name": "a", "n": "1"}),
        ("a.xlsx#May:5", {"name": "b", "column 2": "loose", "n": "0.5"}),
        ("a.xlsx#六月:2", {"name": "c"}),
    ]
    assert [(item.origin, item.reason) for item in items if isinstance(item, Drop)] == [
        ("a.xlsx#Secret", "hidden_sheet")
    ]


def test_cells_are_the_text_that_a_person_sees() -> None:
    shown = [3.0, -0.25, 1e20, 7, True, False, " x ", datetime.date(2026, 1, 31), datetime.time(9, 5), ""]
    assert list(map(text_of, shown)) == ["3", "-0.25", "1e+20", "7", "TRUE", "FALSE", "x", "2026-01-31", "09:05:00", ""]
    assert text_of(datetime.datetime(2026, 1, 31, 9, 5)) == "2026-01-31 09:05:00"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.xlsx", b"PK\x03\x04 broken", "the file is broken: Cannot detect"),
        ("a.xlsx", made.xlsx_of({"One": [["a", "a"], ["1", "2"]]}), "names a column twice: 'a'"),
        ("a.xlsx", made.xlsx_of({"One": [["a", "b"]]}), "holds no rows"),
        ("a.pdf", b"%PDF-1.4 nothing", "the file is broken"),
        ("a.docx", made.zip_of({"a": b"b"}), "the file is broken"),
        ("a.mbox", b"Subject: x\n\ny", "not a mailbox"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(name: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(name, data)
    assert caught.value.place and caught.value.place.startswith(name) and caught.value.hint


def test_a_cell_far_away_cannot_take_all_memory() -> None:
    """A sheet of two cells, one in the last corner, is 17 thousand million cells to the library that reads it."""
    data = made.xlsx_of({"One": [["a"], ["b"]]}, last_cell="XFD1048576")
    with pytest.raises(DataError, match="more than 1 GiB of memory"):
        list(apart.read_apart("cells", data, "a.xlsx", memory_bytes=1 << 30))


@MANY
@given(TEXT, TEXT, st.sampled_from(["utf-8", "gb18030", "utf-16"]))
def test_a_page_gives_its_text_and_title(title: str, text: str, encoding: str) -> None:
    head = f'<head><meta charset="{encoding}"><title>{escape(title)}</title></head>'
    page = f"<html>{head}<body><p>{escape(text)}</p></body></html>"
    (item,) = read("a.html", page.encode(encoding), encoding="auto" if encoding != "gb18030" else encoding).items
    assert isinstance(item, Record) and item.origin == "a.html:1" and item.fields["html"] == page
    assert str(item.fields["title"]).split() == title.split()
    assert str(item.fields["text"]).split() == text.split()


def test_a_page_is_read_in_the_encoding_that_it_states_if_its_bytes_bear_it_out() -> None:
    for stated, real in (("gb2312", "gb18030"), ("big5", "big5hkscs"), ("big5", "utf-8"), ("", "gb18030")):
        page = f"<meta charset='{stated}'><title>繁體</title>我們的產品在這裡，請問您要什麼？".encode(real)
        (item,) = read("a.htm", page).items
        assert isinstance(item, Record) and item.fields["title"] == "繁體"
        assert item.fields["encoding"] == real
    (item,) = read("a.htm", "<title>café</title>".encode("latin-1"), encoding="latin-1").items
    assert isinstance(item, Record) and item.fields["title"] == "café"


@MANY
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_a_mailbox_gives_its_mails_back(mails: list[tuple[str, str]]) -> None:
    written = [made.eml_of(f"From here\n{text}\n", subject=subject) for subject, text in mails]
    contents = read("a.mbox", made.mbox_of(written))
    assert len(contents.items) == len(mails)
    assert [str(item["subject"]).split() for item in fields(contents)] == [subject.split() for subject, _ in mails]
    assert [str(item["text"]).split() for item in fields(contents)] == [
        f"From here {text}".split() for _, text in mails
    ]
    assert len({item.origin for item in contents.items}) == len(mails)


def test_threads_are_groups_and_attachments_are_counted() -> None:
    first = made.eml_of("one", message_id="<1@x>", from_="王 <w@x.cn>", date="Sat, 31 Jan 2026 09:05:00 +0800")
    reply = made.eml_of("> one\ntwo", message_id="<2@x>", in_reply_to="<1@x>", attachment=b"%PDF")
    third = made.eml_of("", page="<p>three</p>", message_id="<3@x>", references="<0@lost> <2@x>")
    alone = made.eml_of("four", message_id="<4@x>")
    records = [
        item for item in read("a.mbox", made.mbox_of([first, reply, third, alone])).items if isinstance(item, Record)
    ]
    groups = [record.group for record in records]
    assert groups[0] == groups[1] == groups[2] != groups[3] and all(len(group) == 16 for group in groups)
    assert [record.fields["text"] for record in records] == ["one", "> one\ntwo", "three", "four"]
    assert [record.fields["num_attachments"] for record in records] == [0, 1, 0, 0]
    assert (records[0].fields["from"], records[0].fields["date"]) == ("王 <w@x.cn>", "2026-01-31T09:05:00+08:00")


def test_mail_of_older_chinese_programs() -> None:
    raw = "Subject: 关于退货的问题\nContent-Type: text/plain; charset=gb2312\n\n镕先生，请问怎么退货？".encode(
        "gb18030"
    )
    assert fields(read("a.eml", raw))[0]["subject"] == "关于退货的问题"
    assert fields(read("a.eml", raw))[0]["text"] == "镕先生，请问怎么退货？"
    (item,) = read("a.eml", b"Subject: x\n\ncaf\xe9 \xff").items
    assert isinstance(item, Drop) and item.reason == "invalid_bytes"
    (item,) = read("a.eml", b"Subject: " + b"a " * 60_000 + b"\n\nx").items
    assert isinstance(item, Drop) and item.reason == "broken_mail"


@APART
@given(st.lists(st.text("abc xyz().\\", max_size=40).map(str.strip), min_size=1, max_size=6))
def test_every_page_of_a_pdf_is_read_or_is_a_drop(pages: list[str]) -> None:
    items = read("a.pdf", made.pdf_of(pages, "Title")).items
    texts = {n: text for n, text in enumerate(pages, start=1) if text}
    records = [item for item in items if isinstance(item, Record)]
    drops = [item.origin for item in items if isinstance(item, Drop)]
    assert drops == [f"a.pdf:{n}" for n, text in enumerate(pages, start=1) if not text]
    assert len(records) == bool(texts)
    if texts:
        span = f"{min(texts)}-{max(texts)}" if len(texts) > 1 else f"{min(texts)}"
        assert (records[0].origin, records[0].fields["title"]) == (f"a.pdf:{span}", "Title")
        assert str(records[0].fields["text"]).split() == " ".join(texts.values()).split()


@pytest.mark.parametrize(("password", "opens"), [("", True), ("secret", False)])
def test_a_locked_pdf(password: str, opens: bool) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(made.pdf_of(["text"])))
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    if opens:
        assert fields(read("a.pdf", out.getvalue()))[0]["text"] == "text"
    else:
        with pytest.raises(DataError, match="the pdf has a password"):
            read("a.pdf", out.getvalue())


@APART
@given(st.lists(CELL, min_size=1, max_size=8))
def test_a_word_document_gives_its_paragraphs_and_tables(texts: list[str]) -> None:
    table = [["a", "b"], [texts[0], "c"]]
    (item,) = read("a.docx", made.docx_of(texts, table, "标题")).items
    assert isinstance(item, Record) and item.origin == "a.docx:1" and item.fields["title"] == "标题"
    assert str(item.fields["text"]).split() == " ".join([*texts, "a", "b", texts[0], "c"]).split()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("a.pdf", "a.docx"):
        with pytest.raises(DataError) as caught:
            read(name, b"x")
        assert caught.value.hint == "pip install 'setsail[documents]'"


def test_a_gzipped_page_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(b"<title>T</title>x", mtime=0))
    assert fields(read_file(tmp_path / "a.html.gz", "a.html.gz"))[0]["title"] == "T"


def test_the_maker_of_xls_writes_what_the_standard_says() -> None:
    assert made.xls_of([["a"]])[:8] == struct.pack(">Q", 0xD0CF11E0A1B11AE1)


def test_what_a_child_gives_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MAX_BYTES", 200)
    data = made.xlsx_of({"One": [["a"], ["x" * 100], ["y" * 100]]})
    with pytest.raises(DataError, match="unpacks to more than"):
        list(apart.read_apart("cells", data, "a.xlsx"))
    monkeypatch.setattr(apart, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="at most"):
        list(apart.read_apart("cells", data, "a.xlsx"))
