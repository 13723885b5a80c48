"""Personal data is masked, and the numbers and code of documentation are not."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import RecipeError
from setsail.base.recipe_data import Redact
from setsail.data.privacy.checksums import credit_check
from setsail.data.privacy.options import redactor_of
from setsail.data.privacy.redactor import Redactor, redact
from setsail.data.privacy.registry import KINDS, STANDARD, detectors_of, kinds_of

ALL = Redactor(kinds=tuple(KINDS))
KEY = b"a key that is thirty-two bytes!!"


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
        for rare in (card_number(seed, "0604", 12), card_number(seed, "6390", 16)):
            assert rare not in redact([f"Charged to my card {rare}."]).texts[0], rare


def test_one_value_has_one_name_within_a_row() -> None:
    done = redact(["a@example.org, b@example.org", "A@example.org again"])
    assert done.texts == ("[EMAIL_1], [EMAIL_2]", "[EMAIL_1] again")
    assert done.counts == {"EMAIL": 3}


@given(st.text(alphabet=st.sampled_from("0123456789.-+ ()@:abcx,[]="), max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    once = redact([text]).texts
    assert redact(once).texts == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我叫张伟，今年30岁", "我叫[NAME_1]，今年30岁"),
        ("联系人：欧阳娜娜 请回电", "联系人：[NAME_1] 请回电"),
        ("请找王先生和李晓明老师", "请找[NAME_1]先生和[NAME_2]老师"),
        ("刘建国表示同意。后来刘建国又来了", "[NAME_1]表示同意。后来[NAME_1]又来了"),
        ("My name is John Smith.", "My name is [NAME_1]."),
        ("Dear Ms. O'Neill,\nthanks", "Dear Ms. [NAME_1],\nthanks"),
        ("I met Jennifer Brown yesterday", "I met [NAME_1] yesterday"),
        ("住在北京市海淀区中关村大街27号3号楼402室。", "住在[ADDRESS_1]。"),
        ("寄到文化路12号3栋402室", "寄到[ADDRESS_1]"),
        ("at 123 Main Street, Springfield, IL 62704.", "at [ADDRESS_1]."),
        ("write to P.O. Box 104", "write to [ADDRESS_1]"),
        ("微信号：zhangwei_88，QQ：12345678", "微信号：[WECHAT_1]，QQ：[QQ_1]"),
        ("身份证 110105491231002", "身份证 [ID_CARD_1]"),
        ("SSN 536-22-1234", "SSN [SSN_1]"),
        ("护照E12345678，passport: 123456789", "护照[PASSPORT_1]，passport: [PASSPORT_2]"),
        ("京A12345和沪AD12345", "[PLATE_1]和[PLATE_2]"),
        ("born on May 12, 1990; 出生于1990年5月12日", "born on [BIRTH_DATE_1]; 出生于[BIRTH_DATE_2]"),
        ("代码91110000600037341L", "代码[CREDIT_CODE_1]"),
        ("mac 00:1A:2B:3C:4D:5E", "mac [MAC_1]"),
        ("postgres://admin:s3cret@db.example.org/x", "postgres://[LOGIN_1]@db.example.org/x"),
        ("to 0x52908400098527886E0F7030069857D2E4169EE7", "to [WALLET_1]"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "[WALLET_1]"),
        ("密码：Hunter2!", "密码：[KEY_1]"),
        ("Phone:\n60-56-85-91", "Phone:\n[PHONE_1]"),
        ("020-87654321转8012", "[PHONE_1]"),
    ],
)
def test_each_kind_of_the_whole_set_is_found(text: str, expected: str) -> None:
    assert ALL([text]).texts == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "马上就到周末了，方便的话我们去黄河边，白色的王者荣耀，张家界风景，高兴。",
        "高峰时段，安全第一，任何人，成功的方法，金融行业，江南水乡，周年庆，石家庄，方便面",
        "订单号20240512123456，快递单SF1234567890123，价格1,299.00元，ISBN 978-7-111-54742-6",
        "我是学生。这是白色的。经理说方案可行，主任通知明天开会",
        "第12号台风，3号线，5楼见，二层，大道理，一路走好",
        "ISBN 978-0-306-40615-7, DOI 10.1000/182, version 12.4.5.1 and release 2.0.0.1",
        ">>> np.arange(12).reshape(3, 4)\narray([[ 0,  1,  2,  3], [ 4,  5,  6,  7]])",
        "Released 2024-05-12 at 12:30:45, 1990-05-12 was a Saturday, born in 1990",
        "It costs $1,299.00 or 3.50 per 100; May will come, Will it? Mark the date.",
        "The Fourier Transform, Gaussian Process, New York, Sunday Morning",
        "wechat integration is ready; QQ is a program; my passport expired; call 911",
        "https://user:password@host/ and https://<user>:<password>@host and 5th Avenue",
        "sha 0123456789abcdef0123456789abcdef01234567 and uuid 123e4567-e89b-12d3-a456-426614174000",
        "911100006000373411 and 91110000600037341K",
    ],
)
def test_what_looks_alike_stays(text: str) -> None:
    assert ALL([text]).texts == (text,)


def test_planted_credit_codes_need_their_check_character() -> None:
    chance = random.Random(5)
    for _ in range(100):
        body = "91110105" + "".join(chance.choice("0123456789ABCDEFGHJKLMNPQRTUWXY") for _ in range(8)) + "M"
        assert ALL([f"代码 {body}{credit_check(body)}"]).counts == {"CREDIT_CODE": 1}


def test_values_to_keep_stay() -> None:
    keeps = Redactor(keep=("*@Acme.com", "8.8.8.8"))
    assert keeps(["help@acme.com 8.8.8.8 ann@example.org"]).texts == ("help@acme.com 8.8.8.8 [EMAIL_1]",)


def test_numbers_begin_above_those_of_placeholders_that_stand_there() -> None:
    assert redact(["[EMAIL_3] and ann@example.org"]).texts == ("[EMAIL_3] and [EMAIL_4]",)


def test_pseudonyms_are_the_same_in_every_row_and_process_and_depend_on_the_key() -> None:
    ours = Redactor("pseudonymise", tuple(KINDS), key=KEY)
    sent = pickle.loads(pickle.dumps(ours))  # noqa: S301 as multiprocessing sends it
    once, again = ours(["call 13812345678"]).texts, sent(["138-1234-5678?"]).texts
    assert once[0].removeprefix("call ") == again[0].removesuffix("?") != "13812345678"
    assert Redactor("pseudonymise", tuple(KINDS), key=KEY[::-1])(["call 13812345678"]).texts != once


def test_pseudonyms_belong_to_nobody() -> None:
    ours = Redactor("pseudonymise", tuple(KINDS), key=KEY)
    for number in ("13812345678", "+44 20 7946 0958", "415-555-2671", "010-62345678"):
        invented = ours([f"电话 {number}"]).hidden[0].replacement
        parsed = [p for p in _parsed(invented, ("CN", "US")) if phonenumbers.is_valid_number(p)]
        assert not parsed or "-555-01" in invented
    assert ours(["ann@b.com"]).texts[0].endswith("@example.org")
    assert ours(["4111 1111 1111 1111"]).texts[0].startswith("9999")
    assert ours([f"证 {identity_number(3)}"]).texts[0].startswith("证 999999")


def _parsed(number: str, regions: tuple[str, ...]) -> list[phonenumbers.PhoneNumber]:
    found = []
    for region in regions:
        try:
            found.append(phonenumbers.parse(number, region))
        except phonenumbers.NumberParseException:
            continue
    return found


def test_a_recipe_chooses_kinds_and_modes(tmp_path: Path) -> None:
    assert redactor_of(Redact.model_validate("none"), tmp_path) is None
    assert redactor_of(Redact.model_validate("mask"), tmp_path) == Redactor()
    only = redactor_of(Redact(entities=("phone", "name")), tmp_path)
    assert only is not None and only(["Dr. Ann Lee a@example.org"]).texts == ("Dr. [NAME_1] a@example.org",)
    with pytest.raises(RecipeError, match="phones") as refused:
        kinds_of(["phones"])
    assert '"phone"' in str(refused.value)
    with pytest.raises(ValueError, match="key_file"):
        Redact(mode="pseudonymise")


def test_a_passphrase_makes_pseudonyms_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "a passphrase of some length")
    named = Redact(mode="pseudonymise", key_env="OUR_SECRET")
    ours, again = redactor_of(named, tmp_path), redactor_of(named, tmp_path)
    assert ours is not None and ours == again and b"passphrase" not in ours.key


def test_the_registry_names_every_kind_that_is_detected() -> None:
    assert {detector.kind for detector in detectors_of(tuple(KINDS))} == set(KINDS)
    assert set(STANDARD) == set(KINDS) - {"NAME"}
