"""Personal data is masked, and the numbers and code of documentation are not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.data.privacy.redactor import redact


def identity_number(seed: int) -> str:
    chance = random.Random(seed)
    born = f"{chance.randint(1950, 2010)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    body = f"11010{chance.randint(1, 9)}{born}{chance.randint(0, 999):03}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(w * int(d) for w, d in zip(weights, body, strict=True)) % 11]


def card_number(seed: int, head: str = "62", length: int = 19) -> str:
    chance = random.Random(seed)
    body = head + "".join(str(chance.randint(0, 9)) for _ in range(length - len(head) - 1))
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail ann.b+c@mail.example.co.uk!", "mail [EMAIL_1]!"),
        ("请联系ann@example.cn谢谢", "请联系[EMAIL_1]谢谢"),
        ("call 13812345678", "call [PHONE_1]"),
        ("手机：138-1234-5678，座机：010-62345678", "手机：[PHONE_1]，座机：[PHONE_2]"),
        ("+1 650-253-0000", "[PHONE_1]"),
        ("(415) 555-2671 or 415-555-2671", "[PHONE_1] or [PHONE_1]"),
        ("身份证11010519491231002X。", "身份证[ID_CARD_1]。"),
        ("4111 1111 1111 1111", "[BANK_CARD_1]"),
        ("GB82 WEST 1234 5698 7654 32", "[IBAN_1]"),
        ("from 8.8.8.8 and 2001:4860:4860::8888", "from [IP_1] and [IP_2]"),
        ("use sk-proj-abcdefghijklmnopqrstuvwx", "use [KEY_1]"),
        ("api_key = 'a1b2c3d4e5f6g7h8i9'", "api_key = '[KEY_1]'"),
    ],
)
def test_each_kind_is_found(text: str, expected: str) -> None:
    assert redact([text]).texts == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "array([1.41421356, 0.12345678901234567, -2.5e-10])",
        "[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16]",
        "np.array([13812345678901, 4611686018427387904, 18446744073709551615])",
        "2**53 is 9007199254740992; max 9223372036854775807",
        "version 1.2.3.4, v10.0.0.1, 0.0.0.0, 127.0.0.1, 255.255.255.0, 192.168.1.1",
        "x[1::2], a[::2], std::abc, dead::beef, 12:30:45",
        "C = A@B.T and y = a@x.dot(b)",
        "@decorator and git@github.com:numpy/numpy.git",
        "2012-03-04T12:30:45 took 1234567890 ns, 1612345678901 ms",
        "token = np.random.Generator.integers and password: optional",
        "0.1 0.2 0.3 0.4 and 1e-10 and 3.14.15",
        "身份证号110105194912310021不对",
        "1234 5678 9012 3456",
    ],
)
def test_documentation_stays(text: str) -> None:
    assert redact([text]).texts == (text,)


def test_planted_numbers_with_checksums_are_all_found() -> None:
    for seed in range(200):
        for value in (
            identity_number(seed),
            card_number(seed),
            card_number(seed, "4", 16),
            card_number(seed, "52", 16),
        ):
            assert value not in redact([f"It is {value}."]).texts[0], value


def test_one_value_has_one_name_within_a_row() -> None:
    done = redact(["a@example.org, b@example.org", "A@example.org again"])
    assert done.texts == ("[EMAIL_1], [EMAIL_2]", "[EMAIL_1] again")
    assert done.counts == {"EMAIL": 3}


@given(st.text(alphabet=st.sampled_from("0123456789.-+ ()@:abcx,[]="), max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    once = redact([text]).texts
    assert redact(once).texts == once
