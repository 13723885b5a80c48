"""How a person is reached: mail addresses, telephones, WeChat and QQ ids.

What does not live here: postal addresses (`addresses.py`). The invariant: a bare number is a telephone only by a
numbering plan; a form with separators, or a word before it, lets the right number of digits be enough.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

from setsail.data.privacy.detector import Detector, after, before, value_of, where

_MAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w(-])",
    re.ASCII,
)
_EXTENSION = r"(?: ?(?:x|ext\.? ?|转)\d{1,6})?"
_PHONE = re.compile(
    r"(?<![\w.,+\[=*/^-])(?:"
    r"\+\d[\d ().-]{6,18}\d"
    r"|001[ -]\d{3}[ -]\d{3}[ -]\d{4}"
    r"|(?:(?:0086|86)[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}"
    r"|\(?0\d{2,3}\)?[ -]?\d{7,8}(?:-\d{1,5})?"
    r"|400[ -]\d{3,4}[ -]\d{3,4}"
    r"|(?:\+?1[-. ])?(?:\(\d{3}\) ?|\d{3}([-. ]))\d{3}[-. ]\d{4}"
    r"|0\d{1,4}(?:[ -]\d{2,4}){2,4}"
    r")" + _EXTENSION + r"(?![\w%]|[.-]\d)",
    re.ASCII,
)
_PHONE_WORDS = re.compile(
    r"(?i)(?:\b(?:phone|telephone|tel|mobile|cell|fax|hotline|line|desk|office|call(?:ed|ing)?|dial|ring|text|sms|reach|whatsapp|contact|number)\b"
    r"|电话|手机|传真|致电|联系方式|联系号码|座机|热线|短信|拨打|来电|号码)"
    r"[^\d+(]{0,24}$"
)
_SPOKEN_PHONE = re.compile(
    r"[\d+(](?<![\w.,+(]\d)(?<![\w+]\()\(?[\d ().-]{6,20}\d" + _EXTENSION + r"(?![\w]|\.\d)", re.ASCII
)
_REGIONS = ("US", "CN", "GB", "DE", "FR", "IN", "AU", "JP", "BR", "CH", "AT", "NL", "SE", "DK", "BE", "IT", "ES", "PL")
_NOT_NUMBERS_OF_PHONES = re.compile(
    r"(?i)(?:order|invoice|account|tracking|serial|card|case|ticket|part|model|item|reference|policy|licen[cs]e|version|"
    r"isbn|订单|单号|编号|账号|帐号|卡号|运单|快递|序列)[^\n]{0,12}$"
)
_WECHAT = re.compile(
    r"(?i)(?:微信(?:号码?|账号|ID)?|\bwe ?chat(?: ?id)?\b|\bweixin\b|(?<![A-Za-z])(?:wx|vx)(?![A-Za-z])|威信|薇信|V信)"
    r"(?P<link>\s{0,2}(?:(?:[:：=]|是|为|叫|\bis\b|加)\s{0,2}){0,2}[“\"'「]?)"
    r"(?P<value>[A-Za-z][A-Za-z0-9_-]{5,19})(?![\w@.-]*@)(?![A-Za-z0-9_-])"
)
_WECHAT_RAW = re.compile(r"(?<![\w-])wxid_[a-z0-9]{6,20}(?![\w-])", re.ASCII)
_QQ = re.compile(
    r"(?i)(?:(?<![A-Za-z])QQ(?:号码?|群号?)?|扣扣号?|企鹅号)\s{0,2}(?:(?:[:：=#]|是|为|\bis\b|加|number)\s{0,2}){0,3}"
    r"(?P<value>[1-9]\d{4,10})(?![\dA-Za-z.@-])"
)


def _is_mail(match: re.Match[str]) -> bool:
    """Not `git@host:path`, and not the matrix product `A@x.T` of one-letter names."""
    local, _, domain = value_of(match).partition("@")
    if local == "git" and after(match, 1) == ":":
        return False
    return not (len(local) <= 2 and len(domain.split(".", 1)[0]) <= 2 and domain.count(".") == 1)


def _is_phone(match: re.Match[str]) -> bool:
    """China's bare digits must be in the numbering plan; forms with separators need only the right length."""
    value = re.sub(r" ?(?:x|ext\.? ?|转)\d+$", "", value_of(match))
    digits = re.sub(r"\D", "", value)
    if value.startswith("+"):
        return _possible(value, None)
    if value.startswith("001"):
        return _possible(digits[2:], "US")
    if digits[0] == "1" and len(digits) == 11 and value[1] not in "-. ":
        return _valid(digits, "CN")
    if digits.startswith(("0086", "86")):
        return _valid(digits[-11:], "CN")
    if digits[0] == "0":
        return _is_trunk_number(value, digits)
    return digits.startswith("400") or _possible(value, "US")


def _is_trunk_number(value: str, digits: str) -> bool:
    """A zero before the area: China's plan, or that of another country if the number is written in groups."""
    local = re.sub(r"-\d{1,5}$", "", value) if value.count("-") > 1 else value
    if _valid(local, "CN"):
        return re.search(r"[ )-]", value) is not None or 10 <= len(digits) <= 12
    in_groups = len(re.findall(r"\d+", value)) >= 3 and 9 <= len(digits) <= 12
    return in_groups and any(_valid(value, region) for region in ("GB", "FR", "DE", "AU", "BE", "IT", "JP", "IN"))


def _is_spoken_phone(match: re.Match[str]) -> bool:
    """A word says that it is a telephone, and none nearer says that it is something else."""
    if not _PHONE_WORDS.search(before(match, 40)):
        return False
    if _NOT_NUMBERS_OF_PHONES.search(before(match, 30)):
        return False
    value = value_of(match)
    if re.fullmatch(r"(?:19|20)\d\d[-.](?:0?\d|1[0-2])[-.]\d{1,2}", value):
        return False
    return any(_possible(value, region) for region in _REGIONS)


@lru_cache(maxsize=4096)
def _possible(value: str, region: str | None) -> bool:
    """The right number of digits: enough where the form, or a word before it, already says that it is a telephone."""
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


@lru_cache(maxsize=4096)
def _valid(value: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _is_wechat(match: re.Match[str]) -> bool:
    """A colon or a verb stands between, or the id has a digit or a line in it: a plain word may be anything."""
    value = value_of(match)
    linked = bool(match["link"].strip(" \"'“「"))
    return (linked and value.lower() not in _NOT_IDS) or re.search(r"[\d_]", value) is not None


_NOT_IDS = ("wechat", "weixin", "public", "official", "account", "payment", "available", "popular", "required")
DETECTORS = (
    Detector("EMAIL", _MAIL, where(_is_mail), lambda glance: "@" in glance.text),
    Detector("WECHAT", _WECHAT_RAW, possible=lambda glance: "wxid_" in glance.text),
    Detector(
        "WECHAT",
        _WECHAT,
        where(_is_wechat),
        lambda glance: glance.has("微信", "wechat", "weixin", "wx", "vx", "威信", "薇信", "v信", "we chat"),
    ),
    Detector("QQ", _QQ, possible=lambda glance: glance.has_digit and glance.has("qq", "扣扣", "企鹅号")),
    Detector("PHONE", _PHONE, where(_is_phone)),
    Detector("PHONE", _SPOKEN_PHONE, where(_is_spoken_phone)),
)
