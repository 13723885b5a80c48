"""A run's models behind a real socket, in this process, as `setsail serve` opens them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.conftest import listening

from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.serve.app import build_app
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.answering.serving import served_predictor, served_writers
from setsail.stages.kinds import predicts

Post = Callable[[str, dict[str, Any]], httpx.Response]


@contextlib.contextmanager
def over_http(run: Path, engine: str | None = None) -> Iterator[Post]:
    """Posts a body to a path of the served run."""
    recipe = load_recipe(run / "recipe.yaml").recipe
    open_models = served_predictor if predicts(Run(run), recipe) else served_writers
    models = open_models(Run(run), recipe, engine, log=Log(quiet=True))
    try:
        with listening(build_app(models, recipe.serve, api_key_sha256=None, log=lambda line: None)) as url:
            yield lambda path, body: httpx.post(url + path, json=body, timeout=None)
    finally:
        for model in models.values():
            model.engine.close()


def printed(capsys: pytest.CaptureFixture[str], run: Path, *texts: str, folder: Path, **options: Any) -> list[Any]:
    """The lines that the command prints for a file of these texts."""
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    capsys.readouterr()
    predict_with_run(run, file=folder / "texts.txt", **options)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def predictions(post: Post, body: dict[str, Any]) -> list[Any]:
    """The lines that the server says."""
    answer = post("/predict", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]
