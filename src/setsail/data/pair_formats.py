"""Pairs of texts by their columns: a translation column, aligned columns, a document with its summary.

Which is the source is said by the columns' names, by `data.columns`, or by `data.languages`; it is never guessed. What
does not live here: every other format (`formats.py`), what is wrong with a pair (`text_pairs.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from setsail.base.errors import DataError
from setsail.base.recipe_pairs import LANGUAGES, WRITING_TASKS
from setsail.data.row import Unfit

TEXT_PAIR_FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "translation": (("translation",), ("system",)),
    "pair": (("source", "target"), ("system",)),
    "summary": (("document", "summary"), ("system",)),
}
TEXT_PAIR_NAMES = {
    "source": ("input", "src", "msgid", "原文"),
    "target": ("output", "tgt", "msgstr", "译文"),
    "document": ("article", "dialogue", "text", "文章", "正文"),
    "summary": ("highlights", "abstract", "摘要"),
}
_LANGUAGES = {
    *("en", "zh", "de", "fr", "es", "ja", "ko", "ru", "it", "pt", "ar", "vi", "th", "zh-cn", "zh-tw"),
    *("english", "chinese", "source", "target", "src", "tgt", "中文", "英文", "原文", "译文"),
}
_CODES = {name: code for code, names in LANGUAGES.items() for name in (code, names[0].casefold(), names[1])}
_CODES |= {"中文": "zh", "英文": "en", "zh-cn": "zh", "zh_cn": "zh", "zh-hans": "zh", "zh_hans": "zh"}


def language_of(name: str) -> str | None:
    """The language that a column's name names, as a code.

    >>> language_of("English"), language_of("zh-CN"), language_of("note")
    ('en', 'zh', None)
    """
    return _CODES.get(name.casefold())


def columns_of_pair(
    found: Sequence[str], columns: Mapping[str, str], languages: Sequence[str] | None, place: str
) -> tuple[str, dict[str, str]] | None:
    """The format and its columns where languages name source and target; None where columns of other names may do.

    Of a translation column, `source` and `target` are the keys inside it.

    Raises:
        DataError: one column is both, or a translation column whose direction nothing says.
    """
    given = [columns.get(part) for part in ("source", "target")]
    if given[0] is not None and given[0] == given[1]:
        hint = "name another column as the target"
        raise DataError(f"data.columns names {given[0]} as source and as target", place=place, hint=hint)
    lowered = {name.casefold(): name for name in reversed(found)}
    mixed = columns.get("translation") or lowered.get("translation")
    inside = [name for name in given if name is not None] or list(languages or ())
    if mixed in found and len(inside) == 2 and not set(inside) <= set(found):
        return "translation", {"translation": mixed, "source": inside[0], "target": inside[1]}
    if languages and not columns:
        named = [next((name for name in found if language_of(name) == code), None) for code in languages]
        if named[0] and named[1]:
            return "pair", {"source": named[0], "target": named[1]}
    return None


def refuse_aligned(found: Sequence[str], place: str) -> None:
    """Raises: DataError for two columns named for languages, of which nothing says which is asked."""
    languages = [column for column in found if column.casefold() in _LANGUAGES]
    if len(languages) == 2:
        first, second = languages
        raise DataError(
            f"aligned columns ({first}, {second}) do not say which is the question",
            place=place,
            hint=f"say it: data.columns: {{prompt: {first}, completion: {second}}}, or data.languages: [en, zh]",
        )


def refuse_undirected(found: Sequence[str], place: str) -> None:
    """Raises: DataError for a translation column of which nothing says what is translated into what."""
    if "translation" in {name.casefold() for name in found}:
        raise DataError(
            "the column translation holds several languages, and nothing says which is the source",
            place=place,
            hint="data.languages: [en, zh] translates from English into Chinese; a column of one language is named: "
            "data.columns: {source: …, target: translation}",
        )


def refuse_unfit_form(name: str, task: str, damage: Sequence[str], place: str) -> None:
    """Raises: DataError for pairs that would be damaged, and for texts alone where pairs are needed."""
    is_text = name in ("text", "text_label")
    if damage and not is_text:
        raise DataError(
            f"data.damage makes pairs of texts, and the data is in the form {name}",
            place=place,
            hint="leave data.damage out, or name the column of the texts: data.columns: {text: …}",
        )
    if task in WRITING_TASKS and is_text and not damage:
        raise DataError(
            f"task {task} needs pairs of a source and a target, and the data holds only texts",
            place=place,
            hint="name the columns: data.columns: {source: …, target: …}",
        )


def sides_inside(fields: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """The source and the target in a translation column, which holds a mapping of languages or its JSON text.

    Raises: Unfit for anything else, and where one of the two languages is missing.
    """
    value = fields.get(columns["translation"])
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise Unfit("wrong_type", "translation is neither a mapping of languages nor the JSON text of one")
    for part in ("source", "target"):
        if columns[part] not in value:
            found = ", ".join(map(str, value))[:200]
            raise Unfit("no_language", f'no "{columns[part]}" in translation; found: {found}')
    return {part: value[columns[part]] for part in ("source", "target")}
