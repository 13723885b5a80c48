"""Numbers that a state or a bank gives out: identity cards, passports, social security, companies, plates, cards,
accounts, and dates of birth.

What does not live here: the sums themselves (`checksums.py`). A number without a check digit is taken only where the
words around it say what it is.
"""

from __future__ import annotations

import re
from datetime import date

from setsail.data.privacy import checksums
from setsail.data.privacy.detector import Detector, Span, after, before, value_of, where, whole

# The first two digits of GB/T 2260: the provinces.
_PROVINCES = frozenset(
    str(code)
    for codes in ((11, 16), (21, 24), (31, 38), (41, 47), (50, 55), (61, 66), (71, 72), (81, 84), (91, 92))
    for code in range(*codes)
)
_IDENTITY = re.compile(r"[1-9](?<![\dA-Za-z.]\d)\d{16}[\dXx](?![\dA-Za-z])", re.ASCII)
_OLD_IDENTITY = re.compile(r"[1-9](?<![\dA-Za-z.]\d)\d{14}(?![\dA-Za-z])", re.ASCII)
_IDENTITY_WORDS = re.compile(r"(?i)身份证|证件号|公民身份|居民证|identity|\bID\b")
_LONG_CODE = re.compile(r"[0-9][0-9A-Z]{14}", re.ASCII)
_CREDIT_CODE = re.compile(
    r"(?<![\dA-Za-z])[1-9ANY][0-9A-HJ-NPQRTUWXY]\d{6}[0-9A-HJ-NPQRTUWXY]{10}(?![\dA-Za-z])", re.ASCII
)
_COMMON_DEPARTMENTS = ("11", "12", "13", "51", "52", "53", "91", "92", "93")
_SOCIAL_SECURITY = re.compile(r"\d(?<![\w.-]\d)\d\d([- ])\d{2}\1\d{4}(?![\w-])", re.ASCII)
_BARE_SOCIAL_SECURITY = re.compile(
    r"(?i)(?:\bSSN\b|social security(?: number| no\.?| #)?)[^\d\n]{0,20}(?P<value>\d{9})(?![\w-])", re.ASCII
)
_PASSPORT = re.compile(
    r"(?<![\dA-Za-z])(?P<value>[EGDSPHMKegdsphmk][A-HJ-NP-Za-hj-np-z]?\d{7,8}|[A-Za-z]{1,2}\d{6,8}|\d{9})(?![\dA-Za-z-])",
    re.ASCII,
)
_PASSPORT_WORDS = re.compile(r"(?i)护照|通行证|passport")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使]"
    r"[A-HJ-NP-Z][ ·•．.-]?(?:[DF][A-HJ-NP-Z0-9]\d{4}|\d{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳使领])"
    r"(?![A-Za-z0-9])"
)
_GROUPED_CODE = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])[0-9] ?[0-9A-Za-z]{4}", re.ASCII)
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b", re.ASCII)
# Countries and lengths of the IBAN registry (SWIFT, release 98).
_IBAN_FORMS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
    "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
    "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {word[:2]: int(word[2:]) for word in _IBAN_FORMS.split()}
_CARD = re.compile(r"\d(?<![\d.A-Za-z]\d)[ -]?(?:\d[ -]?){10,17}\d(?![\dA-Za-z]|\.\d)", re.ASCII)
_CARD_WORDS = re.compile(
    r"(?i)\bcards?\b|\bcc\b|credit|debit|\bpa(?:y|id)|\bexp(?:iry|ires)?\b|\bcvv|charge|visa|master|maestro|diners|amex|\bjcb\b|卡|账号|帐号|付款|支付|转账|打到|汇到"
)
_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)[a-z]{0,6}"
_DATE = (
    r"(?:(?:19|20)\d{2}[-/.](?:1[0-2]|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])"
    r"|(?:3[01]|[12]\d|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])[-/.](?:(?:19|20)\d{2}|\d{2})"
    r"|(?:19|20)\d{2} ?年 ?(?:1[0-2]|0?[1-9]) ?月(?: ?(?:3[01]|[12]\d|0?[1-9]) ?[日号])?"
    r"|(?:19|20)\d{2}(?:1[0-2]|0[1-9])(?:3[01]|[12]\d|0[1-9])"
    rf"|{_MONTHS}\.? (?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?,? (?:19|20)\d{{2}}"
    rf"|(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?(?: of)? {_MONTHS}\.?,? (?:19|20)\d{{2}})"
)
_BORN = re.compile(
    r"(?i)(?:出生(?:日期|年月日?|时间)?|生日|生于|诞辰|\bD\.?O\.?B\b\.?|\bborn\b|\bbirth(?:day|date)?\b)"
    r"[^\d\n。;；]{0,20}?(?<![\d.])(?P<value>" + _DATE + r")(?![\d])"
)
_DATE_BORN = re.compile(r"(?i)(?<![\d.])(?P<value>" + _DATE + r")[ ,，]{0,2}(?:出生|生人|生的|is (?:my|his|her) birth)")


def _is_identity(match: re.Match[str]) -> bool:
    """A province, a real date, and the right check digit."""
    number = value_of(match).upper()
    return (
        number[:2] in _PROVINCES
        and _is_date(number[6:14], first_year=1880)
        and checksums.identity_check(number[:17]) == number[17]
    )


def _is_old_identity(match: re.Match[str]) -> bool:
    """The fifteen digits of before 1999 have no check digit: words must say what they are."""
    number = value_of(match)
    return (
        number[:2] in _PROVINCES
        and _is_date("19" + number[6:12], first_year=1900)
        and _IDENTITY_WORDS.search(before(match, 24)) is not None
    )


def _is_date(digits: str, *, first_year: int) -> bool:
    try:
        return first_year <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).year <= 2100
    except ValueError:
        return False


def _is_credit_code(match: re.Match[str]) -> bool:
    """A region and the right check character; digits alone must also begin as such codes most often do."""
    code = value_of(match)
    if code.isdigit() and code[:2] not in _COMMON_DEPARTMENTS:
        return False
    return code[2:4] in _PROVINCES | {"10"} and checksums.credit_check(code[:17]) == code[17]


def _is_social_security(match: re.Match[str]) -> bool:
    """A number whose area, group and serial are ever given out; one with spaces must also be named."""
    digits = re.sub(r"\D", "", value_of(match))
    named = "-" in value_of(match) or re.search(r"(?i)\bSSN\b|social", before(match, 40)) is not None
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return named and area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def _is_passport(match: re.Match[str]) -> bool:
    return _PASSPORT_WORDS.search(before(match, 28)) is not None


def _is_plate(match: re.Match[str]) -> bool:
    return any(c.isdigit() for c in value_of(match)[2:])


def _is_iban(match: re.Match[str]) -> Span | None:
    """The country's own length and the right remainder; words that follow after a blank are not of the number."""
    compact = match.group().replace(" ", "").upper()
    length = _IBAN_LENGTHS.get(compact[:2], 0)
    if not length or len(compact) < length or checksums.mod97(compact[:length]) != 1:
        return None
    end, left = match.start(), length
    while left:
        left -= match.string[end] != " "
        end += 1
    return None if match.string[end : end + 1].isalnum() else (match.start(), end)


def _is_card(match: re.Match[str]) -> bool:
    """A known issuer and length, the Luhn sum, and one way of grouping: a row of numbers is not a card."""
    value = value_of(match)
    digits = re.sub(r"\D", "", value)
    if len({c for c in value if c in " -"}) > 1 or not _grouped_as_card(re.split(r"[ -]", value)):
        return False
    if len(set(digits)) == 1 or not checksums.luhn_holds(digits):
        return False
    return _issuer_fits(digits) or (_issuer_may_fit(digits) and _named_a_card(match))


def _named_a_card(match: re.Match[str]) -> bool:
    return _CARD_WORDS.search(before(match, 60) + "\n" + after(match, 40)) is not None


def _grouped_as_card(groups: list[str]) -> bool:
    sizes = [len(group) for group in groups]
    fours = all(n == 4 for n in sizes[:-1]) and 1 <= sizes[-1] <= 4
    return len(sizes) == 1 or fours or sizes in ([4, 6, 5], [4, 6, 4], [6, 13])


def _issuer_fits(digits: str) -> bool:
    """Issuers whose numbers are known by their first digits. Source: ISO/IEC 7812, ranges that the networks publish."""
    head, length = int(digits[:4]), len(digits)
    return (
        (digits[0] == "4" and length == 16)
        or (length == 16 and (5100 <= head <= 5599 or 2221 <= head <= 2720))
        or (length == 15 and digits[:2] in ("34", "37"))
        or (length == 16 and (head == 6011 or 6440 <= head <= 6599 or 3528 <= head <= 3589))
        or (16 <= length <= 19 and digits[:2] == "62")
    )


def _issuer_may_fit(digits: str) -> bool:
    """Rarer issuers and lengths, whose numbers are many: taken where a word says that it is a card."""
    length = len(digits)
    return (
        (digits[0] == "4" and length in (13, 19))
        or (length in (14, 15, 16) and digits[:2] in ("30", "36", "38", "39"))
        or (length == 15 and digits[:4] in ("2131", "1800"))
        or (length == 16 and digits[:2] in ("35", "60", "64"))
        or (12 <= length <= 19 and (digits[:2] in ("50", "56", "57", "58") or digits[0] in "69"))
        or (12 <= length <= 19 and digits[:4] == "0604")  # Maestro
    )


DETECTORS = (
    Detector("ID_CARD", _IDENTITY, where(_is_identity)),
    Detector("CREDIT_CODE", _CREDIT_CODE, where(_is_credit_code), lambda glance: glance.shows(_LONG_CODE)),
    Detector(
        "BIRTH_DATE",
        _BORN,
        whole,
        lambda glance: glance.has_digit and glance.has("出生", "生日", "生于", "诞辰", "birth", "born", "dob", "d.o.b"),
    ),
    Detector(
        "BIRTH_DATE",
        _DATE_BORN,
        whole,
        lambda glance: glance.has_digit and glance.has("出生", "生人", "生的", "birth"),
    ),
    Detector("IBAN", _IBAN, _is_iban, lambda glance: glance.shows(_GROUPED_CODE)),
    Detector("BANK_CARD", _CARD, where(_is_card)),
    Detector("ID_CARD", _OLD_IDENTITY, where(_is_old_identity)),
    Detector("SSN", _SOCIAL_SECURITY, where(_is_social_security)),
    Detector("SSN", _BARE_SOCIAL_SECURITY, where(_is_social_security), lambda g: g.has("ssn", "social security")),
    Detector("PASSPORT", _PASSPORT, where(_is_passport), lambda glance: glance.has("护照", "通行证", "passport")),
    Detector("PLATE", _PLATE, where(_is_plate), lambda glance: glance.has_digit and not glance.text.isascii()),
)
