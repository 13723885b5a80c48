"""Predicting with a chat model of translate, summarize or rewrite: a text in, a JSON line with what it writes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from setsail.base.artifact import Artifact
from setsail.base.recipe import Recipe
from setsail.engine.batch import generate_all
from setsail.engine.contract import GenerationRequest
from setsail.stages.answering.engines import all_answered, context_of, file_to_serve, open_process
from setsail.stages.kinds import tokenizer_of
from setsail.tasks.prediction import Line, written_line
from setsail.tokens.render import render

TEXTS_AT_ONCE = 16


def written_lines(served: Artifact, recipe: Recipe, texts: Sequence[str]) -> Iterator[Line]:
    """For each text `text` and `output`; `unfinished` where that was longer than it may be.

    Raises:
        UserError: a text that does not fit the context.
    """
    tokenizer, file = tokenizer_of(served), file_to_serve(served, recipe)
    system = [{"role": "system", "content": recipe.data.system}] if recipe.data.system else []
    room = context_of(recipe)
    with open_process(file, recipe, slots=TEXTS_AT_ONCE) as process:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            prompts = [
                render(tokenizer, [*system, {"role": "user", "content": text}], generation_prompt=True) for text in some
            ]
            requests = [
                GenerationRequest(
                    prompt_ids=tuple(prompt.ids),
                    max_tokens=max(1, min(recipe.serve.max_tokens, room - len(prompt.ids))),
                    stop_ids=tuple(sorted({prompt.stop_id, *tokenizer.eos_ids})),
                )
                for prompt in prompts
            ]
            for text, done in zip(some, all_answered(generate_all(process, requests)), strict=True):
                yield written_line({"text": text}, tokenizer.decode(done.token_ids), stopped=done.reason == "stop")
