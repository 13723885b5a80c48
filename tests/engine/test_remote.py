"""The remote engine against real servers, fakes of others' habits, and a hostile one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serve.conftest import make_tokenizer, starter
from tokenizers import Tokenizer as Backend
from xllamacpp.xllamacpp import CommonParams
from xllamacpp.xllamacpp import Server as LlamaCpp

from setsail.base.errors import ModelError, SystemRefusal, UserError
from setsail.base.recipe import Serve
from setsail.base.recipe_data import Server
from setsail.engine import EngineProcess, Finished, GenerationRequest, Token, generate_all, remote, remote_web
from setsail.engine.contract import Event, Special
from setsail.engine.event_stream import MOST_LINE_BYTES
from setsail.engine.remote import RemoteEngine

from .conftest import CONTEXT, TEMPLATE
from .far_server import KEY, Answers, FarServer, Json

PROMPT = tuple(b"abc")
Open = Callable[..., RemoteEngine]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tokenizer(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarServer]:
    from setsail.tokens.tokenizer import load

    monkeypatch.setenv("FAR_KEY", KEY)
    with FarServer(load(folder)).listening() as server:
        yield server


@pytest.fixture
def opened(far: FarServer, folder: Path) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def start(*, slots: int = 4, grammars: bool = False, **said: Any) -> RemoteEngine:
            server = Server(**{"url": far.url, "model": "desk", "key_env": "FAR_KEY", **said})
            engine = remote.open_engine(folder, server=server, context=CONTEXT, slots=slots, grammars=grammars)
            stack.callback(engine.close)
            far.bodies.clear()
            far.paths.clear()
            return engine

        yield start


def events_of(engine: RemoteEngine, *requests: GenerationRequest) -> list[list[Token | Finished]]:
    """What comes of each request, all sent at once."""
    found: list[list[Token | Finished]] = [[] for _ in requests]
    for index, request in enumerate(requests):
        engine.submit(index, request)
    while not all(each and isinstance(each[-1], Finished) for each in found):
        for index, event in engine.poll(0.05):
            found[index].append(event)
    return found


def end_of(engine: RemoteEngine, request: GenerationRequest | None = None) -> Finished:
    (events,) = events_of(engine, request or GenerationRequest(PROMPT, 8))
    assert isinstance(events[-1], Finished)
    return events[-1]


# Byte-level ids are not bytes: this maps a text to ids as the tokenizer of the fixture does.
def encoded(far: FarServer, text: str) -> tuple[int, ...]:
    return tuple(far.tokenizer.encode(text))


def test_a_server_as_vllm_is_sent_ids_and_gives_ids_back(far: FarServer, opened: Open) -> None:
    engine = opened()
    assert engine.context == 200  # what the server's model has is less than ours
    assert engine.note == "it reads our token ids, and gives back its own"
    request = GenerationRequest(encoded(far, "abc"), 8, 0.7, 0.9, seed=2**32 - 1, stop_ids=(256,))
    (events,) = events_of(engine, request)
    assert events == [*map(Token, encoded(far, "cba")), Finished("stop")]
    (body,) = far.bodies
    assert body["prompt"] == list(request.prompt_ids) and body["stop_token_ids"] == [256]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 8)
    assert body["seed"] < 2**31 and (body["top_k"], body["min_p"]) == (-1, 0.0)


def test_the_stop_token_ends_an_answer_and_is_no_part_of_it(far: FarServer, opened: Open) -> None:
    engine = opened()
    c, b, a = encoded(far, "cba")
    (events,) = events_of(engine, GenerationRequest((a, b, c), 8, stop_ids=(b,)))
    assert events == [Token(c), Finished("stop")]


def test_an_end_token_that_the_server_tells_is_dropped(far: FarServer, opened: Open) -> None:
    engine = opened()
    eos = far.tokenizer.special_tokens["<|end|>"]

    def trick(answers: Answers, body: Json) -> None:
        answers.begin()
        answers.event(
            {"choices": [{"text": "a", "token_ids": [64, eos], "finish_reason": "stop", "stop_reason": None}]}
        )
        answers.raw(b"data: [DONE]\n\n")

    far.trick = trick
    assert events_of(engine, GenerationRequest((1,), 8)) == [[Token(64), Finished("stop")]]


def test_probabilities_come_by_ids(far: FarServer, opened: Open) -> None:
    request = GenerationRequest(encoded(far, "ab"), 8, num_logprobs=2)
    (events,) = events_of(opened(), request)
    b, a = encoded(far, "ba")
    assert events[0] == Token(b, -0.5, ((b, -0.5), (9, -1.5))) and isinstance(events[1], Token)
    assert events[1].token_id == a


def test_a_server_that_refuses_other_fields_is_asked_without_them(far: FarServer, opened: Open) -> None:
    far.takes_more = False
    engine = opened()
    assert events_of(engine, GenerationRequest(encoded(far, "abc"), 2))[0][-1] == Finished("length")
    assert set(far.bodies[0]) == {
        "model", "prompt", "max_tokens", "temperature", "top_p", "stream", "return_token_ids",
    }  # fmt: skip


def test_text_alone_is_read_back_into_ids(far: FarServer, opened: Open) -> None:
    far.gives_ids = False
    engine = opened()
    assert engine.note == "it reads our token ids, and its text is read back into ids by our tokenizer"
    request = GenerationRequest(encoded(far, "héllo"), 30)
    (events,) = events_of(engine, request)
    got = [event.token_id for event in events if isinstance(event, Token)]
    # Each byte came as text of its own, so that half a character is lost; all others are exact.
    assert far.tokenizer.decode(got).replace("\ufffd", "") == "ollh" and events[-1] == Finished("stop")


def test_a_server_that_refuses_ids_is_sent_the_rendered_text_and_says_so(far: FarServer, opened: Open) -> None:
    far.takes_ids = far.gives_ids = False
    engine = opened()
    assert engine.note.startswith("it refuses token ids and reads our rendered text as a completion, as many tokens")
    (events,) = events_of(engine, GenerationRequest(encoded(far, "<|end|>abc"), 3, stop_ids=(256,)))
    assert [event.token_id for event in events if isinstance(event, Token)] == list(encoded(far, "cba"))
    assert far.bodies[0]["prompt"] == "<|end|>abc" and far.bodies[0]["stop"] == ["<|end|>"]


def test_as_text_a_client_cannot_write_control_tokens(far: FarServer, opened: Open) -> None:
    far.takes_ids = False
    engine = opened()
    spelled = encoded(far, "<|en") + encoded(far, "d|>")
    with pytest.raises(UserError, match="would be another one as text"):
        engine.submit(1, GenerationRequest(spelled, 3))


def test_ollama_is_asked_for_the_raw_prompt(far: FarServer, opened: Open) -> None:
    far.takes_ids, far.is_ollama, far.own_template = False, True, 7
    far.models = [{"id": "desk:latest"}]
    engine = opened()
    assert engine.note.startswith("it refuses token ids and reads our rendered text, as many tokens as ours")
    (events,) = events_of(engine, GenerationRequest(encoded(far, "abc"), 2, seed=5))
    assert events == [*map(Token, encoded(far, "cb")), Finished("length")]
    assert far.paths == ["/api/generate"] and far.bodies[0]["options"]["num_ctx"] == CONTEXT
    assert far.bodies[0]["options"]["repeat_penalty"] == 1.0 and far.bodies[0]["options"]["seed"] == 5


def test_a_server_that_reads_the_prompt_otherwise_is_refused(far: FarServer, opened: Open) -> None:
    far.own_template = 7
    with pytest.raises(ModelError, match=r"it reads \d+ tokens where we send \d+"):
        opened()


def test_a_server_that_does_not_count_is_taken_at_its_word(far: FarServer, opened: Open) -> None:
    far.takes_ids, far.counts = False, False
    assert "it does not count the tokens that it reads" in opened().note


def test_an_unknown_model_is_told_with_those_there_are(far: FarServer, opened: Open) -> None:
    with pytest.raises(UserError, match="no model dsk") as told:
        opened(model="dsk")
    assert told.value.hint == 'did you mean "desk"?'


def test_the_key_is_needed_and_never_told(far: FarServer, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="it wants a key, and none is named"):
        opened(key_env=None)
    monkeypatch.setenv("OTHER_KEY", "sk-not-this-one")
    with pytest.raises(UserError, match="it refuses the key") as told:
        opened(key_env="OTHER_KEY")
    assert "sk-not-this-one" not in str(told.value)
    with pytest.raises(UserError, match="NO_SUCH_KEY is empty"):
        opened(key_env="NO_SUCH_KEY")


def test_nobody_there_is_told_at_once(folder: Path) -> None:
    with pytest.raises(SystemRefusal, match="no connection: Connection refused"):
        remote.open_engine(folder, server=Server(url="http://127.0.0.1:9", model="desk"), context=64, slots=1)


def test_a_server_that_loads_is_waited_for(far: FarServer, opened: Open) -> None:
    asked: list[int] = []

    def trick(answers: Answers, body: Json) -> None:
        asked.append(1)
        if len(asked) > 1:
            far.trick = None
        answers.whole(503, {"error": {"message": "Loading model"}})

    far.trick = trick
    assert opened().context == 200 and len(asked) == 2


def test_many_are_asked_at_once_and_no_more_than_slots(far: FarServer, opened: Open) -> None:
    running, most = [], []

    def trick(answers: Answers, body: Json) -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        answers._complete(body)

    engine = opened(slots=4)
    far.trick = trick
    ends = events_of(engine, *(GenerationRequest((i + 1,), 4) for i in range(12)))
    assert [events[0] for events in ends] == [Token(i + 1) for i in range(12)]
    assert max(most) == 4


def test_a_busy_server_is_asked_again(far: FarServer, opened: Open) -> None:
    engine, seen = opened(), []

    def trick(answers: Answers, body: Json) -> None:
        seen.append(time.monotonic())
        if len(seen) == 3:
            far.trick = None
        answers.whole(429, {"error": {"message": "queue full"}}, Retry_After="0")

    far.trick = trick
    assert end_of(engine) == Finished("stop") and len(seen) == 3


@pytest.mark.parametrize(
    ("status", "retry_after", "told"),
    [
        (500, None, "it answered with status 500: no sk: …"),
        (502, None, "status 502"),
        (401, None, "it refuses the key (status 401"),
        (302, None, "status 302"),
        (429, "99999", "status 429"),  # nobody waits for a day
    ],
)
def test_a_refusal_is_the_end_of_one_request(
    far: FarServer, opened: Open, status: int, retry_after: str | None, told: str
) -> None:
    engine = opened()
    headers = {"Retry_After": retry_after} if retry_after else {}
    far.trick = lambda answers, body: answers.whole(status, {"error": {"message": f"no sk: {KEY}\r\n"}}, **headers)
    end = end_of(engine)
    assert end.reason == "error" and told in end.message and KEY not in end.message
    far.trick = None
    assert end_of(engine) == Finished("stop")


def _events(*payloads: object, then: bytes = b"") -> Callable[[Answers, Json], None]:
    def trick(answers: Answers, body: Json) -> None:
        answers.begin()
        for payload in payloads:
            answers.event(payload)
        answers.raw(then)

    return trick


def _choice(**said: object) -> Json:
    return {"choices": [{"text": "a", "token_ids": [64], "finish_reason": None, **said}]}


HOSTILE = {
    "breaks off": (_events(_choice()), "the answer broke off"),
    "done without an end": (_events(_choice(), then=b"data: [DONE]\n\n"), "the answer broke off"),
    "nothing": (_events(), "the answer broke off"),
    "not JSON": (_events(then=b"data: {nope\n\n"), "not JSON"),
    "not an object": (_events([1, 2]), "JSON that is not an object"),
    "deep": (_events(then=b"data: " + b"[" * 100_000 + b"\n\n"), "not JSON"),
    "a huge line": (_events(then=b"data: " + b"x" * (MOST_LINE_BYTES + 10)), "a line of more than"),
    "a huge line that ends": (_events(then=b"data: " + b"x" * (MOST_LINE_BYTES + 10) + b"\n"), "a line of more than"),
    "choices of another shape": (_events({"choices": {"a": 1}}), "another shape"),
    "a choice that is none": (_events({"choices": ["a"]}), "another shape"),
    "a second answer": (_events(_choice(index=1)), "another shape"),
    "text that is none": (_events(_choice(text=7)), "whose text is no text"),
    "ids that are none": (_events(_choice(token_ids=["64"])), "token ids are not this model's"),
    "ids of another model": (_events(_choice(token_ids=[10**6])), "token ids are not this model's"),
    "ids below zero": (_events(_choice(token_ids=[-1])), "token ids are not this model's"),
    "ids that are truths": (_events(_choice(token_ids=[True])), "token ids are not this model's"),
    "text without ids": (_events(_choice(token_ids=None)), "token ids are not this model's"),
    "an error in the stream": (
        _events(_choice(), {"error": {"message": f"out of memory {KEY}"}}),
        "it gave up: out of",
    ),
    "a strange end": (_events(_choice(finish_reason="content_filter")), "for another reason: 'content_filter'"),
    "an end that is none": (_events(_choice(finish_reason=[1])), "for another reason"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_the_end_of_one_request(far: FarServer, opened: Open, name: str) -> None:
    engine = opened()
    far.trick, told = HOSTILE[name]
    end = end_of(engine)
    assert end.reason == "error" and told in end.message and KEY not in end.message
    far.trick = None
    assert end_of(engine) == Finished("stop")


@pytest.mark.parametrize(
    "logprobs",
    [
        {"tokens": ["a"], "token_logprobs": ["x"], "top_logprobs": [{"a": float("nan")}]},
        {"content": [{"id": 64, "logprob": float("inf"), "top_logprobs": []}]},
        [1, 2],
    ],
)
def test_probabilities_that_are_no_numbers_are_left_out(far: FarServer, opened: Open, logprobs: object) -> None:
    engine = opened()
    far.trick = _events(_choice(logprobs=logprobs, finish_reason="length"))
    assert events_of(engine, GenerationRequest((1,), 4, num_logprobs=1)) == [[Token(64), Finished("length")]]


@pytest.mark.parametrize("logprobs", [{"content": [7]}, {"content": [{"top_logprobs": 7}]}, {"token_logprobs": 7}])
def test_probabilities_of_another_shape_are_an_error(far: FarServer, opened: Open, logprobs: object) -> None:
    engine = opened()
    far.trick = _events(_choice(logprobs=logprobs))
    assert "another shape" in end_of(engine, GenerationRequest((1,), 4, num_logprobs=1)).message


def test_a_server_that_never_ends_is_left(far: FarServer, opened: Open) -> None:
    engine = opened()

    def trick(answers: Answers, body: Json) -> None:
        answers.begin()
        while True:
            answers.event(_choice(token_ids=[64, 65]))

    far.trick = trick
    (events,) = events_of(engine, GenerationRequest((1,), 5))
    assert events == [*map(Token, (64, 65, 64, 65, 64)), Finished("length")]
    _wait_for(lambda: far.gone)


def test_a_silent_server_is_a_deadline(far: FarServer, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_web, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(remote_web.Web.__init__, "__kwdefaults__", {"key": None, "silent_seconds": 0.3})
    engine = opened()

    def trick(answers: Answers, body: Json) -> None:
        answers.begin()
        answers.event(_choice())
        time.sleep(1.0)

    far.trick = trick
    (events,) = events_of(engine, GenerationRequest((1,), 5))
    assert events[0] == Token(64)
    assert isinstance(events[1], Finished) and "it said nothing for 0.3 s" in events[1].message


def test_a_slow_drip_has_an_end(far: FarServer, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.3)
    engine = opened()

    def trick(answers: Answers, body: Json) -> None:
        answers.begin()
        while True:
            answers.raw(b": still here\n\n")
            time.sleep(0.02)

    far.trick = trick
    assert "no end after 0.3 s" in end_of(engine).message
    _wait_for(lambda: far.gone)


def test_cancelling_closes_the_connection(far: FarServer, opened: Open) -> None:
    engine = opened(slots=1)

    def trick(answers: Answers, body: Json) -> None:
        if body["prompt"] == [1]:
            answers.begin()
            while True:
                answers.raw(b": thinking\n\n")
                time.sleep(0.02)
        answers._complete(body)

    far.trick = trick
    engine.submit(1, GenerationRequest((1,), 5))
    engine.submit(2, GenerationRequest((2,), 5))
    _wait_for(lambda: engine.poll(0.02) == [] and far.bodies)
    assert not far.gone
    engine.cancel(1)
    found: list[Event] = []
    _wait_for(lambda: found.extend(engine.poll(0.02)) or len(found) == 3)
    assert found == [(1, Finished("cancelled")), (2, Token(2)), (2, Finished("stop"))]
    _wait_for(lambda: far.gone)


def test_a_grammar_is_refused_where_the_server_ignores_it(far: FarServer, opened: Open) -> None:
    engine = opened(grammars=True)
    assert not engine.takes_grammars
    with pytest.raises(UserError, match="takes no grammar"):
        engine.submit(1, GenerationRequest((1,), 5, grammar='root ::= "x"'))


def test_a_dead_server_is_no_sign_of_life(folder: Path, monkeypatch: pytest.MonkeyPatch, far: FarServer) -> None:
    server = Server(url=far.url, model="desk", key_env="FAR_KEY")
    with EngineProcess("remote", folder, CONTEXT, 4, special=Special(server=server)) as engine:
        assert engine.note.startswith("it reads our token ids") and engine.context == 200
        assert engine.probe(5.0)
        far.trick = lambda answers, body: answers.whole(500, {})
        assert not engine.probe(0.5)
        far.trick = None
        assert engine.probe(5.0) and engine.state == "ready"


def test_our_own_server_answers_with_its_own_ids(tmp_path: Path) -> None:
    with starter(tmp_path) as start:
        ours = start(settings=Serve(slots=2, queue=64))
        server = Server(url=f"{ours.url}/v1/", model="support")
        folder = tmp_path / "tokenizer"
        with EngineProcess("remote", folder, CONTEXT, 8, special=Special(server=server)) as engine:
            assert engine.note == "it reads our token ids, and gives back its own"
            asked = [GenerationRequest((70, 71, 72 + i, 0xE4 % 256), 40, num_logprobs=1) for i in range(8)]
            done = generate_all(engine, asked)
            assert [each.token_ids for each in done] == [request.prompt_ids[::-1] for request in asked]
            assert {each.reason for each in done} == {"stop"} and done[0].logprobs == (0.0,) * 4
        ours.wait_until_idle(5.0)


def test_leaving_frees_the_slot_of_our_own_server(tmp_path: Path) -> None:
    with starter(tmp_path) as start:
        ours = start(pace=20.0, rounds=1000)
        folder = tmp_path / "tokenizer"
        with EngineProcess(
            "remote", folder, CONTEXT, 2, special=Special(server=Server(url=ours.url, model="support"))
        ) as engine:
            answer = engine.generate(GenerationRequest((1, 2), 200))
            assert next(answer) == Token(2)
            answer.close()
            ours.wait_until_idle(5.0)


@contextlib.contextmanager
def llama_server(model: Path) -> Iterator[str]:
    """llama.cpp's own HTTP server on a port of this machine, behind the key."""
    parameters = CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {"desk"}
    parameters.n_parallel, parameters.n_ctx = 4, CONTEXT * 4
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames, parameters.port, parameters.api_keys = ["127.0.0.1"], 0, [KEY]
    parameters.warmup = parameters.ui = parameters.fit_params = False
    parameters.verbosity = -1
    server = LlamaCpp(parameters)
    yield server.listening_address
    del server


def test_llamacpps_server_gives_what_the_file_gives_here(
    tiny_gguf: Path, tokenizer: Backend, llamacpp_engine: EngineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    monkeypatch.setenv("FAR_KEY", KEY)
    ascii_only = "root ::= [ -~]*"  # else the toy writes half characters, which no text can carry
    request = GenerationRequest(tuple(tokenizer.encode("the cat sat").ids), 24, grammar=ascii_only)
    with llama_server(tiny_gguf) as url:
        server = Server(url=url, model="desk", key_env="FAR_KEY")
        with EngineProcess("remote", tmp_path, 4096, 4, grammars=True, special=Special(server=server)) as engine:
            assert engine.context == CONTEXT and engine.takes_grammars
            assert engine.note == "it reads our token ids, and its text is read back into ids by our tokenizer"
            got, here = ([*each.generate(request)] for each in (engine, llamacpp_engine))
            texts = [tokenizer.decode([t.token_id for t in each if isinstance(t, Token)]) for each in (got, here)]
            assert texts[0] == texts[1] and got[-1] == here[-1]
            likely = replace(request, grammar=None, max_tokens=1, num_logprobs=3)
            ours, theirs = next(engine.generate(likely)), next(llamacpp_engine.generate(likely))
            assert isinstance(ours, Token) and isinstance(theirs, Token)
            assert ours.token_id == theirs.token_id
            assert dict(ours.top_logprobs) == pytest.approx(dict(theirs.top_logprobs), abs=0.01)
            bad = [GenerationRequest((5,), 4, grammar="root ::= ("), GenerationRequest((5,), 4)]
            broken, sound = generate_all(engine, bad)
            assert broken.reason == "error" and "status 400" in broken.message and sound.reason == "length"


def _wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
