"""One encoding for a file, detected or named; what does not fit is an error with its place or a marked row."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.encoding import bad_text, decode

CHINESE = "如何重置密码？\n请点击“找回密码”，然后按照提示操作。\nok\n" * 3


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (CHINESE.encode(), "utf-8"),
        (codecs.BOM_UTF8 + CHINESE.encode(), "utf-8-sig"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"), "utf-16"),
        (CHINESE.encode("gb18030"), "gb18030"),
        (b"plain", "utf-8"),
    ],
)
def test_detected(data: bytes, encoding: str) -> None:
    decoded = decode(data)
    assert decoded.encoding == encoding
    assert decoded.text in (CHINESE, "plain")
    assert decoded.num_invalid_bytes == 0


def test_one_bad_line_among_many_is_carried_not_replaced() -> None:
    lines = [f"第{n}行".encode() for n in range(30)]
    lines[7] = b"caf\xe9 \xff"
    decoded = decode(b"\n".join(lines))
    assert (decoded.encoding, decoded.num_invalid_bytes) == ("utf-8", 2)
    assert "\ufffd" not in decoded.text
    bad = [line for line in decoded.text.split("\n") if bad_text(line)]
    assert bad == ["caf\udce9 \udcff"] and bad_text(bad[0]) == "invalid_bytes"


def test_latin_1_is_not_taken_for_chinese() -> None:
    data = "name,answer\ncafé,très bien\nnaïve,été\n".encode("latin-1")
    with pytest.raises(DataError, match=r"neither UTF-8 nor GB18030: byte 16 \(line 2\) is 0xe9") as caught:
        decode(data, place="a.csv")
    assert "latin-1" in str(caught.value.hint)
    assert decode(data, encoding="latin-1").text.startswith("name,answer\ncafé")


def test_a_named_encoding_is_kept_to() -> None:
    assert decode(codecs.BOM_UTF8 + b"a", encoding="UTF8").text == "a"
    with pytest.raises(DataError, match="not a known text encoding"):
        decode(b"a", encoding="utf-9")
    with pytest.raises(DataError, match="not a known text encoding"):
        decode(b"a", encoding="base64")
    with pytest.raises(DataError, match=r"not valid utf-16-le: byte 3 \(line 1\)"):
        decode(b"a\x00b", encoding="utf-16-le")


def test_unmarked_utf_16_is_named() -> None:
    with pytest.raises(DataError, match="UTF-16 without a mark"):
        decode("hello there".encode("utf-16-le"))


def test_half_a_surrogate_pair_is_found_however_deep() -> None:
    assert bad_text({"messages": [{"content": "\ud83d"}]}) == "lone_surrogate"
    assert bad_text({"\udcff": 1}) == "invalid_bytes"
    assert bad_text([1, None, "好"]) is None


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        decoded = decode(data)
    except DataError:
        return
    assert "\ufffd" not in decoded.text or "\ufffd".encode() in data or decoded.encoding != "utf-8"
