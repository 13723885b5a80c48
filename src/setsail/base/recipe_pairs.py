"""What a recipe of translate, summarize or rewrite says where it says nothing: the instruction, and how it trains.

An encoder-decoder, new or given, reads the source alone and writes the target. A chat model is told what to do: the
source is the user's message, the instruction the system's. The instruction is fixed by the task, the recipe's language
and the languages of the data, so that training, evaluation and serving all ask alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WRITING_TASKS = ("translate", "summarize", "rewrite")

# Of a base made new for the task: from nothing, so the way of pretraining and many epochs.
NEW_PAIR_DEFAULTS: dict[str, dict[str, Any]] = {
    "translate": {"epochs": 20, "context": 256, "batch_tokens": 2048},
    "summarize": {"epochs": 10, "context": 512, "batch_tokens": 4096},
    "rewrite": {"epochs": 10, "context": 256, "batch_tokens": 2048},
}
_FROM_NOTHING = {"method": "full", "optimizer": "muon", "schedule": "wsd", "weight_decay": 0.1}
PAIR_DEFAULTS: dict[str, dict[str, Any]] = {
    "translate": {"epochs": 3, "context": 512, "batch_tokens": 2048},
    "summarize": {"epochs": 2, "context": 1024, "batch_tokens": 4096},
    "rewrite": {"epochs": 3, "context": 512, "batch_tokens": 2048},
}
_EVALUATE = {"max_rows": 200}

LANGUAGES: Mapping[str, tuple[str, str]] = {
    "en": ("English", "英语"),
    "zh": ("Chinese", "中文"),
    "de": ("German", "德语"),
    "fr": ("French", "法语"),
    "es": ("Spanish", "西班牙语"),
    "pt": ("Portuguese", "葡萄牙语"),
    "it": ("Italian", "意大利语"),
    "ru": ("Russian", "俄语"),
    "ja": ("Japanese", "日语"),
    "ko": ("Korean", "韩语"),
    "ar": ("Arabic", "阿拉伯语"),
    "vi": ("Vietnamese", "越南语"),
    "th": ("Thai", "泰语"),
}
_INSTRUCTIONS: Mapping[str, tuple[str, str]] = {
    "translate": (
        "Translate the text{between}. Answer with the translation alone.",
        "{between}翻译下面的文本，只回答译文。",
    ),
    "summarize": (
        "Summarize the text. Answer with the summary alone.",
        "概括下面的文本，只回答摘要。",
    ),
    "rewrite": (
        "Rewrite the text as you have learned to. Answer with the new text alone.",
        "按学到的方式改写下面的文本，只回答改写后的文本。",
    ),
}


def instruction_of(task: str, language: str, languages: Sequence[str] | None = None) -> str:
    """What a chat model is told to do, in the recipe's language.

    >>> instruction_of("translate", "en", ("en", "zh"))
    'Translate the text from English into Chinese. Answer with the translation alone.'
    >>> instruction_of("translate", "zh", ("en", "zh"))
    '从英语到中文，翻译下面的文本，只回答译文。'
    """
    is_chinese = language == "zh"
    between = ""
    if languages:
        source, target = (LANGUAGES.get(code, (code, code))[is_chinese] for code in languages)
        between = f"从{source}到{target}，" if is_chinese else f" from {source} into {target}"
    return _INSTRUCTIONS[task][is_chinese].format(between=between)


def with_pair_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe of such a task, with the defaults of the task where it gives none."""
    task, made = recipe["task"], dict(recipe)
    is_new = _is_new(recipe.get("base"))
    usual = {**_FROM_NOTHING, **NEW_PAIR_DEFAULTS[task]} if is_new else PAIR_DEFAULTS[task]
    for part, defaults in (("finetune", usual), ("evaluate", _EVALUATE)):
        own = made.get(part) or {}
        if isinstance(own, dict):
            made[part] = {**defaults, **own}
    data = made.get("data")
    if not is_new and isinstance(data, dict) and data.get("system") is None:
        languages = data.get("languages")
        given = languages if isinstance(languages, list | tuple) and len(languages) == 2 else None
        made["data"] = {**data, "system": instruction_of(task, str(made.get("language", "en")), given)}
    return made


def refuse_unfit_damage(task: str, damage: Sequence[str]) -> None:
    """Raises: ValueError for texts to be damaged for another task than to be mended."""
    if damage and task != "rewrite":
        raise ValueError(f"data.damage makes pairs for task rewrite, this is task {task}")


def refuse_unfit_pairs(task: str, overlong: str, *, template: str | None, is_new: bool, method: str) -> None:
    """Raises: ValueError for what such a task cannot do."""
    if overlong == "split":
        raise ValueError(f"a pair in pieces would not say the same: task {task} takes data.overlong: drop, or cut")
    if is_new and template is not None:
        raise ValueError("a new seq2seq base reads texts, not conversations: leave template out")
    if is_new and method == "lora":
        raise ValueError("a new base learns with all its weights: leave finetune.method out, or say full")


def _is_new(base: object) -> bool:
    return isinstance(base, dict) or getattr(base, "new", None) is not None
