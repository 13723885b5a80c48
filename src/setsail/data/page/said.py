"""What preparing said, in the language of the page.

The sentences come in English, as the terminal and the manifest have them; one whose form is not known here stands as
it is, so that nothing is left out. A test prepares data that brings forth every form.
"""

from __future__ import annotations

import re

from setsail.base.page.words import Language
from setsail.data.page.words import NAMES
from setsail.data.summary import ANSWER_FAULTS, REASONS

_ROWS = r"(?P<rows>\d[\d,]*) rows?"
_CHINESE = {
    rf"{_ROWS} hold (?P<distinct>[\d,]+) distinct (?P<noun>.+); (?P<copies>[\d,]+) cop(y was|ies were) removed": (
        "{rows} 个样本中有 {distinct} 个不同的{noun}，移除了 {copies} 个副本"
    ),
    rf"(?P<values>[\d,]+) values? (was|were) masked in {_ROWS}: (?P<kinds>.+)": (
        "在 {rows} 个样本中脱敏 {values} 处：{kinds}"
    ),
    rf"(?P<values>[\d,]+) values? (was|were) replaced in {_ROWS}: (?P<kinds>.+)": (
        "在 {rows} 个样本中以化名替换 {values} 处：{kinds}"
    ),
    rf"{_ROWS} (is|are) nearly the same as one with another label, and kept: (?P<place>.+)": (
        "{rows} 个样本与标签不同的样本近似，予以保留：{place}"
    ),
    r"(?P<count>\d+) labels: (?P<labels>.+)": "{count} 个标签：{labels}",
    r"labels that differ in spelling alone are learned apart: (?P<labels>.+)": (
        "仅写法不同的标签仍按不同标签学习：{labels}"
    ),
    r"the source brings its own parts: (?P<parts>[^;]+)": "来源自带划分：{parts}",
    r"the source brings its own parts: (?P<parts>[^;]+); (?P<lacking>.+) taken from train": (
        "来源自带划分：{parts}；{lacking}取自训练集"
    ),
    r'no "(?P<name>.+)" lies here: read from the hub, as data\.source: (?P<source>.+)': (
        "此处没有“{name}”：从模型与数据集平台读取，即 data.source: {source}"
    ),
    r"not read: (?P<files>.+)": "未读取：{files}",
    r"(?P<place>.+): not used: (?P<columns>.+)": "{place}：未使用的列：{columns}",
    r"(?P<place>.+): (?P<count>[\d,]+) columns are not used": "{place}：有 {count} 列未使用",
    r"(?P<place>.+): (?P<count>[\d,]+) bytes are invalid in (?P<encoding>.+)": (
        "{place}：有 {count} 个字节不符合 {encoding} 编码"
    ),
    rf"{_ROWS} (was|were) dropped \((?P<reason>.+?)\): (?P<places>.+)": "丢弃 {rows} 个样本（{reason}）：{places}",
    rf"data\.max_rows left {_ROWS} out, chosen by the hash of their ids": (
        "data.max_rows 按编号的哈希略去 {rows} 个样本"
    ),
    rf"{_ROWS} were made from training rows and are marked so": "由训练样本生成 {rows} 个样本，并有标记",
    r"texts that a model wrote anew and that were not used: (?P<faults>.+)": "模型改写后未采用的文本：{faults}",
}
_NOUNS = {
    "texts": "文本",
    "answers": "答案",
    "conversations": "对话",
    "question–answer pairs": "问答",
    "pairs": "文本对",
    "pairs of answers": "成对的答案",
    "questions on a text": "针对文本的问题",
}
_REASONS = {english: NAMES[name][1] for name, english in REASONS.items()}
_FAULTS = {
    "empty": "没有内容",
    "same words": "文字未变",
    "long": "过长而未发送",
    "length": "长度相差过大",
    "numbers": "数字或占位符缺失或增多",
    "language": "换了语言",
}
_PARTS = {part: NAMES[part][1] for part in ("train", "validation", "test")} | {" and ": "、", ", ": "、"}


def said(finding: str, language: Language) -> str:
    """A sentence of preparing in this language.

    >>> said("2 rows were dropped (no answer): a.csv:3, a.csv:9", "zh")
    '丢弃 2 个样本（没有答案）：a.csv:3, a.csv:9'
    """
    if language == "en":
        return finding
    for form, chinese in _CHINESE.items():
        if found := re.fullmatch(form, finding, re.DOTALL):
            return chinese.format(**{name: _own_word(name, text) for name, text in found.groupdict().items()})
    return finding


def _own_word(name: str, text: str) -> str:
    """The Chinese for a word of ours; a name from the data stands as it is."""
    if name in ("parts", "lacking"):
        return "".join(_PARTS.get(piece, piece) for piece in re.split("(, | and )", text))
    if name == "faults":
        for fault, english in ANSWER_FAULTS.items():
            text = text.replace(english, _FAULTS[fault])
        return text.replace(", ", "、")
    return {"noun": _NOUNS, "reason": _REASONS}.get(name, {}).get(text, text)
