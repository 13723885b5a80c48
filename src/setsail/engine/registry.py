"""Which engines there are, and which one suits a model.

The names and where they live; no engine is imported before it is opened. An engine is chosen by the model's kind and
architecture and by what is installed, never by a file's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from setsail.base.errors import UserError, did_you_mean
from setsail.engine.cache import refuse_unfit_cache
from setsail.engine.contract import PLAIN, Engine, Special
from setsail.engine.gguf_limits import read_limits

ENGINES = {
    "openvino": "setsail.engine.openvino:open_engine",
    "llamacpp": "setsail.engine.llamacpp:open_engine",
    "torch": "setsail.engine.torch:open_engine",
    "echo": "setsail.engine.echo:open_engine",
}
TAKE_ADAPTERS = ("llamacpp",)
# What computes elsewhere: opened with a folder that holds the tokenizer, and told where to ask or what to start.
FAR_ENGINES = {"remote": "setsail.engine.remote:open_engine", "vllm": "setsail.engine.vllm:open_engine"}
OPENVINO_ARCHITECTURES = ("llama", "qwen2", "qwen3")
# What OpenVINO computes as the file says. Of kinds with a floor (Q4_1, Q4_K) it rounds every floor to a whole step,
# which is another model; others it does not read.
OPENVINO_KINDS = frozenset({"F32", "F16", "BF16", "Q8_0", "Q4_0"})


@dataclass(frozen=True)
class Choice:
    """An engine's name, and the sentence that says why."""

    name: str
    reason: str


def choose(model: Path) -> Choice:
    """The engine for a model: a GGUF file's by its architecture and what is installed, a folder's is torch.

    Raises: ModelError when there is no such model or the file is damaged.
    """
    if model.is_dir():
        return Choice("torch", f"{model.name} is a Hugging Face folder, which the torch engine reads")
    limits = read_limits(model)
    architecture, inexact = limits.architecture, sorted(limits.kinds - OPENVINO_KINDS)
    if inexact:
        return Choice("llamacpp", f"OpenVINO does not compute {', '.join(inexact)} as the file says, llama.cpp does")
    readable = architecture in OPENVINO_ARCHITECTURES
    if readable and find_spec("openvino_genai"):
        return Choice(
            "openvino", f"OpenVINO reads GGUF files of the architecture {architecture} and is the fastest here"
        )
    why = "openvino-genai is not installed" if readable else f"OpenVINO does not read the architecture {architecture}"
    return Choice("llamacpp", f"{why}; llama.cpp may")


def able(model: Path) -> tuple[str, ...]:
    """The installed engines that read a model faithfully and many at once, the one of the rule first.

    The torch engine reads everything, one answer after the other: it is the reference and no contender.

    Raises: ModelError when there is no such model or the file is damaged.
    """
    usual = choose(model).name
    others = () if model.is_dir() or usual == "llamacpp" or not find_spec("xllamacpp") else ("llamacpp",)
    return (usual, *others)


def open_engine(
    name: str,
    model: Path,
    *,
    context: int,
    slots: int,
    threads: int | None = None,
    grammars: bool = False,
    special: Special = PLAIN,
) -> Engine:
    """The engine called `name`, or the one for the model when that is "auto", loaded in this process.

    With `grammars` requests may bring one, where the engine can: some take seconds longer to load then.

    Raises: UserError for an unknown name, and a cache or adapters that the engine does not take; ModelError when the
        model cannot be loaded.
    """
    if name == "auto":
        name = choose(model).name
    if name not in ENGINES | FAR_ENGINES:
        raise UserError(f'there is no engine "{name}"', hint=did_you_mean(name, [*ENGINES, *FAR_ENGINES, "auto"]))
    module, _, attribute = (ENGINES | FAR_ENGINES)[name].partition(":")
    opener = cast(Callable[..., Engine], getattr(import_module(module), attribute))
    cache, adapters = special.cache, special.adapters
    refuse_unfit_cache(name, cache)
    if adapters and name not in TAKE_ADAPTERS:
        raise UserError(f"the {name} engine takes no adapters here", hint=f"use {' or '.join(TAKE_ADAPTERS)}")
    if name in FAR_ENGINES:
        assert special.server is not None, "a far engine is told where it is"
        return opener(model, server=special.server, context=context, slots=slots, grammars=grammars)
    more = ({} if cache == "auto" else {"cache": cache}) | ({"adapters": adapters} if adapters else {})
    return opener(model, context=context, slots=slots, threads=threads, grammars=grammars, **more)
