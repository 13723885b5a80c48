"""Sentences with planted personal data, and where it stands: values by faker with right check digits, in templates.

Two sets of templates: `LOOKED_AT` is what errors were studied on; `HELD_OUT` was written apart from the detectors' cue
words and is what is reported. A slot is {KIND}, or {KIND:form} for one of several forms.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from faker import Faker

from setsail.data.privacy import checksums


@dataclass(frozen=True)
class Case:
    """A text, and the values in it as (start, end, kind)."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    language: str


ENGLISH_LOOKED_AT = (
    "My name is {NAME} and my number is {PHONE}.",
    "You can mail {EMAIL} or call {PHONE} after six.",
    "Ship it to {ADDRESS}, please, to the attention of {NAME}.",
    "The card {BANK_CARD} was charged twice; signed, {NAME}",
    "{NAME} was born on {BIRTH_DATE} and holds passport {PASSPORT}.",
    "SSN {SSN}, account {IBAN}.",
    "The server at {IP} ({MAC}) answers again.",
    "Dear Mr. {NAME:last}, your key {KEY} has expired.",
    "Use https://{LOGIN}@files.example.com/ until Monday.",
    "Donations: {WALLET}",
)
ENGLISH_HELD_OUT = (
    "I asked {NAME} to ring the office, but the line {PHONE} was dead all morning.",
    "Could somebody forward the contract to {EMAIL} before {NAME} leaves?",
    "Our courier could not find {ADDRESS} and took the parcel back.",
    "We moved last spring; since then the post goes to {ADDRESS}.",
    "Ticket 4711: customer {NAME} paid with {BANK_CARD}, exp 09/27, and wants a refund.",
    "Wire the deposit to {IBAN} and send proof to {EMAIL}.",
    "For the background check I need your social ({SSN}) and the passport, which reads {PASSPORT}.",
    "DOB {BIRTH_DATE}; insurance through the mother, {NAME}; tel. {PHONE}",
    "Blocked three log-ins from {IP} last night, the device says {MAC}.",
    "deploy.sh still has export TOKEN={KEY} in line 12, rotate it",
    "git clone https://{LOGIN}@git.example.net/shop.git fails with 403",
    "the refund in coins went to {WALLET} on Friday",
    "{NAME} and {NAME} will present the results; questions to {EMAIL}.",
    "When {NAME} called back from {PHONE}, nobody picked up.",
    "The invoice of {NAME}, {ADDRESS}, is still open.",
    "Patient's birthday is {BIRTH_DATE}, SSN {SSN}.",
    "Their gateway {IP} drops packets every ten minutes.",
    "I paid by card, number {BANK_CARD}, name on it {NAME}.",
)
CHINESE_LOOKED_AT = (
    "我叫{NAME}，电话{PHONE}，住在{ADDRESS}。",
    "收件人：{NAME}，地址：{ADDRESS}，手机：{PHONE}",
    "身份证号{ID_CARD}，出生日期{BIRTH_DATE}。",
    "请{NAME:last}先生把护照{PASSPORT}带来。",
    "微信号：{WECHAT}，QQ：{QQ}，邮箱{EMAIL}。",
    "车牌{PLATE}的车主请挪车。",
    "公司税号{CREDIT_CODE}，开户行账号{BANK_CARD}。",
    "联系人{NAME}，座机{PHONE:landline}。",
)
CHINESE_HELD_OUT = (
    "昨天下午{NAME}来店里退货，留的号码是{PHONE}，让我们尽快回电。",
    "麻烦把发票寄到{ADDRESS}，{NAME}收，谢谢。",
    "客人预订时登记的证件是{ID_CARD}，跟本人对不上。",
    "{NAME}，男，{BIRTH_DATE}出生，现居{ADDRESS}。",
    "家长{NAME}反映，孩子的班主任{NAME:last}老师一直没有回复她的短信（{PHONE}）。",
    "转账请打到{BANK_CARD}这张卡上，户名{NAME}。",
    "停车场记录显示{PLATE}于晚上十点驶离。",
    "加我微信{WECHAT}，或者QQ号{QQ}都行。",
    "甲方统一社会信用代码为{CREDIT_CODE}，联系邮箱{EMAIL}。",
    "护照{PASSPORT}下个月到期，能不能加急办理？",
    "后台日志里{IP}频繁请求接口，设备地址{MAC}，请运维同事看一下。",
    "投诉人{NAME}表示，客服让他打{PHONE:landline}，但一直占线。",
    "配置文件里写着 secret_key={KEY}，千万别提交。",
    "快递显示已送达{ADDRESS}，但我没收到。",
    "跟{NAME}确认过了，他的身份证{ID_CARD}没有问题。",
    "生日是{BIRTH_DATE}，身份证尾号和登记的不一样，{NAME}让我来问问。",
    "尾款付到{IBAN}，到账后通知{NAME}。",
    "车主{NAME}的电话是{PHONE}，车号{PLATE}。",
)
_CITIES = {
    "北京市": ("海淀区", "朝阳区", "丰台区"),
    "上海市": ("浦东新区", "徐汇区", "静安区"),
    "广东省深圳市": ("南山区", "福田区", "宝安区"),
    "浙江省杭州市": ("西湖区", "余杭区", "滨江区"),
    "四川省成都市": ("武侯区", "锦江区", "高新区"),
    "湖北省武汉市": ("洪山区", "江汉区"),
    "江苏省昆山市": ("玉山镇", "花桥镇"),
    "河南省南阳市": ("卧龙区", "邓州市"),
}
_ROADS = (
    "人民路",
    "建设大道",
    "解放街",
    "学院南路",
    "科技园路",
    "长江西路",
    "中山北路",
    "和平里",
    "青年大街",
    "莲花巷",
)
_ESTATES = ("阳光花园", "幸福小区", "金色家园", "万科城", "翠湖苑", "")
_REGIONS = ("110105", "310104", "440305", "330106", "510107", "420111", "320583", "411302", "610113", "230103")
_HEX = "0123456789abcdef"


def cases(language: str, templates: tuple[str, ...], *, count: int, seed: int) -> list[Case]:
    """Sentences by template in turn; the same seed gives the same."""
    faker = Faker("en_US" if language == "en" else "zh_CN")
    faker.seed_instance(seed)
    values = _Values(language, faker, random.Random(seed))
    return [_filled(templates[i % len(templates)], values, language) for i in range(count)]


def _filled(template: str, values: _Values, language: str) -> Case:
    text, spans = "", []
    for piece in re.split(r"(\{[A-Z_]+(?::[a-z]+)?\})", template):
        if piece.startswith("{"):
            kind, _, form = piece[1:-1].partition(":")
            value = values.of(kind, form)
            spans.append((len(text), len(text) + len(value), kind))
            piece = value
        text += piece
    return Case(text, tuple(spans), language)


class _Values:
    """Values of each kind, drawn one after another."""

    def __init__(self, language: str, faker: Faker, chance: random.Random) -> None:
        self.language, self.faker, self.chance = language, faker, chance
        # Faker's Chinese account numbers have lengths that no country has.
        self.english = Faker("en_US")
        self.english.seed_instance(chance.randint(0, 1 << 30))

    def of(self, kind: str, form: str) -> str:
        make: Callable[[str], str] = getattr(self, f"_{kind.lower()}")
        return make(form)

    def _digits(self, count: int) -> str:
        return "".join(self.chance.choice("0123456789") for _ in range(count))

    def _letters(self, count: int, alphabet: str) -> str:
        return "".join(self.chance.choice(alphabet) for _ in range(count))

    def _name(self, form: str) -> str:
        if form == "last":
            return self.faker.last_name()
        if self.language == "zh":
            return self.faker.name()
        return f"{self.faker.first_name()} {self.faker.last_name()}"

    def _phone(self, form: str) -> str:
        if self.language == "en":
            return self.faker.phone_number()
        if form == "landline":
            area = self.chance.choice(("010", "021", "0755", "0571", "028"))
            return f"{area}-{self.chance.randint(2, 8)}{self._digits(7)}"
        number = self.faker.phone_number()
        return self.chance.choice((number, f"{number[:3]}-{number[3:7]}-{number[7:]}", f"+86 {number}"))

    def _email(self, form: str) -> str:
        return self.faker.email()

    def _address(self, form: str) -> str:
        if self.language == "en":
            return self.faker.address()
        if self.chance.random() < 0.2:
            return self.faker.address()
        city = self.chance.choice(list(_CITIES))
        place = city + self.chance.choice(_CITIES[city]) + self.chance.choice(_ROADS)
        rooms = f"{self.chance.randint(1, 30)}栋{self.chance.randint(1, 4)}单元{self.chance.randint(101, 2503)}室"
        return f"{place}{self.chance.randint(1, 900)}号{self.chance.choice(_ESTATES)}{rooms}"

    def _id_card(self, form: str) -> str:
        born = self.faker.date_of_birth(minimum_age=18, maximum_age=80).strftime("%Y%m%d")
        body = self.chance.choice(_REGIONS) + born + self._digits(3)
        return body + checksums.identity_check(body)

    def _ssn(self, form: str) -> str:
        return self.faker.ssn()

    def _passport(self, form: str) -> str:
        if self.language == "en":
            return self.faker.passport_number()
        return self.chance.choice(("E", "G", "EA", "EB")).ljust(1) + self._digits(8)[: 9 - 1]

    def _birth_date(self, form: str) -> str:
        born = self.faker.date_of_birth(minimum_age=18, maximum_age=90)
        if self.language == "zh":
            return self.chance.choice((f"{born.year}年{born.month}月{born.day}日", born.strftime("%Y-%m-%d")))
        return born.strftime(self.chance.choice(("%m/%d/%Y", "%B %d, %Y", "%d %b %Y", "%Y-%m-%d")))

    def _bank_card(self, form: str) -> str:
        if self.language == "en":
            return self.faker.credit_card_number()
        body = self.chance.choice(("622202", "621700", "622848", "623058", "621661")) + self._digits(12)
        number = body + checksums.luhn_check(body)
        return self.chance.choice((number, " ".join(number[i : i + 4] for i in range(0, 19, 4))))

    def _iban(self, form: str) -> str:
        return self.english.iban()

    def _plate(self, form: str) -> str:
        head = self.chance.choice("京沪粤浙川鄂苏豫") + self.chance.choice("ABCDEFGH")
        if self.chance.random() < 0.3:
            return head + self.chance.choice("DF") + self._digits(5)
        return head + self.chance.choice(("", "·")) + self._letters(1, "ABCDEFGHJKLM") + self._digits(4)

    def _credit_code(self, form: str) -> str:
        alphabet = checksums.CREDIT_ALPHABET
        body = self.chance.choice(("91", "92", "12")) + self.chance.choice(_REGIONS) + self._letters(9, alphabet)
        return body + checksums.credit_check(body)

    def _wechat(self, form: str) -> str:
        return self.chance.choice(("wxid_" + self._letters(12, "abcdefgh0123456789"), self.faker.user_name() + "_88"))

    def _qq(self, form: str) -> str:
        return str(self.chance.randint(10_000_00, 3_999_999_999))

    def _ip(self, form: str) -> str:
        public = f"2{self._letters(3, _HEX)}:" + ":".join(self._letters(4, _HEX) for _ in range(7))
        return self.chance.choice((self.faker.ipv4_public(), self.faker.ipv4_public(), public))

    def _mac(self, form: str) -> str:
        return self.faker.mac_address()

    def _login(self, form: str) -> str:
        return f"{self.faker.user_name()}:{self._letters(10, 'abcdefghkmnp23456789!$')}"

    def _wallet(self, form: str) -> str:
        return "0x" + self._letters(40, _HEX)

    def _key(self, form: str) -> str:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        return self.chance.choice(
            (
                "sk-proj-" + self._letters(40, alphabet),
                "ghp_" + self._letters(36, alphabet),
                "AKIA" + self._letters(16, alphabet[:26] + "234567"),
                "LTAI" + self._letters(20, alphabet),
                "xoxb-" + self._digits(12) + "-" + self._letters(24, alphabet),
            )
        )
