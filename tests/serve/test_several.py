"""Several models in one server: each request is answered by the model that it names, or by the first that can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from setsail.base.recipe import Serve
from setsail.engine.process import EngineProcess
from setsail.serve.app import build_app
from setsail.serve.batching import PredictorThread
from setsail.serve.models import ServedModel
from setsail.serve.predictors import ServedPredictor
from setsail.serve.service import Served

from .conftest import LEAD, Running, listening, make_tokenizer
from .toy_predictors import DOES, ToyPredictor


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    folder = tmp_path_factory.mktemp("several")
    tokenizer = make_tokenizer(folder / "tokenizer")
    (folder / "echo.json").write_text(json.dumps({}))
    engine = EngineProcess("echo", folder / "echo.json", 4096, 8).start()
    threads = {task: PredictorThread(lambda task=task: ToyPredictor(task)).start() for task in ("classify", "embed")}
    predictors = {
        name: ServedPredictor(name, tokenizer, threads[task], 0, f"id-{name}", DOES[task])
        for name, task in (("desk", "classify"), ("find", "embed"))
    }
    yield {
        "desk": predictors["desk"],
        "support": ServedModel("support", tokenizer, engine, 4096, 0, "id-support", settings=Serve(max_tokens=20)),
        "sales": ServedModel("sales", tokenizer, engine, 4096, 0, "id-sales", settings=Serve(slots=1, queue=0)),
        "find": predictors["find"],
    }
    for each in (engine, *threads.values()):
        each.close()


def served(models: dict[str, Served]) -> Any:
    return build_app(models, Serve(), api_key_sha256=None, log=lambda line: None)


@pytest.fixture(scope="module")
def several(models: dict[str, Served]) -> Iterator[Running]:
    app = served(models)
    with listening(app) as url:
        yield Running(url, app.state.service, None, [], app)


def test_each_model_answers_by_its_name(several: Running) -> None:
    official = openai.OpenAI(base_url=several.url + "/v1", api_key="none", max_retries=0)
    assert [model.id for model in official.models.list()] == ["desk", "support", "sales", "find"]
    for name in ("support", "sales"):
        answer = official.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello"}])
        assert answer.model == name and (answer.choices[0].message.content or "").startswith(LEAD)
        assert answer.system_fingerprint == f"id-{name}"
    assert official.embeddings.create(model="find", input="ab").data[0].index == 0
    reranked = several.post("/v1/rerank", {"model": "find", "query": "a", "documents": ["b", "a"]}).json()
    assert [result["index"] for result in reranked["results"]] == [1, 0]


def test_predict_asks_the_model_that_is_named_or_the_first_that_fits(several: Running) -> None:
    first = several.post("/predict", {"inputs": "refund my order"}).json()
    assert first["model"] == "desk" and first["predictions"][0]["label"] == "order"
    vectors = several.post("/predict", {"inputs": "ab", "model": "find"}).json()
    assert vectors["model"] == "find" and "vector" in vectors["predictions"][0]
    written = several.post("/predict", {"inputs": "ab", "model": "sales"}).json()
    assert written["model"] == "sales" and written["predictions"][0]["output"].startswith(LEAD)


def test_a_model_at_the_wrong_address_says_where_it_answers(several: Running) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}]}
    for path, body, does, able in [
        ("/v1/chat/completions", chat | {"model": "desk"}, "desk is a classifier", "use POST /predict"),
        ("/v1/completions", {"prompt": "a", "model": "find"}, "find is an encoder", "/v1/embeddings"),
        ("/v1/embeddings", {"input": "a", "model": "support"}, "support is a language model", "/v1/chat/completions"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "desk"}, "desk is a classifier", "/predict"),
    ]:
        refused = several.post(path, body)
        error = refused.json()["error"]
        assert refused.status_code == 404 and error["code"] == "unsupported_route"
        assert does in error["message"] and able in error["message"]
    assert several.post("/v1/embeddings", {"input": "a", "model": "nope"}).json()["error"]["code"] == "model_not_found"


def test_the_page_is_there_and_knows_who_converses(several: Running) -> None:
    assert "text/html" in httpx.get(several.url + "/").headers["content-type"]
    listed = httpx.get(several.url + "/v1/models").json()["data"]
    assert [model["id"] for model in listed if "/v1/chat/completions" in model["paths"]] == ["support", "sales"]
    assert listed[0]["paths"] == ["/predict"]


def test_each_has_slots_and_longest_answers_of_its_own(several: Running) -> None:
    assert several.chat(max_tokens=50).json()["usage"]["completion_tokens"] == 20
    gates = {name: (model.gate.slots, model.gate.queue) for name, model in several.service.models.items()}
    assert gates == {"desk": (8, 64), "support": (8, 64), "sales": (1, 0), "find": (8, 64)}


def test_figures_and_readiness_tell_of_each(several: Running) -> None:
    ready = httpx.get(several.url + "/ready")
    assert ready.status_code == 200 and set(ready.json()["models"]) == {"desk", "support", "sales", "find"}
    httpx.get(several.url + "/v1/models/find")
    httpx.get(several.url + "/v1/models/nope")
    text = httpx.get(several.url + "/metrics").text
    assert 'setsail_model_ready{model="find"} 1.0' in text
    assert 'setsail_requests_total{path="/v1/models/{name}",status="200"} 1.0' in text
    assert 'setsail_requests_total{path="/v1/models/{name}",status="404"} 1.0' in text


def test_several_predictors_alone_say_how_they_are_asked(models: dict[str, Served]) -> None:
    alone = {name: models[name] for name in ("desk", "find")}
    with listening(served(alone)) as url:
        told = httpx.get(url + "/").json()["models"]
        assert [(each["model"], each["post_to"][0]) for each in told] == [("desk", "/predict"), ("find", "/predict")]
        refused = httpx.post(url + "/v1/chat/completions", json={}).json()["error"]["message"]
        assert "desk is a classifier" in refused and "find is an encoder" in refused
    with listening(served({"find": replace(models["find"], settings=Serve(slots=2))})) as url:
        assert httpx.get(url + "/").json()["model"] == "find"
