"""Which engines there are, and which one suits a model.

The names and where they live; no engine is imported before it is opened. An engine is chosen by the model's kind and
architecture and by what is installed, never by a file's name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from setsail.base.errors import UserError, did_you_mean
from setsail.engine.contract import Engine

ENGINES = {
    "openvino": "setsail.engine.openvino:open_engine",
    "llamacpp": "setsail.engine.llamacpp:open_engine",
    "torch": "setsail.engine.torch:open_engine",
    "echo": "setsail.engine.echo:open_engine",
}


def open_engine(name: str, model: Path, *, context: int, slots: int, threads: int | None = None) -> Engine:
    """The engine called `name`, loaded with `model` in this process (a server uses `process.EngineProcess` instead).

    Raises: UserError for an unknown name; ModelError when the model cannot be loaded.
    """
    if name not in ENGINES:
        raise UserError(f'there is no engine "{name}"', hint=did_you_mean(name, ENGINES))
    module, _, attribute = ENGINES[name].partition(":")
    opener = cast(Callable[..., Engine], getattr(import_module(module), attribute))
    return opener(model, context=context, slots=slots, threads=threads)
