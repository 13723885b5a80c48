"""A predictor over HTTP: the lines of `setsail predict`, OpenAI's vectors, an order of documents; and all refusals."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import math
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setsail.base.recipe import Serve
from setsail.serve.errors import ApiError
from setsail.serve.predict_schema import LONGEST_INPUT, MOST_INPUTS, EmbeddingsBody, PredictBody, RerankBody
from setsail.serve.schema import read_body
from setsail.tasks.prediction import answers_of, lines_of, question_of

from .conftest import Predicting, Running
from .test_guard import KEY, closed_routes
from .toy_predictors import ToyPredictor

Resting = Callable[[str], Running]


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resting]:
    """One server of each task for all tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("resting")
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda task: Predicting(stack, folder).start(ToyPredictor(task)))


def predictions(server: Running, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.post("/predict", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def wait_for_places(server: Running, running: int, waiting: int) -> None:
    gate = server.service.model("desk").gate
    while (gate.num_running, gate.num_waiting) != (running, waiting):
        threading.Event().wait(0.005)


@pytest.mark.parametrize("every", [False, True])
def test_the_lines_are_those_of_the_command(predicting: Predicting, every: bool) -> None:
    server, toy = predicting.start(ToyPredictor()), ToyPredictor()
    asked = ["the parcel came late", {"text": "die Größe {", "id": 7, "more": [1, {"a": None}]}, "{broken", "w " * 9]
    lines = list(lines_of(toy, answers_of(toy, [question_of(toy, each) for each in asked]), every=every))
    assert predictions(server, {"inputs": asked, "probabilities": every}) == lines
    assert lines[1]["id"] == 7 and lines[3]["cut"] is True and ("probabilities" in lines[0]) == every
    assert predictions(server, {"inputs": asked[0], "model": "desk", "probabilities": every}) == lines[:1]


def test_an_answer_says_which_model_and_how_many_tokens(predicting: Predicting) -> None:
    answer = predicting.start(ToyPredictor()).post("/predict", {"inputs": ["a b c", "d"]}).json()
    assert answer["model"] == "desk" and answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_a_task_of_more_than_a_text_takes_its_columns(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor("relate"))
    asked = {"text": "ann lives in rome", "head": "ann", "tail": "rome"}
    assert predictions(server, {"inputs": asked}) == [{**asked, "label": "rome", "probability": 0.333333}]
    refused = server.post("/predict", {"inputs": [asked, {"text": "ann", "head": "ann"}]})
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["param"] == "inputs[1]"
    assert "there is no tail" in error["message"] and '{"text": …, "head": …, "tail": …}' in error["message"]


def test_a_ranker_orders_texts_for_a_query(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor("rank"))
    body = {"query": "late parcel", "texts": ["an invoice", "the late parcel", {"text": "a parcel", "id": 3}]}
    lines = predictions(server, body)
    assert [line["text"] for line in lines] == ["the late parcel", "a parcel", "an invoice"]
    assert lines[1] == {"text": "a parcel", "id": 3, "score": 0.1}


def test_the_official_client_gets_vectors(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor("embed"))
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    texts = ["aaa", "b", "ab"]
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(model="desk", input=texts, encoding_format=encoding)
        assert [entry.index for entry in answer.data] == [0, 1, 2] and answer.usage.total_tokens == 3
    plain = client.embeddings.create(model="desk", input=texts)  # asks for base64 and decodes it
    wanted = [line["vector"] for line in predictions(server, {"inputs": texts})]
    assert [entry.embedding for entry in plain.data] == [pytest.approx(vector, abs=1e-7) for vector in wanted]
    alone = client.embeddings.create(model="desk", input="aaa", encoding_format="float", dimensions=2)
    assert alone.data[0].embedding == wanted[0]
    raw = server.post("/v1/embeddings", {"model": "desk", "input": "b", "encoding_format": "base64"}).json()
    assert struct.unpack("<2f", base64.b64decode(raw["data"][0]["embedding"])) == pytest.approx(wanted[1])


@pytest.mark.parametrize("task", ["rank", "embed"])
def test_documents_are_ordered(predicting: Predicting, task: str) -> None:
    server = predicting.start(ToyPredictor(task))
    body = {"model": "desk", "query": "aaa b", "documents": ["bbb", "aaa", {"text": "aaa b", "id": 1}, "aaab " * 9]}
    answer = server.post("/v1/rerank", body).json()
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True) and answer["id"].startswith("rerank-")
    assert {result["index"] for result in answer["results"]} == {0, 1, 2, 3} and answer["usage"]["total_tokens"] > 0
    assert [result.get("cut") for result in answer["results"] if result["index"] == 3] == [True]
    assert "document" not in answer["results"][0]
    first = server.post("/v1/rerank", body | {"top_n": 2, "return_documents": True}).json()["results"]
    assert len(first) == 2 and first[0]["document"]["text"].startswith("aaa")
    if task == "embed":
        assert scores[0] == 1.0 and scores[-1] == pytest.approx((4 * 1 + 1 * 4) / 17, abs=1e-6)


JSON_REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("classify", {}, 400, "inputs is missing"),
    ("classify", {"inputs": []}, 400, "at least 1 item"),
    ("classify", {"inputs": None}, 400, "inputs is missing"),
    ("classify", {"inputs": 5}, 400, "inputs: "),
    ("classify", {"inputs": ["a", 5]}, 400, "inputs[1]: an input must be a text, or an object with columns, not 5"),
    ("classify", {"inputs": ["a", None]}, 400, "inputs[1]"),
    ("classify", {"inputs": [["a"]]}, 400, "not a list"),
    ("classify", {"inputs": ["a", " \n"]}, 400, "text is empty"),
    ("classify", {"inputs": [""]}, 400, "text is empty"),
    ("classify", {"inputs": [{}]}, 400, "there is no text"),
    ("classify", {"inputs": [{"text": 5}]}, 400, "text is a int"),
    ("classify", {"inputs": ["a" * (LONGEST_INPUT + 1)]}, 400, f"the longest may have {LONGEST_INPUT}"),
    ("classify", {"inputs": ["a"] * 10_000}, 400, f"at most {MOST_INPUTS} items"),
    ("classify", {"inputs": [{"text": "a", "more": [[[[[1]]]]]}]}, 400, "nested too deeply"),
    ("classify", {"inputs": ["a"], "probabilities": "yes"}, 400, "probabilities"),
    ("classify", {"inputs": ["a"], "query": "b"}, 400, "only a ranker takes query"),
    ("classify", {"input": ["a"]}, 422, 'did you mean "inputs"?'),
    ("classify", {"inputs": ["a"], "model": "dask"}, 404, 'did you mean "desk"?'),
    ("classify", {"inputs": ["a"], "model": 5}, 400, "model"),
    ("classify", {"inputs": ["huge"]}, 400, "the question fills the context"),
    ("rank", {"inputs": ["a"]}, 400, "orders texts for a query"),
    ("rank", {"query": "a"}, 400, '"texts": ['),
    ("rank", {"query": "", "texts": ["a"]}, 400, "query: a text is empty"),
    ("rank", {"query": "a", "texts": []}, 400, "at least 1 item"),
    ("rank", {"query": "a", "texts": ["b", {"id": 1}]}, 400, "there is no text"),
]


@pytest.mark.parametrize(("task", "body", "status", "words"), JSON_REFUSALS, ids=lambda value: str(value)[:40])
def test_what_cannot_be_asked_is_refused_in_words(
    resting: Resting, task: str, body: dict[str, Any], status: int, words: str
) -> None:
    server = resting(task)
    answer = server.post("/predict", body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert words in error["message"] and error["type"] == "invalid_request_error" and error["code"]
    wait_for_places(server, 0, 0)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/embeddings", {"input": "a"}, "model is missing"),
        ("/v1/embeddings", {"model": "desk", "input": []}, "at least 1 item"),
        ("/v1/embeddings", {"model": "desk", "input": [1, 2]}, "another tokenizer's"),
        ("/v1/embeddings", {"model": "desk", "input": [[1], [2]]}, "another tokenizer's"),
        ("/v1/embeddings", {"model": "desk", "input": ["a", ""]}, "input[1]: a text is empty"),
        ("/v1/embeddings", {"model": "desk", "input": ["a", 5]}, "input[1]: must be a text, not 5"),
        ("/v1/embeddings", {"model": "desk", "input": "a", "dimensions": 5}, "vectors of this model have 2"),
        ("/v1/embeddings", {"model": "desk", "input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("/v1/embeddings", {"model": "desk", "input": ["a", "a " * 9]}, "POST /predict reads its beginning"),
        ("/v1/rerank", {"model": "desk", "documents": ["a"]}, "query is missing"),
        ("/v1/rerank", {"model": "desk", "query": "a", "documents": []}, "at least 1 item"),
        ("/v1/rerank", {"model": "desk", "query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"model": "desk", "query": "a " * 9, "documents": ["a"]}, "query is longer"),
        ("/v1/rerank", {"model": "desk", "query": "a", "documents": ["a"], "max_tokens_per_doc": 9}, "not supported"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_the_other_shapes_refuse(resting: Resting, path: str, body: dict[str, Any], words: str) -> None:
    answer = resting("embed").post(path, body)
    assert answer.status_code == 400 and words in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize(
    "raw",
    [
        b'{"inputs": ["a\\ud800"]}',
        b'{"inputs": [{"text": "a", "\\udc00": 1}]}',
        b'{"inputs": [{"text": "a", "b": ["\\ud800"]}]}',
        b'{"inputs": [{"text": "a", "b": ' + b"[" * 900 + b"]" * 900 + b"}]}",
        b'{"inputs": [NaN]}',
        b'{"inputs": ["a"]',
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_damaged_bodies_are_refused(resting: Resting, raw: bytes) -> None:
    server = resting("classify")
    answer = httpx.post(server.url + "/predict", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert predictions(server, {"inputs": "fine"})[0]["label"] == "fine"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
questions = st.lists(st.text(min_size=1) | st.dictionaries(st.sampled_from(["text", "head", "id"]), anything))
body_fields = st.sampled_from([*PredictBody.model_fields, *EmbeddingsBody.model_fields, *RerankBody.model_fields])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(body_fields | st.text(max_size=5), anything | questions, max_size=6))
def test_no_body_is_our_fault(body: dict[str, Any]) -> None:
    raw = json.dumps({"model": "m", "query": "a", "documents": ["a"], "input": "a"} | body).encode()
    for kind in (PredictBody, EmbeddingsBody, RerankBody):
        try:
            json.dumps(read_body(kind, raw).model_dump(), ensure_ascii=False).encode()
        except ApiError as error:
            assert error.status in (400, 422) and json.loads(error.json())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(anything | questions)
def test_no_question_is_our_fault(resting: Resting, asked: Any) -> None:
    for task, body in (("relate", {"inputs": asked}), ("rank", {"query": "a", "texts": asked})):
        answer = resting(task).post("/predict", body)
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 200 or answer.json()["error"]["message"]


def test_a_body_too_large_is_not_read(resting: Resting) -> None:
    answer = resting("classify").post("/predict", {"inputs": ["a" * 60_000] * 50})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("task", "path", "able"),
    [
        ("classify", "/v1/chat/completions", "use POST /predict"),
        ("classify", "/v1/completions", "use POST /predict"),
        ("classify", "/v1/embeddings", "use POST /predict"),
        ("rank", "/v1/embeddings", "use POST /predict or /v1/rerank"),
        ("embed", "/v1/chat/completions", "use POST /predict or /v1/embeddings or /v1/rerank"),
    ],
)
def test_an_address_for_other_models_says_what_this_one_does(resting: Resting, task: str, path: str, able: str) -> None:
    server = resting(task)
    answer = server.post(path, {"model": "desk"})
    error = answer.json()["error"]
    assert answer.status_code == 404 and error["code"] == "unsupported_route"
    assert "desk is a" in error["message"] and error["message"].endswith(able)
    with pytest.raises(openai.NotFoundError, match="is not answered here"):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        client.completions.create(model="desk", prompt="hello")


def test_clients_at_once_get_their_own_answers_from_shared_batches(predicting: Predicting) -> None:
    toy = ToyPredictor(at_once=8)
    server = predicting.start(toy, settings=Serve(slots=16, queue=64))
    toy.open.clear()

    def ask(number: int) -> list[str]:
        inputs = [f"client {number}-{place}" for place in range(number % 5 + 1)]
        lines = predictions(server, {"inputs": inputs})
        assert [line["text"] for line in lines] == inputs
        return [line["label"] for line in lines]

    with ThreadPoolExecutor(40) as pool:
        answers = pool.map(ask, range(40))
        wait_for_places(server, 16, 24)
        toy.open.set()
        for number, labels in enumerate(answers):
            assert labels == [f"{number}-{place}" for place in range(number % 5 + 1)]
    assert max(len({text.split("-")[0] for text in batch}) for batch in toy.batches) > 1
    assert sum(map(len, toy.batches)) == sum(number % 5 + 1 for number in range(40))


def test_more_than_the_queue_holds_is_turned_away(predicting: Predicting) -> None:
    toy = ToyPredictor()
    server = predicting.start(toy, settings=Serve(slots=1, queue=1))
    toy.open.clear()
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(predictions, server, {"inputs": ["a"]}) for _ in range(2)]
        wait_for_places(server, 1, 1)
        refused = server.post("/predict", {"inputs": ["a"]})
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert httpx.get(server.url + "/ready").status_code == 200
        toy.open.set()
        assert [each.result()[0]["label"] for each in held] == ["a", "a"]
    wait_for_places(server, 0, 0)


def test_past_the_deadline_and_for_nobody_nothing_more_is_computed(predicting: Predicting) -> None:
    toy = ToyPredictor()
    server = predicting.start(toy, settings=Serve(deadline_seconds=0.3))
    toy.open.clear()
    late = server.post("/predict", {"inputs": [f"a {number}" for number in range(100)]})
    assert late.status_code == 504 and late.json()["error"]["code"] == "deadline_exceeded"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url + "/predict", json={"inputs": ["b"] * 100}, timeout=httpx.Timeout(60, read=0.1))
    wait_for_places(server, 0, 0)
    toy.open.set()
    assert predictions(server, {"inputs": "c"})[0]["label"] == "c"
    assert sum(map(len, toy.batches)) <= 2 * toy.at_once + 1


def test_a_fault_ends_one_request_and_says_nothing_of_its_text(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor())
    broken = server.post("/predict", {"inputs": ["planted-text", "planted-text bad"]})
    assert broken.status_code == 500 and broken.json()["error"]["code"] == "internal_error"
    assert predictions(server, {"inputs": "planted-text"})[0]["label"] == "planted-text"
    server.post("/predict", {"inputs": ["planted-text huge"]})
    server.wait_for_line(4)
    assert "planted" not in "\n".join(server.lines) and "ZeroDivisionError" in server.lines[0]
    assert server.lines[2].startswith("POST /predict 200 tokens=1+0 seconds=")
    assert server.lines[2].endswith("lineage=abc123def456 key=-")


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Bearer {KEY}x"])
def test_every_address_needs_the_key(predicting: Predicting, authorization: str | None) -> None:
    server = predicting.start(ToyPredictor("embed"), key_sha256=hashlib.sha256(KEY.encode()).hexdigest())
    closed = closed_routes(server.app)
    assert {("POST", "/predict"), ("POST", "/v1/embeddings"), ("POST", "/v1/rerank")} <= set(closed)
    headers = {"Authorization": authorization} if authorization else {}
    for method, path in [*closed, ("GET", "/")]:
        assert httpx.request(method, server.url + path, headers=headers).status_code == 401, (method, path)
    server.headers["Authorization"] = f"Bearer {KEY}"
    assert predictions(server, {"inputs": "a"})
    assert httpx.get(server.url + "/health").status_code == 200


def test_the_model_is_listed_and_there_is_no_chat_page(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor())
    (listed,) = httpx.get(server.url + "/v1/models").json()["data"]
    assert (listed["id"], listed["ready"], listed["context"]) == ("desk", True, 8)
    assert httpx.get(server.url + "/ready").json()["models"] == {"desk": "ready"}
    about = httpx.get(server.url + "/").json()
    assert about["does"].startswith("a classifier") and about["post_to"] == ["/predict"]
    assert server.post("/predict", about["example"]).json()["predictions"][0]["label"] == "…"
    assert httpx.get(server.url + "/predict").status_code == 405
    server.engine.close()
    assert httpx.get(server.url + "/ready").status_code == 503
    down = server.post("/predict", {"inputs": "a"})
    assert down.status_code == 503 and down.json()["error"]["code"] == "engine_down"


def test_vectors_have_length_one(predicting: Predicting) -> None:
    (line,) = predictions(predicting.start(ToyPredictor("embed")), {"inputs": "aab"})
    assert math.hypot(*line["vector"]) == pytest.approx(1.0, abs=1e-5)
