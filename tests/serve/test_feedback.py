"""Answers that are kept and rated over HTTP: whose they are, what is refused, and that no text stands in the clear."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from setsail.base.recipe import Serve
from setsail.serve.app import build_app
from setsail.serve.client import Client, ClientError
from setsail.serve.feedback.folder import Account, Folder
from setsail.serve.feedback.ids import AnswerIds
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.feedback.record import Answered, Rated, from_json
from setsail.serve.keys import add_key
from setsail.serve.predictors import ServedPredictor

from .conftest import LEAD, Predicting, Running, StartServer, chat_body, listening
from .toy_predictors import ToyPredictor

KEY = AnswersKey(bytes(range(32)))
PROMPT = "planted-prompt 植入"


class Kept:
    """A log of answers in a folder, and what stands in it."""

    def __init__(self, path: Path, mask: Callable[[Any], Any] = lambda record: record) -> None:
        self.folder = Folder(path, KEY)
        self.lines: list[str] = []
        self.log = AnswerLog(self.folder, days=30, mask=mask, log=self.lines.append)

    def records(self) -> list[Any]:
        """All of them, once the log is closed."""
        self.log.close()
        return [from_json(value) for _, value in self.folder.records(Account())]

    def serve(self, running: Running, settings: Serve | None = None) -> Any:
        """The same models behind a server that keeps answers."""
        served = {name: model.served for name, model in running.service.models.items()}
        return build_app(served, settings or Serve(), api_key_sha256=None, log=running.lines.append, answers=self.log)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(tmp_path / "answers")
    yield one
    one.log.close()


def rate(url: str, answer_id: str, rating: str = "down", *, headers: dict[str, str] | None = None, **more: Any) -> Any:
    body = {"id": answer_id, "rating": rating, **more}
    return httpx.post(url + "/v1/feedback", json=body, headers=headers or {})


def streamed(text: str) -> tuple[str, str]:
    """The id and the text of a stream of events."""
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice.get("delta", choice) for e in events for choice in e["choices"]]
    return events[0]["id"], "".join(delta.get("content") or delta.get("text") or "" for delta in deltas)


def test_each_finished_answer_is_kept_as_it_was_given_and_can_be_rated(start_server: StartServer, kept: Kept) -> None:
    server = start_server()
    with listening(kept.serve(server)) as url:
        whole = httpx.post(url + "/v1/chat/completions", json=chat_body(PROMPT)).json()
        id_streamed, text = streamed(httpx.post(url + "/v1/chat/completions", json=chat_body("b", stream=True)).text)
        cut = httpx.post(url + "/v1/completions", json={"model": "support", "prompt": "abcdef", "max_tokens": 3}).json()
        by_ids = {"model": "support", "prompt": [97, 98], "stream": True}
        id_plain, plain = streamed(httpx.post(url + "/v1/completions", json=by_ids).text)
        lines = httpx.post(url + "/predict", json={"inputs": ["one", "two"]}).json()
        assert httpx.post(url + "/v1/chat/completions", json=chat_body("x" * 9000)).status_code == 400
        assert rate(url, whole["id"], "up").json() == {"object": "feedback", "id": whole["id"], "rating": "up"}
        assert rate(url, f"{lines['id']}-1", correction="zwei", comment="语言不对").status_code == 200
        figures = httpx.get(url + "/metrics").text
    assert 'setsail_answers_total{outcome="kept"} 8.0' in figures
    records = kept.records()
    answers = {record.id: record for record in records if isinstance(record, Answered)}
    ids = [whole["id"], id_streamed, cut["id"], id_plain, f"{lines['id']}-0", f"{lines['id']}-1"]
    assert set(answers) == set(ids)
    first = answers[whole["id"]]
    assert first.asked == {"messages": [{"role": "user", "content": PROMPT}]}
    assert first.said == {"content": whole["choices"][0]["message"]["content"]} and first.finish_reason == "stop"
    assert (first.model, first.lineage, first.task, first.key) == ("support", "abc123def456", "chat", "")
    assert answers[id_streamed].said == {"content": text} and text.startswith(LEAD)
    assert answers[cut["id"]].finish_reason == "length" and answers[cut["id"]].asked == {"prompt": "abcdef"}
    assert answers[id_plain].said == {"content": plain} and len(answers[id_plain].asked["prompt"]) == 2
    written = [answers[f"{lines['id']}-{number}"] for number in range(2)]
    assert [line.asked for line in written] == [{"text": "one"}, {"text": "two"}]
    assert [line.said for line in written] == [{"output": line["output"]} for line in lines["predictions"]]
    ratings = [record for record in records if isinstance(record, Rated)]
    assert [(r.id, r.rating, r.correction, r.comment) for r in ratings] == [
        (whole["id"], "up", "", ""),
        (f"{lines['id']}-1", "down", "zwei", "语言不对"),
    ]


def test_no_text_and_no_key_is_written_in_the_clear(start_server: StartServer, kept: Kept, tmp_path: Path) -> None:
    server = start_server()
    with listening(kept.serve(server, Serve(audit=str(tmp_path / "audit.jsonl")))) as url:
        answer = httpx.post(url + "/v1/chat/completions", json=chat_body(PROMPT)).json()
        rate(url, answer["id"], correction=PROMPT, comment=PROMPT)
    said = answer["choices"][0]["message"]["content"].encode()
    kept.log.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".sealed" for path in files) == 1
    for path in files:
        raw = path.read_bytes()
        for planted in (b"planted", "植入".encode(), b"\\u690d", said[:20], KEY.secret, KEY.secret.hex().encode()):
            assert planted not in raw, path
    assert "planted" not in "".join([*server.lines, *kept.lines])
    assert all(path.stat().st_mode & 0o077 == 0 for path in files if path.suffix == ".sealed")


def test_a_key_rates_its_own_answers_alone(start_server: StartServer, kept: Kept, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secrets = {name: add_key(keys, name, scopes=[scope]) for name, scope in (("shop", "generate"), ("x", "embed"))}
    secrets["desk"] = add_key(keys, "desk", tokens_per_day=1)
    headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
    with listening(kept.serve(start_server(), Serve(keys=str(keys)))) as url:
        answers = {
            name: httpx.post(url + "/v1/chat/completions", json=chat_body(), headers=headers[name]).json()["id"]
            for name in ("shop", "desk")
        }
        assert rate(url, answers["shop"], headers=headers["shop"]).status_code == 200
        foreign = rate(url, answers["desk"], headers=headers["shop"])
        unknown = rate(url, "chatcmpl-" + "0" * 48, headers=headers["shop"])
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["error"]["code"] == unknown.json()["error"]["code"] == "unknown_answer"
        assert foreign.json()["error"]["message"].replace(answers["desk"], "") == unknown.json()["error"][
            "message"
        ].replace("chatcmpl-" + "0" * 48, "")
        assert rate(url, answers["shop"]).status_code == 401
        assert rate(url, answers["shop"], headers=headers["x"]).json()["error"]["code"] == "wrong_scope"
        assert rate(url, answers["desk"], headers=headers["desk"]).status_code == 200, "a rating spends no tokens"
    assert {record.key for record in kept.records() if isinstance(record, Answered)} == {"shop", "desk"}


def test_our_own_client_rates(start_server: StartServer, kept: Kept) -> None:
    with listening(kept.serve(start_server())) as url, Client(url) as client:
        chatted = client.chat([{"role": "user", "content": "a"}], model="support")
        completed = client.complete("a", model="support")
        client.rate(chatted.id, "up")
        client.rate(completed.id, "down", correction="更好")
        with pytest.raises(ClientError, match="no answer"):
            client.rate(chatted.id[:-1], "up")
    rated = [(record.id, record.correction) for record in kept.records() if isinstance(record, Rated)]
    assert rated == [(chatted.id, ""), (completed.id, "更好")]


def test_what_is_no_rating_is_refused(start_server: StartServer, kept: Kept) -> None:
    server = start_server()
    with listening(kept.serve(server)) as url:
        whole = httpx.post(url + "/v1/chat/completions", json=chat_body()).json()["id"]
        lines = httpx.post(url + "/predict", json={"inputs": ["one"]}).json()["id"]
        for answer_id in (whole + "-0", lines, lines + "-1", lines + "-99999", whole[:-1], "x", whole.upper()):
            refused = rate(url, answer_id)
            assert (refused.status_code, refused.json()["error"]["param"]) == (404, "id"), answer_id
        assert "its lines are predict-…-0 to -0" in rate(url, lines).json()["error"]["message"]
        assert rate(url, whole, "bad").status_code == 400
        assert rate(url, whole, correction=" ").status_code == 400
        assert rate(url, whole, correction="x" * 65_537).status_code == 400
        assert rate(url, whole, text="x").json()["error"]["code"] == "unknown_field"
        raw = b'{"id": "%s", "rating": "up", "comment": "\\ud800"}' % whole.encode()
        sent = httpx.post(url + "/v1/feedback", content=raw, headers={"Content-Type": "application/json"})
        assert sent.status_code == 400
    assert server.post("/v1/feedback", {"id": whole, "rating": "up"}).json()["error"]["code"] == "no_answer_log"
    assert not [record for record in kept.records() if isinstance(record, Rated)]


def test_ids_are_known_again_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = AnswerIds.under(KEY, days=1)
    answer_id = ids.new("chatcmpl", "shop")
    AnswerIds.under(KEY, days=1).check(answer_id, "shop")
    assert len({ids.new("chatcmpl", "shop") for _ in range(100)}) == 100
    with pytest.raises(Exception, match="no answer"):
        AnswerIds.under(AnswersKey(bytes(32)), days=1).check(answer_id, "shop")
    with pytest.raises(Exception, match="no answer"):
        ids.check(answer_id.replace("chatcmpl", "cmpl"), "shop")
    later = __import__("time").time() + 3 * 86_400
    monkeypatch.setattr("setsail.serve.feedback.ids.time.time", lambda: later)
    with pytest.raises(Exception, match="older than 1 days"):
        ids.check(answer_id, "shop")


def test_an_answer_goes_out_when_the_disk_refuses_it(start_server: StartServer, kept: Kept) -> None:
    kept.folder.path.rmdir()
    with listening(kept.serve(start_server())) as url:
        answer = httpx.post(url + "/v1/chat/completions", json=chat_body())
        assert answer.status_code == 200
        refused = rate(url, answer.json()["id"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_kept")
        assert 'setsail_answers_total{outcome="lost"} 2.0' in httpx.get(url + "/metrics").text
    assert kept.lines[0].startswith("old answers are not deleted: input error: there is no log of answers")
    assert kept.lines[1].startswith("1 answers or ratings are not kept: No such file or directory")


def test_what_holds_personal_data_may_be_left_out(start_server: StartServer, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "answers", mask=lambda record: None)
    with listening(kept.serve(start_server())) as url:
        answer = httpx.post(url + "/v1/chat/completions", json=chat_body()).json()
        refused = rate(url, answer["id"], correction="Ann Miller")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "personal_data")
    assert kept.records() == [] and kept.log.num_left_out == 2


@pytest.mark.parametrize("task", ["classify", "rank", "embed", "relate"])
def test_predictions_of_every_kind_are_kept_line_by_line(task: str, predicting: Predicting, kept: Kept) -> None:
    server = predicting.start(ToyPredictor(task))
    body: dict[str, Any] = {"inputs": [{"text": "a parcel", "ticket": "planted"}, "b refund"]}
    if task == "rank":
        body = {"query": "late parcel", "texts": ["login app", "the late parcel"]}
    if task == "relate":
        body = {"inputs": [{"text": "Ann in Rome", "head": "Ann", "tail": "Rome", "ticket": "planted"}]}
    with listening(kept.serve(server)) as url:
        answer = httpx.post(url + "/predict", json={**body, "probabilities": True}).json()
        assert rate(url, f"{answer['id']}-0").status_code == 200
        assert httpx.post(url + "/predict", json=body).json()["id"] != answer["id"]
    served = server.service.models["desk"].served
    assert isinstance(served, ServedPredictor)
    records = {record.id: record for record in kept.records() if isinstance(record, Answered)}
    for number, line in enumerate(answer["predictions"]):
        record = records[f"{answer['id']}-{number}"]
        assert record.task == task and "ticket" not in record.asked
        assert not {"probabilities", "vector"} & record.said.keys()
        assert record.said.items() <= line.items()
        assert record.asked["text"] == line["text"] and record.asked.get("query") == body.get("query")
