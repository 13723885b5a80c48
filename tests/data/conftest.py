"""Small makers of data files for the tests of the data room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from setsail.base.log import Log
from setsail.base.recipe_data import Data
from setsail.data.prepare import prepare
from setsail.data.rewrite import Ask
from setsail.data.summary import Summary


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes objects, or raw lines, as a .jsonl file."""

    def write(rows: list[object], name: str = "rows.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Summary]:
    """Prepares a source of the test's folder into `out`."""

    def run(
        source: str,
        *,
        task: str = "chat",
        out: str = "out",
        seed: int = 1,
        ask: Ask | None = None,
        **settings: object,
    ) -> Summary:
        data = Data.model_validate({"source": source, **settings})
        return prepare(data, task=task, seed=seed, base_dir=tmp_path, out=tmp_path / out, log=Log(quiet=True), ask=ask)

    return run
