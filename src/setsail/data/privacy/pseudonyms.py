"""What replaces a value: one of the same kind that belongs to nobody, the same one wherever the value stands.

Each is drawn from the HMAC-SHA256 of kind and value under a secret key, so that nobody without the key can tell which
value it stands for, even by trying all of them. Where a standard sets values aside for examples, or never gives them
out, they are taken from there; the check digits are right, so that what learns the form learns the right one. Where
the space is small (American telephones), two values may rarely share a pseudonym.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from hashlib import sha256

from setsail.data.privacy import checksums

_SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜谢邹喻苏潘葛范彭郎鲁韦马苗方俞任袁柳鲍史唐"
_STEMS = "甲乙丙丁戊己庚辛壬癸"
_BRANCHES = "子丑寅卯辰巳午未申酉戌亥"
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Draw:
    """Numbers without end that depend on key, kind and value alone."""

    def __init__(self, key: bytes, kind: str, canonical: str) -> None:
        seed = hmac.new(key, f"{kind}\0{canonical}".encode("utf-8", "surrogatepass"), sha256).digest()
        self._rest = int.from_bytes(seed, "big")

    def below(self, limit: int) -> int:
        """The next number under a limit; 256 bits are more than any pseudonym takes."""
        self._rest, number = divmod(self._rest, limit)
        return number

    def one_of(self, choices: str) -> str:
        return choices[self.below(len(choices))]

    def digits(self, count: int) -> str:
        return f"{self.below(10**count):0{count}}"

    def hexadecimal(self, count: int) -> str:
        return f"{self.below(16**count):0{count}x}"


def pseudonym(key: bytes, kind: str, value: str, canonical: str) -> str:
    """The stand-in for a value.

    >>> pseudonym(b"k" * 32, "PHONE", "13812345678", "13812345678")
    '11594056152'
    """
    return _INVENT[kind](Draw(key, kind, canonical), value)


def _mail(draw: Draw, value: str) -> str:
    """At example.org, which RFC 2606 sets aside."""
    return f"user-{draw.hexadecimal(10)}@example.org"


def _phone(draw: Draw, value: str) -> str:
    """China: 115, which no network has; America: 555-01xx, set aside for fiction; elsewhere +999, no country's."""
    digits = re.sub(r"\D", "", value)
    if value.startswith("+") and not digits.startswith(("1", "86")):
        return f"+999{draw.digits(9)}"
    chinese = digits.startswith(("86", "0", "400")) or (
        len(digits) == 11 and digits[0] == "1" and digits[1] in "3456789"
    )
    if chinese:
        return ("+86 " if value.startswith("+86") else "") + "115" + draw.digits(8)
    area = f"{2 + draw.below(8)}{draw.below(9)}{draw.below(10)}"
    return ("+1 " if value.startswith("+1") else "") + f"{area}-555-01{draw.digits(2)}"


def _identity_card(draw: Draw, value: str) -> str:
    """Of the region 999999, which is no place; the check digit is right."""
    body = f"999999{1900 + draw.below(20)}{1 + draw.below(12):02}{1 + draw.below(28):02}{draw.digits(3)}"
    return body + checksums.identity_check(body)


def _social_security(draw: Draw, value: str) -> str:
    """Of an area from 900 on with a group under 50: neither a social security nor a tax number has it."""
    return f"9{draw.digits(2)}-{1 + draw.below(49):02}-{1 + draw.below(9999):04}"


def _birth_date(draw: Draw, value: str) -> str:
    """A day before 1910, written as the original was."""
    year, month, day = 1900 + draw.below(10), 1 + draw.below(12), 1 + draw.below(28)
    return f"{year}年{month}月{day}日" if "年" in value else f"{year}-{month:02}-{day:02}"


def _plate(draw: Draw, value: str) -> str:
    """Of the province 某, "a certain one"."""
    return f"某{draw.one_of(_LETTERS)}{draw.digits(5)}"


def _credit_code(draw: Draw, value: str) -> str:
    """Of the region 000000, with the right check character."""
    body = "91000000" + "".join(draw.one_of(checksums.CREDIT_ALPHABET) for _ in range(9))
    return body + checksums.credit_check(body)


def _card(draw: Draw, value: str) -> str:
    """Of issuer 9999: a 9 and a country, and there is no country 999. The Luhn sum holds."""
    body = "9999" + draw.digits(11)
    return body + checksums.luhn_check(body)


def _account(draw: Draw, value: str) -> str:
    """Of the country ZZ, which ISO 3166 leaves to users; the remainder is right."""
    body = draw.digits(20)
    return f"ZZ{98 - checksums.mod97('ZZ00' + body):02}{body}"


def _ip(draw: Draw, value: str) -> str:
    """Of 240.0.0.0/4, which is reserved, or of 2001:db8::/32, which is for documentation."""
    if ":" in value:
        return "2001:db8:" + ":".join(draw.hexadecimal(4) for _ in range(6))
    return ".".join(str(part) for part in (240 + draw.below(15), draw.below(256), draw.below(256), 1 + draw.below(254)))


def _mac(draw: Draw, value: str) -> str:
    """Locally administered: no maker's."""
    return ":".join(["02", *(draw.hexadecimal(2) for _ in range(5))])


def _address(draw: Draw, value: str) -> str:
    if value.isascii():
        return f"{draw.digits(5)} Example Street, Anytown, ZZ 00000"
    return f"某省某市某区某路{1 + draw.below(99999)}号"


def _name(draw: Draw, value: str) -> str:
    """A surname, 某 and two cyclical signs, as Chinese courts write; in other scripts two words that are no names."""
    if "\u4e00" <= value[0] <= "\u9fff":
        return draw.one_of(_SURNAMES) + "某" + draw.one_of(_STEMS) + draw.one_of(_BRANCHES)
    syllables = ["".join(draw.one_of(_CONSONANTS) + draw.one_of(_VOWELS) for _ in range(3)) for _ in range(2)]
    return " ".join(word.capitalize() for word in syllables)


_INVENT: dict[str, Callable[[Draw, str], str]] = {
    "EMAIL": _mail,
    "PHONE": _phone,
    "WECHAT": lambda draw, value: f"example_{draw.hexadecimal(10)}",
    "QQ": lambda draw, value: "0" + draw.digits(9),
    "ADDRESS": _address,
    "ID_CARD": _identity_card,
    "SSN": _social_security,
    "PASSPORT": lambda draw, value: "ZZ" + draw.digits(7),
    "BIRTH_DATE": _birth_date,
    "PLATE": _plate,
    "CREDIT_CODE": _credit_code,
    "BANK_CARD": _card,
    "IBAN": _account,
    "WALLET": lambda draw, value: "example-wallet-" + draw.hexadecimal(16),
    "IP": _ip,
    "MAC": _mac,
    "LOGIN": lambda draw, value: f"user-{draw.hexadecimal(8)}:removed",
    "KEY": lambda draw, value: "removed-" + draw.hexadecimal(10),
    "NAME": _name,
}
