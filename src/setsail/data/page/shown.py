"""Text from the data as a page may show it: without personal data, with what cannot be seen spelled out, and cut.

It is masked here once more, since a recipe may leave the rows as they are and a page is passed around. What does not
live here: escaping for HTML or Markdown (`base/page`).
"""

from __future__ import annotations

import re

from setsail.data.privacy.redactor import redact

_LOOKED_AT = 1 << 16  # characters; nobody waits for the masking of a whole book of which a page shows the beginning
# Controls, marks of direction, spaces of no width, halves of surrogate pairs, noncharacters, tags. What joins emoji and
# Persian letters (U+200C, U+200D) is left to do so.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def shown(text: str, most: int) -> str:
    """At most so many characters of a text, and behind them how many more there are.

    >>> shown("Write to ann@example.org\\u202e!", 100), shown("a long story", 6)
    ('Write to [EMAIL_1]⟨U+202E⟩!', 'a long … (+6)')
    """
    masked = redact([text[:_LOOKED_AT]]).texts[0]
    visible = _UNSEEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", masked)
    more = max(0, len(visible) - most) + max(0, len(text) - _LOOKED_AT)
    return f"{visible[:most].rstrip()} … (+{more:,})" if more else visible
