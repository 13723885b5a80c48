"""Talking to a model in the terminal: the same rendering, the same engine, no server."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from setsail.base.errors import SystemRefusal
from setsail.base.log import Log
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.process import EngineProcess
from setsail.stages.answering.engines import context_of, file_to_serve, open_process, with_engine
from setsail.stages.answering.serving import read_run
from setsail.stages.checked import refuse_other_cache, refuse_unchecked
from setsail.stages.kinds import tokenizer_of
from setsail.tokens.render import render
from setsail.tokens.stream import Detokenizer
from setsail.tokens.tokenizer import Tokenizer


def chat_in_terminal(
    path: Path,
    *,
    base: bool = False,
    engine: str | None = None,
    model: str | None = None,
    key_env: str | None = None,
) -> None:
    """Reads lines from stdin and answers each on stdout, until an empty line or the end of input.

    Raises: SystemRefusal when an answer fails.
    """
    run, recipe = read_run(path)
    recipe, engine = with_engine(recipe, engine, model=model, key_env=key_env)
    artifact = run.artifact("base_gguf" if base else "gguf")
    if not base:
        refuse_unchecked(run, artifact)
        refuse_other_cache(run, recipe)
    log, tokenizer, file = Log(), tokenizer_of(artifact), file_to_serve(artifact, recipe, engine)
    messages = [{"role": "system", "content": recipe.data.system}] if recipe.data.system else []
    with open_process(file, recipe, slots=1) as process:
        answers = f"{file.engine} at {file.where}" if file.engine == "remote" else file.engine
        log.say(f"{'base' if base else recipe.name} by {answers}; an empty line ends the talk")
        while question := _read_line(log):
            messages.append({"role": "user", "content": question})
            room = min(recipe.serve.max_tokens, context_of(recipe) // 2)
            messages.append({"role": "assistant", "content": _answer(process, tokenizer, messages, room, log)})


def _read_line(log: Log) -> str:
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _answer(process: EngineProcess, tokenizer: Tokenizer, messages: list[dict[str, str]], room: int, log: Log) -> str:
    """Streams one answer to stdout; returns it."""
    prompt = render(tokenizer, messages, generation_prompt=True)
    stop_ids = tuple(sorted({prompt.stop_id, *tokenizer.eos_ids}))
    text, count, began = Detokenizer(tokenizer, ()), 0, time.monotonic()
    pieces: list[str] = []
    for event in process.generate(GenerationRequest(tuple(prompt.ids), room, stop_ids=stop_ids)):
        if isinstance(event, Token):
            count += 1
            pieces.append(text.push(event.token_id))
        elif isinstance(event, Finished):
            if event.reason in ("error", "cancelled"):
                raise SystemRefusal(f"the answer failed: {event.message or event.reason}")
            pieces.append(text.finish())
        print(pieces[-1], end="", flush=True)
    print(flush=True)
    log.say(f"  {count} tokens, {count / max(time.monotonic() - began, 1e-9):.0f} tokens/s")
    return "".join(pieces)
