"""English names of persons: a title or a phrase that announces one, or common given names and surnames.

What does not live here: the lists (`english_words.py`). Names that are announced are found whatever they are; others
only if they begin with a given name that is common in the United States and is no word besides.
"""

from __future__ import annotations

import re

from setsail.data.privacy.detector import Detector, Glance, Span
from setsail.data.privacy.english_words import DOUBTFUL_GIVEN_NAMES, GIVEN_NAMES, SURNAMES

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶŁĹĽŃŅŇŐŒŔŘŚŞŠȘŢŤȚŪŮŰŲŹŻŽΆΈΉΊΌΎΏΑ-ΩЀ-Я"
_WORD = rf"[{_UPPER}](?:[^\W\d_]|['’-](?=[^\W\d_])){{1,24}}"
_WORD_ALONE = rf"[{_UPPER}](?<![\w@/.-].)(?:[^\W\d_]|['’-](?=[^\W\d_])){{1,24}}"
_PARTICLE = r"(?:(?:van|von|de|der|den|da|di|du|la|le|bin|al|del|dos|el|ter|ten) )"
_MORE = rf"(?:[ \t](?:[{_UPPER}]\.?[ \t])?{_PARTICLE}{{0,2}}{_WORD})"
_TAIL = r"(?:,? (?:Jr|Sr|III|II|IV|PhD|Ph\.D|MD|M\.D|DDS|DVM|Esq)\b\.?)?"
_NAME = rf"(?:{_WORD}|[{_UPPER}]\.){_MORE}{{0,3}}{_TAIL}"
_TITLES = (
    "Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam|Madame|Dame|Rev|Reverend|Father|Sister|Sgt|Sergeant|Lt|Capt|Captain"
    "|Col|Colonel|Sen|Senator|Gov|Governor|Judge|Justice|Officer|Nurse|Doctor|Uncle|Aunt"
)
_TITLE = rf"(?:(?:{_TITLES})\.?[ \t])?"
_TITLED = re.compile(rf"\b(?:{_TITLES})\.?[ \t](?P<value>{_NAME})")
_NAME_IS = re.compile(
    r"ame(?<=[Nn]ame)(?:s|['’]s)?(?: is| was|:| of| on (?:the|my) [a-z ]{2,20}(?: is|:|\?))?"
    rf"[:,]?\s{{1,4}}{_TITLE}(?P<value>{_NAME})"
)
_SAID = re.compile(
    r"(?:\b(?:[Tt]his is|call me|[Nn]amed|called|signed by|written by|[Dd]irected [Bb]y|reported by|prepared by"
    r"|[Ss]poke (?:to|with)|[Cc]ontact person|[Yy]ours truly|[Aa]uthor)"
    r"|(?:[Bb]est |[Kk]ind |[Ww]arm )?[Rr]egards,?|[Ss]incerely,?|[Cc]heers,|[Ss]igned,?)"
    rf"[:,]?\s{{1,4}}{_TITLE}(?P<value>{_NAME})"
)
_HEADINGS = (
    "From|To|Cc|CC|Bcc|Attn|Attention|Name|Full [Nn]ame|First [Nn]ame|Last [Nn]ame|Sender|Recipient|Customer|Patient"
    "|Client|Employee|Applicant|Cardholder|Contact|Author|Signed|Dear|Hi|Hello|Hey"
)
_LINE = re.compile(
    rf"(?:^|(?<=[\n;|>\"]))[ \t]{{0,4}}(?:{_HEADINGS})[ \t]{{0,3}}[:,]?[ \t]{{1,4}}{_TITLE}(?P<value>{_NAME})"
    r"(?=[ \t]{0,2}(?:[,;<(\n!.\"|—-]|$))"
)
_LISTED = re.compile(rf"(?P<value>{_WORD_ALONE}{_MORE}{{0,2}}{_TAIL})(?![\w@])")
_TURNED = re.compile(rf"(?P<value>(?P<last>{_WORD_ALONE}), (?P<first>{_WORD})(?: [A-Z]\.)?)(?![\w@])")
_INITIALS = re.compile(rf"(?P<value>[A-Z](?<![\w@/.-].)\. ?(?:[A-Z]\. ?){{0,2}}(?P<last>{_WORD}))(?![\w@])")
# Words that begin with a capital beside names, and are none.
_CAPITALISED = (
    "The A An And Or Of In On At To For From By With This That These Those It He She We You They I My Your His "
    "Her Our Their If When While Where What Who Why How Is Are Was Were Do Does Did Can Could Will Would Should "
    "Please Thanks Thank Not No Yes Sir Madam Madame All Everyone Team Support Customer Service Services Sales "
    "Manager Staff Friend Friends Colleague Colleagues Customers User Users Admin Member Members Reader Readers "
    "Committee Editor Hiring Human Resources Department Office Help Desk Monday Tuesday Wednesday Thursday Friday "
    "Saturday Sunday January February March April May June July August September October November December Street "
    "St Avenue Ave Road Rd Lane Drive Boulevard Court Square Park Hill River Lake Mountain City County State "
    "States University College School Institute Hospital Church Bank Airport Station Building Tower Museum "
    "Library Hotel Inc Ltd LLC Corp Corporation Company Co Group Foundation Association Party Press Award Prize "
    "Theorem Method Test Law Model Data Table Figure Chapter Section Version Day Island Islands Bay Beach Valley "
    "North South East West New English French German American Chinese British Time Name Address Phone Email Date "
    "Order Number Account Card Apt Suite Unit Box Distribution Process Polynomial Series Matrix Index Return "
    "Returns True False None Note Notes See Also Example Examples Here There Now Then Just "
)
_NOT_NAMES = frozenset(_CAPITALISED.split()) | frozenset(_TITLES.split("|"))


def _plain(word: str) -> str:
    """A word as the lists have it: Mary for MARY and Mary's."""
    word = re.sub(r"['’]s?$", "", word)
    return word.capitalize() if word.isupper() else word


def _words(name: str) -> list[str]:
    return [word.strip(".,") for word in name.split()]


def _without_genitive(start: int, name: str) -> Span:
    return start, start + len(re.sub(r"['’]s$", "", name))


def _announced(match: re.Match[str]) -> Span | None:
    """The words up to the first that no name has."""
    start, name = match.start("value"), match["value"]
    kept = 0
    for word in re.finditer(r"\S+", name):
        if word.group().strip(".,") in _NOT_NAMES:
            break
        kept = word.end()
    return _without_genitive(start, name[:kept]) if kept else None


def _listed(match: re.Match[str]) -> Span | None:
    """A given name, alone or with what follows; a doubtful one only before a surname."""
    words = list(re.finditer(r"\S+", match["value"]))
    first = _plain(words[0].group().strip(".,"))
    rest = [_plain(word.group().strip(".,")) for word in words[1:]]
    if any(word in _NOT_NAMES for word in rest[:1]) or first in _NOT_NAMES - DOUBTFUL_GIVEN_NAMES:
        return None
    known = first in GIVEN_NAMES and (not words[0].group().isupper() or any(word in SURNAMES for word in rest))
    if not known and not (first in DOUBTFUL_GIVEN_NAMES and any(word in SURNAMES for word in rest)):
        return None
    return _announced(match) or None


def _turned(match: re.Match[str]) -> Span | None:
    known = match["last"] in SURNAMES and match["first"] in GIVEN_NAMES | DOUBTFUL_GIVEN_NAMES
    return match.span("value") if known else None


def _initials(match: re.Match[str]) -> Span | None:
    return match.span("value") if _plain(match["last"]) in SURNAMES and match["last"] not in _NOT_NAMES else None


_CAPITAL = re.compile(r"[A-Z]\w|[A-Z]\. ?[A-Z]|[À-ÞĀ-ž]")


def _has_capitals(glance: Glance) -> bool:
    return _CAPITAL.search(glance.text) is not None


def _has_a_given_name(glance: Glance) -> bool:
    words = {word.capitalize() for word in _CAPITALISED_WORD.findall(glance.text)}
    return not (words.isdisjoint(GIVEN_NAMES) and words.isdisjoint(DOUBTFUL_GIVEN_NAMES))


_CAPITALISED_WORD = re.compile(r"[A-Z][A-Za-z]+")
_INITIAL = re.compile(r"\. ?[A-Z](?<=[A-Z]\. [A-Z]|.[A-Z]\.[A-Z])")
_SAYINGS = (
    *("this is ", "call me ", "named ", "called ", "signed", "written by", "directed by", "reported by", "prepared by"),
    *("spoke to", "spoke with", "contact person", "yours truly", "author", "regards", "sincerely", "cheers,"),
)
DETECTORS = (
    Detector("NAME", _TITLED, _announced, _has_capitals),
    Detector("NAME", _NAME_IS, _announced, lambda glance: glance.has("name")),
    Detector("NAME", _SAID, _announced, lambda glance: glance.has(*_SAYINGS)),
    Detector("NAME", _LINE, _announced, _has_capitals),
    Detector("NAME", _TURNED, _turned, lambda glance: ", " in glance.text and _has_a_given_name(glance)),
    Detector("NAME", _LISTED, _listed, _has_a_given_name),
    Detector("NAME", _INITIALS, _initials, lambda glance: _INITIAL.search(glance.text) is not None),
)
