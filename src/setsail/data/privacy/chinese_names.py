"""Chinese names of persons: a surname, one or two characters of given names, and evidence that it is a name.

The evidence is a word before it (姓名, 我叫, 联系人), a title after it (先生, 老师), or, for common surnames with usual
given names, that it stands between boundaries and is no word. What does not live here: the lists (`chinese_words.py`).
Without a model this finds what the text announces and much of the rest; rare names in running text are missed.
"""

from __future__ import annotations

import re

from setsail.data.privacy.chinese_words import COMMON_SURNAMES, COMPOUND_SURNAMES, GIVEN_CHARACTERS, SURNAMES, WORDS
from setsail.data.privacy.detector import Detector, Glance, Span

_HAN = "\u4e00-\u9fff"
_SURNAME = f"(?:{'|'.join(COMPOUND_SURNAMES)}|[{SURNAMES}])"
_TITLES = (
    "先生|女士|小姐|老师|同学|同志|教授|医生|大夫|护士|律师|法官|经理|总监|主任|主管|校长|院长|处长|科长|局长|厂长|店长|队长"
    "|董事长|总裁|师傅|阿姨|叔叔|大爷|大妈|奶奶|爷爷|博士|工程师|秘书|会计|警官|记者|导演|教练|老板"
)
# Says that what follows is a name, whichever characters it has.
_SURE = (
    "姓名|名字(?:是|叫)|我叫|名叫|叫做|本人|联系人|收件人|收货人|寄件人|发件人|经办人|负责人|申请人|投保人|被保险人|持卡人|户主|患者|病人"
    "|家属|法定代表人|法人代表|法人|当事人|原告|被告|签收人|签名|署名|签字|作者|员工|学生|考生|乘客|旅客|户名|开户名|真名|本名|曾用名"
)
# Often stands before a name, and as often before something else.
_PERHAPS = (
    "车主|家长|投诉人|来访者|住户|业主|老人|男子|女子|司机|昨天|今天|明天|前天|上午|下午|晚上|早上|中午|刚才|之前|上周|由于|因为|如果|但是|我是|这是|他是|她是|叫|联系|通知|告诉|感谢|转告|询问|邀请|采访|客户|会员|用户|同事|朋友|室友|邻居|妻子|丈夫|儿子|女儿|父亲|母亲|爸爸"
    "|妈妈|哥哥|姐姐|弟弟|妹妹|老公|老婆|男友|女友|房东|租客|司机|乘务员|快递员|主治|律师|经理|老师|医生|教授|记者|编辑|导演|演员|歌手"
    "|作家|画家|主席|总理|部长|省长|市长|县长|书记|委员|代表|主任|局长|处长|院长|校长|馆长|会长|团长|队长|队员|选手|名将|冠军|教练|同学|同志"
)
_LINK = r"[\s:：=“\"'「【]{0,3}(?:[是为叫]|分别是)?[\s:：“\"'「]{0,2}"
_CUED = re.compile(rf"(?:{_SURE}){_LINK}(?P<value>{_SURNAME}[{_HAN}]{{1,3}})")
_PERHAPS_CUED = re.compile(rf"(?:{_PERHAPS}){_LINK}(?P<value>{_SURNAME}[{_HAN}]{{1,3}})")
_TITLED = re.compile(rf"(?P<value>(?:{'|'.join(COMPOUND_SURNAMES)}|[{SURNAMES}])[{_HAN}]{{0,2}}?)(?:{_TITLES})")
_BARE = re.compile(
    rf"(?:(?<![{_HAN}])|(?<=[给对请找让由和与跟是把被向同及叫见问等])|(?<=[^{_HAN}][的经据]))"
    rf"(?P<value>(?:{'|'.join(COMPOUND_SURNAMES)}|[{COMMON_SURNAMES}])[{GIVEN_CHARACTERS}]{{1,2}})"
)
_DOTTED = re.compile(
    rf"(?:(?<![{_HAN}·])|(?<=姓名|我叫|名叫)|(?<=[找请和与]))"
    rf"(?P<value>[{_HAN}]{{2,6}}(?:[·•][{_HAN}]{{2,6}}){{1,2}})(?![{_HAN}·])"
)
_FOLLOWS = re.compile(
    rf"[^{_HAN}]|$|{_TITLES}|[的是在和与及跟说住男女你您我他她于了将已曾同、等为向任率主]|电话|手机|身份|性别|出生|今年|年龄|表示|认为|指出|介绍|"
    r"告诉|昨天|今天|明天|上午|下午|晚上|邮箱|地址|微信|联系|来自|毕业|现|因|提交|申请|购买|反映|投诉|预约|签|要|想|会|能|不|没|也|都|还|就|又|从|"
    r"到|去|来|把|被|给|让|对|带|出席|参加|率|率领|强调|宣布|接受|会见|主持|发表|作|当选|这|那|有|以|所|自|两|个|位|收|办|确认|打|问|回"
)
_NOT_GIVEN = frozenset(
    "的是在和与及跟说住了有从到把被给让对很也都不将已请因等来去这那你您我他她们先女男电手身号码，什么谁哪啥"
)
# Everyday characters among the surnames: alone before a title they need a boundary before them.
_EVERYDAY = frozenset("方高安于常金江万任白龙史马毛石温施向欧文武孔段汤康蓝牛")


def _length(text: str, start: int) -> int:
    """How many characters the name that begins here has: its end is where something else can begin."""
    surname = 2 if text[start : start + 2] in COMPOUND_SURNAMES else 1
    first, second = text[start + surname : start + surname + 1], text[start + surname + 1 : start + surname + 2]
    if first in _NOT_GIVEN:
        return 0
    if not "\u4e00" <= second <= "\u9fff" or second in _NOT_GIVEN:
        return surname + 1
    if _FOLLOWS.match(text, start + surname + 2):
        return surname + 2
    if _FOLLOWS.match(text, start + surname + 1) and second not in GIVEN_CHARACTERS:
        return surname + 1
    return surname + 2 if second in GIVEN_CHARACTERS else surname + 1


def _is_word(name: str) -> bool:
    return name in WORDS or name[:2] in WORDS


def _looks_given(name: str) -> bool:
    surname = 2 if name[:2] in COMPOUND_SURNAMES else 1
    return all(c in GIVEN_CHARACTERS for c in name[surname:])


def _cued(match: re.Match[str]) -> Span | None:
    start = match.start("value")
    length = _length(match.string, start)
    return (start, start + length) if length and match.string[start : start + length] not in WORDS else None


def _perhaps_cued(match: re.Match[str]) -> Span | None:
    """Only with the usual characters, no word, and a boundary behind it."""
    span = _cued(match)
    if span is None:
        return None
    name = match.string[slice(*span)]
    fits = _looks_given(name) and not _is_word(name) and _FOLLOWS.match(match.string, span[1])
    return span if fits else None


def _titled(match: re.Match[str]) -> Span | None:
    name, (start, end) = match["value"], match.span("value")
    previous = match.string[start - 1 : start]
    free = not "\u4e00" <= previous <= "\u9fff" or previous in "给对请找让由和与跟是把被向同及叫的为，系知诉谢问"
    if name in COMPOUND_SURNAMES:
        return start, end
    if len(name) == 1:
        return (start, end) if name in COMMON_SURNAMES and (free or name not in _EVERYDAY) else None
    if _is_word(name) or not _looks_given(name) or not (free or name[0] in COMMON_SURNAMES):
        return None
    return start, end


def _bare(match: re.Match[str]) -> Span | None:
    """The longer reading if something else can begin behind it, else the shorter; never a word."""
    start, end = match.span("value")
    text = match.string
    for stop in (end, end - 1):
        name = text[start:stop]
        surname = 2 if name[:2] in COMPOUND_SURNAMES else 1
        if len(name) > surname and not _is_word(name) and _FOLLOWS.match(text, stop):
            alone = not "\u4e00" <= text[stop : stop + 1] <= "\u9fff"
            if len(name) > 2 or alone or _SAYS.match(text, stop):
                return start, stop
    return None


_SAYS = re.compile(
    r"说|表示|认为|指出|介绍|告诉|先生|女士|、|和|与|在|的|是|让|来|去|收|确认|已|打|想|要|问|回|于|没|也"
)


def _is_chinese(glance: Glance) -> bool:
    return not glance.text.isascii()


DETECTORS = (
    Detector("NAME", _CUED, _cued, _is_chinese),
    Detector("NAME", _TITLED, _titled, _is_chinese),
    Detector("NAME", _PERHAPS_CUED, _perhaps_cued, _is_chinese),
    Detector("NAME", _BARE, _bare, _is_chinese),
    Detector("NAME", _DOTTED, possible=lambda glance: "·" in glance.text or "•" in glance.text),
)
