"""Texts written anew by a model of the user's choice: paraphrased, translated and back, or answered by it as a teacher.

What comes back is looked at before it is used: a text that lost a number or a placeholder, that came in another
language, or that is no text of about this length is left out and counted. Answers are kept in a file, so that nothing
is asked twice after a kill. What does not live here: which rows are written anew (`augment.py`), the way to the model
(`stages`).

Source for answers of a teacher: Kim and Rush 2016, sequence-level knowledge distillation (arXiv 1606.07947).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from setsail.base.files import explained_os_errors, write_atomically
from setsail.data.row import Message
from setsail.data.sketch import normalised

Ask = Callable[[Sequence[Message], int], str]  # a conversation and a seed to the answer of a model

_MOST_CHARACTERS = 4000  # of a text that is sent
_MOST_CONVERSED = 16_000  # characters of a conversation, documents in it too
_KEPT = re.compile(r"\[[A-Z]+(?:_\d+)?\]|\d+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_RULE = "Keep every number, name and placeholder in square brackets as it is. Give the text alone, without a remark."
_PARAPHRASE = "Write the following text in other words, in the same language, with the same meaning. " + _RULE
_TRANSLATE = "Translate the following text into {language}. " + _RULE


class Rewriter:
    """Asks a model for other words. `refused` counts answers that were not used, by what was wrong with them."""

    def __init__(self, ask: Ask, kept: Path) -> None:
        self.refused: Counter[str] = Counter()
        self._ask, self._file = ask, kept
        self._answers: dict[str, str] = {}
        if kept.exists():
            whole = kept.read_bytes().rpartition(b"\n")[0]  # the last line may be torn: what follows must not join it
            write_atomically(kept, "".join(f"{line}\n" for line in whole.decode().split("\n") if line))
            for line in whole.splitlines():
                self._answers.update(json.loads(line))

    def rewritten(self, way: str, text: str, *, seed: int) -> str:
        """The text in other words by `paraphrase` or `back_translate`; as it was where the answer is of no use."""
        if len(text) > _MOST_CHARACTERS:
            self.refused["long"] += 1
            return text
        if way == "paraphrase":
            prompts = (_PARAPHRASE,)
        else:
            there, back = ("English", "Chinese") if _is_chinese(text) else ("Chinese", "English")
            prompts = (_TRANSLATE.format(language=there), _TRANSLATE.format(language=back))
        answer = text
        for prompt in prompts:
            message = Message(role="user", content=f"{prompt}\n\n{answer}")
            answer = self._answer([message], seed) if answer else ""
        fault = fault_of(text, answer)
        if fault:
            self.refused[fault] += 1
        return text if fault else answer

    def answered(self, asked: Sequence[Message], own: str, *, seed: int) -> str:
        """The model's answer to a conversation; the row's own where that is of no use."""
        if sum(len(message["content"]) for message in asked) > _MOST_CONVERSED:
            self.refused["long"] += 1
            return own
        answer = self._answer(asked, seed)
        fault = fault_of_answer(own, answer)
        if fault:
            self.refused[fault] += 1
        return own if fault else answer

    def _answer(self, asked: Sequence[Message], seed: int) -> str:
        key = hashlib.sha256(json.dumps([seed, list(asked)]).encode()).hexdigest()
        if key not in self._answers:
            self._answers[key] = self._ask(asked, seed).strip()
            with explained_os_errors("keeping an answer"), self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: self._answers[key]}) + "\n")
        return self._answers[key]


def fault_of(before: str, after: str) -> str:
    """What is wrong with `after` as other words for `before`: a key of `summary.ANSWER_FAULTS`, or "".

    >>> fault_of("Order 4711 is late.", "Order 4712 has not come.")
    'numbers'
    """
    if not after:
        return "empty"
    if normalised(before) == normalised(after):
        return "same words"
    if not len(before) / 3 <= len(after) <= 3 * len(before) + 20:
        return "length"
    if sorted(_KEPT.findall(before)) != sorted(_KEPT.findall(after)):
        return "numbers"
    return "language" if _is_chinese(before) != _is_chinese(after) else ""


def fault_of_answer(own: str, answer: str) -> str:
    """What is wrong with a teacher's answer beside the row's own: a key of `summary.ANSWER_FAULTS`, or "".

    >>> fault_of_answer("It is 7.", "It is seven."), fault_of_answer("It is 7.", "它是七。")
    ('', 'language')
    """
    if not answer:
        return "empty"
    if normalised(own) == normalised(answer):
        return "same words"
    return "language" if _is_chinese(own) != _is_chinese(answer) else ""


def _is_chinese(text: str) -> bool:
    return 3 * len(_HAN.findall(text)) >= len("".join(text.split()))
