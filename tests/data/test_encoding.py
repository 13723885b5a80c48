"""One encoding for a file, detected or named; what does not fit is an error with its place or a marked row."""

from __future__ import annotations

import codecs

import opencc
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
    with pytest.raises(DataError, match=r"neither UTF-8 nor GB18030 nor Big5: byte 16 \(line 2\) is 0xe9") as caught:
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


SENTENCES = [
    "如何重置密码？请点击“找回密码”，然后按照提示操作。",
    "我们的产品支持七天无理由退货，运费由买家承担。",
    "他昨天从北京坐火车去了上海，路上花了五个小时。",
    "人工智能正在改变医疗、教育和金融等行业的面貌。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "本合同自双方签字盖章之日起生效，有效期为三年。",
    "患者主诉头痛三天，伴有恶心、呕吐，无发热。",
    "这本书讲述了一个小女孩在森林里迷路后遇到一只会说话的狐狸的故事。",
    "氨基酸与蛋白质的结构决定其生物学功能",
    "鼠标、键盘、显示器均享受一年保修",
    "请问怎么开具增值税专用发票",
    "公司成立于二〇一五年，总部位于杭州。",
    "数据库连接失败，请检查网络设置后重试。",
    "谢谢您的支持",
    "深圳市南山区科技园北区",
    "张伟",
    "你好",
]


@pytest.mark.parametrize("script", ["s2t", "s2twp", "s2hk"])
@pytest.mark.parametrize("encoding", ["big5", "big5hkscs"])
def test_big5_is_told_from_gb18030_in_every_sentence(script: str, encoding: str) -> None:
    convert = opencc.OpenCC(script).convert
    for sentence in [*SENTENCES, "\n".join(SENTENCES), f"id,q\n1,{SENTENCES[0]}"]:
        text = convert(sentence)
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            continue  # a character that the smaller standard does not have
        decoded = decode(data)
        assert (decoded.text, decoded.encoding, decoded.num_invalid_bytes) == (text, "big5hkscs", 0)


@pytest.mark.parametrize("script", ["", "s2t", "s2twp"])
def test_gb18030_is_told_from_big5(script: str) -> None:
    for sentence in [*SENTENCES, "\n".join(SENTENCES)]:
        text = opencc.OpenCC(script).convert(sentence) if script else sentence
        if script and len(text) < 12:
            continue  # too little to tell traditional characters in GB18030 from no Chinese at all: refused
        assert decode(text.encode("gb18030")).text == text


def test_what_is_not_chinese_is_refused() -> None:
    for text in (
        "Größe über Öl müßte ähnlich schön\n",
        "El niño está aquí\n",
        "Ærø, Ålesund, Tromsø\n",
    ):
        with pytest.raises(DataError, match="neither UTF-8 nor GB18030 nor Big5"):
            decode(text.encode("latin-1"))
    with pytest.raises(DataError, match="Japanese in EUC-JP") as caught:
        decode("これは日本語のテキストです。\n".encode("euc_jp"))
    assert caught.value.hint == "write data.encoding: euc-jp"
    assert decode("繁體".encode("big5"), encoding="big5").text == "繁體"
