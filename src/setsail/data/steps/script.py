"""Which script a text is written in, and how many words it has in any script: what judges and punctuation go by.

A Chinese character counts as one word, because nothing stands between Chinese words. What does not live here: the
language (`language.py`), which is guessed; these are counts.
"""

from __future__ import annotations

import re

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"

_HAN_RUNS = re.compile(f"[{HAN}]+")
_KANA = re.compile("[\u3041-\u30fa\uff66-\uff9d]")
_MOST_KANA = 0.05  # kana for each Chinese character in a text that is still Chinese: a brand, a quotation


def num_han(text: str) -> int:
    """How many Chinese characters a text has."""
    return 0 if text.isascii() else sum(map(len, _HAN_RUNS.findall(text)))


def num_words(text: str) -> int:
    """How many words: what stands between spaces, and each Chinese character.

    >>> num_words("two words"), num_words("用 Python 写的")
    (2, 4)
    """
    if text.isascii():
        return len(text.split())
    return num_han(text) + len(_HAN_RUNS.sub(" ", text).split())


def words_of(text: str) -> list[str]:
    """The words of a text: what stands between spaces, and each Chinese character.

    >>> words_of("用Python 写的。")
    ['用', 'Python', '写', '的', '。']
    """
    if num_han(text):
        text = _HAN_RUNS.sub(lambda run: f" {' '.join(run.group())} ", text)
    return text.split()


def is_chinese(text: str) -> bool:
    """Whether a text has as many Chinese characters as other words, and is not Japanese.

    >>> is_chinese("用 Python 写爬虫"), is_chinese("The word 你好 means hello"), is_chinese("ひらがな漢字")
    (True, False, False)
    """
    han = num_han(text)
    return han > 0 and 2 * han >= num_words(text) and not is_japanese(text, han)


def is_japanese(text: str, han: int) -> bool:
    """Whether a text with so many Chinese characters has too many kana to be Chinese."""
    return len(_KANA.findall(text)) > _MOST_KANA * han
