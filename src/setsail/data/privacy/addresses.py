"""Postal addresses: the Chinese order from province to room, the American one from house number to zip code.

What does not live here: places alone (a city is not where somebody lives). The invariant: there is a number of a house,
a room or a box in it. Chinese ones begin at a known province or city, or behind a word such as 住在 or 地址.
"""

from __future__ import annotations

import re

from setsail.data.privacy.detector import Detector, Glance, Span

_HAN = "\u4e00-\u9fff"
_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾"
    "|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_CITIES = (
    "石家庄|太原|呼和浩特|沈阳|大连|长春|哈尔滨|南京|苏州|无锡|常州|南通|徐州|扬州|杭州|宁波|温州|嘉兴|绍兴|金华|台州|合肥|福州|厦门|泉州|南昌|济南|青岛|烟台"
    "|潍坊|临沂|郑州|洛阳|武汉|宜昌|襄阳|长沙|株洲|广州|深圳|珠海|佛山|东莞|中山|惠州|汕头|南宁|桂林|海口|三亚|成都|绵阳|贵阳|昆明|大理|拉萨|西安|咸阳|兰州|西宁|银川|乌鲁木齐"
)
_NUMBER = r"(?:[0-9０-９A-Za-z]{1,5}|[一二三四五六七八九十百零〇]{1,5}|[甲乙丙丁])"
_HOUSE = rf"(?:[附临甲乙]?{_NUMBER}(?:-{_NUMBER}){{0,2}} ?(?:号楼|号院|号|弄|栋|幢|座|组|巷))"
_ROOM = (
    rf"(?:[ ,，]{{0,2}}(?:[{_HAN}]{{2,10}}(?:小区|花园|大厦|广场|公寓|家园|苑|城|里|新村|园|中心|大楼|院|寓|府|庭|湾))?"
    rf"[ ,，]?{_NUMBER}(?:-{_NUMBER}){{0,3}} ?(?:号楼|栋|幢|座|单元|楼|层|室|户|房|号|门))"
)
_STREET = (
    "(?:大道|大街|路|街|道|巷|弄|胡同|里|村|庄|屯|组|园|苑|小区|花园|公寓|大厦|广场|家园|新村|社区|镇|乡|开发区|园区)"
)
_CHINESE = re.compile(
    rf"(?P<lead>[{_HAN}]{{2,34}}?{_STREET})(?:[（(][^）)\n]{{1,20}}[)）])?(?P<house>{_HOUSE})(?P<rooms>{_ROOM}{{0,5}})"
    rf"(?:(?:旁|对面|附近)?[ ,，（(]{{0,2}}(?:邮编[:： ]?)?\d{{6}}(?!\d)[)）]?)?"
)
_ESTATE = re.compile(
    rf"(?P<lead>[{_HAN}]{{2,30}}?(?:小区|花园|公寓|家园|新村|苑|大厦|广场|社区))(?P<house>{_ROOM})(?P<rooms>{_ROOM}{{0,4}})"
)
_DIGITS = "[0-9０-９A-Za-z一二三四五六七八九十百零〇甲乙丙丁]"
_NUMBERED = re.compile(rf"[号弄栋幢座组巷单楼层室户房门](?:(?<={_DIGITS}.)|(?<={_DIGITS} .))")
_ANCHOR = re.compile(
    rf"(?:{_PROVINCES})(?:省|市|自治区|壮族自治区|回族自治区|维吾尔自治区|特别行政区)?|(?:{_CITIES})市?"
)
_LEADING = re.compile(
    r".*(?:住在|住址|地址|位于|寄到|寄往|寄至|送到|送至|送往|搬到|搬至|家住|户籍|籍贯|坐落|设在|租住|邮寄|发到|寄给|回到|来到|前往|到达|现居"
    r"|居住|住于|[在到至是为住于往去我他她你的和与您请])"
)
_DISTRICT = re.compile(rf"[{_HAN}]{{1,6}}(?:省|市|区|县|旗|州)")
_STATE = (
    "(?:A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[ARW]|RI|S[CD]|T[NX]|UT"
    "|V[AIT]|W[AIVY])"
)
# The everyday suffixes of streets, and those that make an address only together with a unit or a state and zip code.
# Source: USPS Publication 28, appendix C1.
_SUFFIX = (
    "(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Place|Pl|Terrace|Ter|Parkway"
    "|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Alley|Crescent|Close|Way)"
)
_WORD = r"[A-ZÀ-ÞĀ-ž][\w'’.-]{0,24}"
_UNIT = r"(?:,?\s{1,3}(?:Apt|Apartment|Suite|Ste|Unit|Room|Rm|Floor|#)\.?\s?#?\d{1,5}[A-Za-z]?)"
_ZIP = r"\d{5}(?:-\d{4})?(?!\d)"
_STATE_IN_FULL = r"[A-Z][a-z]{3,13}(?: [A-Z][a-z]{3,9})?"
_TOWN = rf"(?:,?\s{{1,3}}{_WORD}(?: {_WORD}){{0,3}},?\s{{1,2}}(?:{_STATE}|{_STATE_IN_FULL}),?\s{{1,2}}{_ZIP})"
_NUMBER_AND_NAME = re.compile(r"[0-9][A-Za-z]?\s(?:[A-ZÀ-ÞĀ-ž]|[0-9]{1,3}[snrt])")
_HOUSE_NUMBER = r"\d(?<![\w.,$/-]\d)\d{0,4}[A-Za-z]?(?:-\d{1,4})?"
_STREETS = re.compile(
    rf"{_HOUSE_NUMBER}\s(?:[NSEW]\.?\s|North |South |East |West )?"
    rf"(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th))\s){{1,3}}{_SUFFIX}\b\.?"
    rf"(?:\s(?:NW|NE|SW|SE|N|S|E|W)\b)?{_UNIT}?{_TOWN}?"
)
_OTHER_STREETS = re.compile(rf"{_HOUSE_NUMBER}\s{_WORD}(?:\s{_WORD}){{0,3}}(?:{_UNIT}{_TOWN}?|{_TOWN})")
_BOX = re.compile(
    r"\b(?:P\.? ?O\.? ?Box|Post Office Box|PSC \d{1,5},? Box|Unit \d{1,5} Box|GPO Box) ?#?\d{1,6}\b"
    rf"(?:{_TOWN}|\s[DAF]PO,? (?:AA|AE|AP)\s\d{{5}}(?:-\d{{4}})?)?"
)
_SHIP = re.compile(r"\b(?:USNS|USS|USCGC|USNV)\s\w+(?:\s\w+)?\s[DAF]PO,? (?:AA|AE|AP)\s\d{5}(?:-\d{4})?")


def _chinese(match: re.Match[str]) -> Span | None:
    """From the province, the city, or the word that leads to it; a bare street keeps its last six characters."""
    lead, start = match["lead"], match.start("lead")
    end = match.end()
    anchor = _ANCHOR.search(lead)
    if anchor:
        return start + anchor.start(), end
    leading = _LEADING.match(lead)
    cut = leading.end() if leading and len(lead) - leading.end() >= 2 else 0
    if not cut and not _DISTRICT.match(lead) and len(lead) > 7:
        cut = len(lead) - 6
    return start + cut, end


def _is_prose(match: re.Match[str]) -> bool:
    """The words between number and suffix are of a sentence: `12 The Way`, `3 In Place`."""
    return re.search(r"\s(?:The|In|On|This|These|Of|And|It|To|By|For|If|As)\s", match.group()) is not None


def _english(match: re.Match[str]) -> Span | None:
    return None if _is_prose(match) else match.span()


def _is_numbered(glance: Glance) -> bool:
    return not glance.text.isascii() and _NUMBERED.search(glance.text) is not None


DETECTORS = (
    Detector("ADDRESS", _CHINESE, _chinese, _is_numbered),
    Detector("ADDRESS", _ESTATE, _chinese, _is_numbered),
    Detector("ADDRESS", _BOX, possible=lambda glance: glance.has("box")),
    Detector("ADDRESS", _SHIP, possible=lambda glance: glance.has("fpo ", "apo ", "dpo ")),
    Detector("ADDRESS", _STREETS, _english, lambda glance: glance.shows(_NUMBER_AND_NAME)),
    Detector("ADDRESS", _OTHER_STREETS, _english, lambda glance: glance.shows(_NUMBER_AND_NAME)),
)
