"""Masking personal data and secrets: mail addresses, telephone numbers, Chinese and American identity numbers, bank
cards, IBANs, public IP addresses, API keys.

Each kind is found by its shape and then confirmed (checksum, numbering plan, address rules), so that the numbers and
code of documentation stay. Names and postal addresses are NOT found: that needs a model. Within one row the same value
always gets the same placeholder. What does not live here: what happens to a row that holds some (`prepare.py`).
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

import phonenumbers

_MAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w(-])",
    re.ASCII,
)
_IDENTITY = re.compile(r"(?<![\dA-Za-z.])[1-8]\d{16}[\dXx](?![\dA-Za-z])", re.ASCII)
_SOCIAL_SECURITY = re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])", re.ASCII)
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b", re.ASCII)
_CARD = re.compile(r"(?<![\d.A-Za-z])(?:\d[ -]?){12,18}\d(?![\dA-Za-z]|\.\d)", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w.,+\[=*/^-])(?:"
    r"\+\d[\d ().-]{6,18}\d"
    r"|(?:(?:0086|86)[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}"
    r"|\(?0\d{2,3}\)?[ -]\d{7,8}(?:-\d{1,5})?"
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}([-.])\d{3}\1\d{4}"
    r")(?: ?x\d{1,6})?(?![\w%]|[.-]\d)",
    re.ASCII,
)
_SPOKEN_PHONE = re.compile(
    r"(?i)(?:\b(?:phone|telephone|tel|mobile|cell|fax|call(?: me)?(?: at| on)?|whatsapp)\b"
    r"|电话|手机|传真|致电|联系方式)"
    r"[^\d\n+]{0,12}(\+?\(?\d[\d ().-]{5,18}\d)(?![\w]|\.\d)"
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])", re.ASCII
)
_VERSION_BEFORE = re.compile(r"(?i)(?:\bversions?|\bv|\brelease|[=<>]=|版本)[\s:=]*$")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:sk|pk|rk)-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}|\bLTAI[A-Za-z0-9]{12,20}\b|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    re.ASCII,
)
_ASSIGNED_KEY = re.compile(
    r"(?i)(?:api[_-]?key|secret(?:[_-]?(?:access)?[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd|bearer|密钥|令牌)"
    r"[\"']?\s*(?:[:=：]|\s)\s*[\"']?([A-Za-z0-9+/_~.-]{16,}={0,2})(?![\w(])"
)
_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_REGIONS = ("US", "CN", "GB", "DE", "FR", "IN", "AU", "JP")
_NUMBER = re.compile(r"\d{2}|\d\.\d", re.ASCII)
_KEY_MARKS = (
    *("sk-", "pk-", "rk-", "k_live_", "k_test_"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_"),
    *("akia", "asia", "aiza", "ltai", "xox", "eyj", "private key"),
)
_SECRET_WORDS = ("key", "secret", "token", "passw", "bearer", "密钥", "令牌")


@dataclass(frozen=True)
class Redacted:
    """Texts with placeholders in them, and how many values of each kind were found."""

    texts: tuple[str, ...]
    counts: dict[str, int]


def redact(texts: Iterable[str]) -> Redacted:
    """The texts of one row, masked; the same value gets the same placeholder in all of them.

    >>> redact(["Write to ann@example.org", "ann@example.org? Yes."]).texts
    ('Write to [EMAIL_1]', '[EMAIL_1]? Yes.')
    """
    seen: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()
    masked = tuple(_mask(text, seen, counts) for text in texts)
    return Redacted(masked, dict(sorted(counts.items())))


def _mask(text: str, seen: dict[tuple[str, str], str], counts: Counter[str]) -> str:
    lowered = text.lower()
    has_number = _NUMBER.search(text) is not None
    for kind, pattern, confirmed, possible in _DETECTORS:
        if not (has_number if possible is None else possible(lowered)):
            continue

        def placed(
            match: re.Match[str],
            kind: str = kind,
            confirmed: _Confirm = confirmed,
            group: int = int(pattern in _INNER),
        ) -> str:
            value = match.group(group)
            if not confirmed(match, value):
                return match.group()
            key = (kind, _canonical(kind, value))
            number = 1 + sum(known == kind for known, _ in seen)
            name = seen.setdefault(key, f"[{kind}_{number}]")
            counts[kind] += 1
            start, end = match.start(group) - match.start(), match.end(group) - match.start()
            return match.group()[:start] + name + match.group()[end:]

        text = pattern.sub(placed, text)
    return text


def _canonical(kind: str, value: str) -> str:
    if kind in ("PHONE", "BANK_CARD"):
        return re.sub(r"\D", "", value)
    return value.casefold() if kind != "KEY" else value


def _always(match: re.Match[str], value: str) -> bool:
    return True


def _is_mail(match: re.Match[str], value: str) -> bool:
    """Not `git@host:path`, and not the matrix product `A@x.T` of one-letter names."""
    local, _, domain = value.partition("@")
    after = match.string[match.end() : match.end() + 1]
    if local == "git" and after == ":":
        return False
    return not (len(local) <= 2 and len(domain.split(".", 1)[0]) <= 2 and domain.count(".") == 1)


def _is_identity(match: re.Match[str], value: str) -> bool:
    """The date is one, and the check digit of GB 11643 is right."""
    try:
        born = date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_IDENTITY_WEIGHTS, value, strict=False))
    return 1880 <= born.year <= 2100 and "10X98765432"[total % 11] == value[17].upper()


def _is_social_security(match: re.Match[str], value: str) -> bool:
    """An American number whose area, group and serial are ever given out."""
    area, group, serial = value.split("-")
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def _is_iban(match: re.Match[str], value: str) -> bool:
    """The remainder of ISO 7064 over the whole account number is one."""
    compact = value.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_card(match: re.Match[str], value: str) -> bool:
    """A known issuer and length, the Luhn sum, and one way of grouping: a row of numbers is not a card."""
    separators = set(re.sub(r"\d", "", value))
    digits = re.sub(r"\D", "", value)
    if len(separators) > 1 or (separators and not _grouped_as_card(re.split(r"[ -]", value))):
        return False
    if len(set(digits)) == 1 or not _issuer_fits(digits):
        return False
    doubled = (int(d) * (2 if place % 2 else 1) for place, d in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _grouped_as_card(groups: list[str]) -> bool:
    sizes = [len(group) for group in groups]
    return sizes == [4, 6, 5] or (all(n == 4 for n in sizes[:-1]) and 1 <= sizes[-1] <= 4) or sizes == [6, 13]


def _issuer_fits(digits: str) -> bool:
    head, length = int(digits[:4]), len(digits)
    return (
        (digits[0] == "4" and length in (13, 16))
        or (length == 16 and (5100 <= head <= 5599 or 2221 <= head <= 2720))
        or (length == 15 and digits[:2] in ("34", "37"))
        or (length == 16 and (head == 6011 or digits[:2] in ("65", "35")))
        or (16 <= length <= 19 and digits[:2] == "62")
    )


def _is_phone(match: re.Match[str], value: str) -> bool:
    """China's bare digits must be in the numbering plan; forms with separators need only the right length."""
    digits = re.sub(r"\D", "", value)
    if value.startswith("+"):
        return _possible(value, None)
    if digits[0] == "1" or digits.startswith(("0086", "86")):
        return _valid(digits[-11:], "CN")
    if digits[0] == "0":
        return _valid(re.sub(r"-\d{1,5}$", "", value) if value.count("-") > 1 else value, "CN")
    return _possible(value, "US")


def _is_spoken_phone(match: re.Match[str], value: str) -> bool:
    return any(_possible(value, region) for region in _REGIONS)


def _possible(value: str, region: str | None) -> bool:
    """The right number of digits: enough where the form, or a word before it, already says that it is a telephone."""
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _valid(value: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _is_ipv4(match: re.Match[str], value: str) -> bool:
    """A public address: not a version, not a mask, not a private one such as every home router has."""
    if _VERSION_BEFORE.search(match.string[max(0, match.start() - 12) : match.start()]):
        return False
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return address.is_global and not address.packed[3] == address.packed[2] == 0


def _is_ipv6(match: re.Match[str], value: str) -> bool:
    """At least three groups and a digit: shorter ones are also slices (`1::2`) and names (`abc::def`)."""
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    groups = [group for group in value.split(":") if group]
    long_enough = len(groups) >= 3 or (len(groups) == 2 and len(groups[0]) == 4 and groups[0].lower().startswith("fe8"))
    return long_enough and any(c.isdigit() for c in value) and (address.is_global or address.is_link_local)


def _is_assigned_key(match: re.Match[str], value: str) -> bool:
    """Letters and digits mixed, as secrets are; a name with dots or only words is code."""
    return (
        bool(re.search(r"\d", value)) and bool(re.search(r"[A-Za-z]", value)) and not re.search(r"\w\.\w+\.\w", value)
    )


# Patterns that need words around the value: their first group is the value.
_INNER = (_ASSIGNED_KEY, _SPOKEN_PHONE)
# What is found, by which shape, confirmed how; and a cheap test of the lower-case text that spares most
# rows the search (None: the text holds a number).
_Confirm = Callable[[re.Match[str], str], bool]
_DETECTORS: tuple[tuple[str, re.Pattern[str], _Confirm, Callable[[str], bool] | None], ...] = (
    ("KEY", _KEY, _always, lambda text: any(mark in text for mark in _KEY_MARKS)),
    ("KEY", _ASSIGNED_KEY, _is_assigned_key, lambda text: any(word in text for word in _SECRET_WORDS)),
    ("EMAIL", _MAIL, _is_mail, lambda text: "@" in text),
    ("ID_CARD", _IDENTITY, _is_identity, None),
    ("ID_CARD", _SOCIAL_SECURITY, _is_social_security, None),
    ("IBAN", _IBAN, _is_iban, None),
    ("BANK_CARD", _CARD, _is_card, None),
    ("PHONE", _PHONE, _is_phone, None),
    ("PHONE", _SPOKEN_PHONE, _is_spoken_phone, None),
    ("IP", _IPV4, _is_ipv4, None),
    ("IP", _IPV6, _is_ipv6, lambda text: text.count(":") > 1),
)
