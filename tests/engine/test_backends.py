"""The engines that read GGUF, against the torch engine and against what the contract says of each."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from tokenizers import Tokenizer

from setsail.base.errors import ModelError, UserError
from setsail.engine import Completion, EngineProcess, Finished, GenerationRequest, Token, generate_all
from setsail.engine.registry import open_engine
from setsail.engine.torch import TorchEngine
from setsail.models.load import load_gguf_model

from .conftest import CONTEXT, NUM_TOKENS, SLOTS

PROMPTS = tuple(tuple((start * 31 + step * 7) % 269 + 3 for step in range(5 + start)) for start in range(8))
EOG = 2


@pytest.fixture(scope="module")
def expected(tiny_gguf: Path) -> dict[tuple[int, ...], list[Token]]:
    """What float32 torch generates: 24 greedy tokens for each prompt."""
    torch.set_num_threads(1)
    engine = TorchEngine(load_gguf_model(tiny_gguf, torch.float32), context=CONTEXT, slots=1)
    tokens: dict[tuple[int, ...], list[Token]] = {}
    for number, prompt in enumerate(PROMPTS):
        engine.submit(number, GenerationRequest(prompt, 24, stop_ids=(EOG,), num_logprobs=NUM_TOKENS))
        answer: list[Token | Finished] = []
        while not (answer and isinstance(answer[-1], Finished)):
            answer += [what for _, what in engine.poll(0.01)]
        tokens[prompt] = [token for token in answer if isinstance(token, Token)]
    return tokens


def greedy(prompt: tuple[int, ...], max_tokens: int = 24, num_logprobs: int = 0) -> GenerationRequest:
    return GenerationRequest(prompt, max_tokens, stop_ids=(EOG,), num_logprobs=num_logprobs)


def check_same(completion: Completion, tokens: list[Token]) -> None:
    assert list(completion.token_ids) == [token.token_id for token in tokens]


@pytest.mark.parametrize("num_in_flight", [1, SLOTS])
def test_greedy_ids_equal_those_of_torch(
    engine: EngineProcess, expected: dict[tuple[int, ...], list[Token]], num_in_flight: int
) -> None:
    for prompt, completion in zip(
        PROMPTS, generate_all(engine, [greedy(p) for p in PROMPTS], num_in_flight=num_in_flight), strict=True
    ):
        check_same(completion, expected[prompt])


def test_the_prompts_of_this_file_lead_into_half_characters(
    expected: dict[tuple[int, ...], list[Token]], tokenizer: Tokenizer
) -> None:
    texts = [tokenizer.decode([token.token_id for token in tokens]) for tokens in expected.values()]
    assert any("\ufffd" in text for text in texts)


def test_logprobs_of_chosen_tokens_are_those_of_the_model(
    engine: EngineProcess, expected: dict[tuple[int, ...], list[Token]]
) -> None:
    for prompt, completion in zip(
        PROMPTS, generate_all(engine, [greedy(p, num_logprobs=1) for p in PROMPTS]), strict=True
    ):
        wanted = [token.logprob for token in expected[prompt]]
        assert completion.logprobs == pytest.approx(wanted, abs=0.05)


def test_a_repeated_prompt_gives_the_same_tokens_from_the_prefix_cache(engine: EngineProcess) -> None:
    request = greedy(tuple(range(3, 103)), 16, num_logprobs=1)
    first, second = (generate_all(engine, [request])[0] for _ in range(2))
    assert first.token_ids == second.token_ids
    assert first.logprobs == pytest.approx(second.logprobs, abs=1e-3)


def test_how_much_of_a_prompt_was_read_before_is_told_by_llamacpp(llamacpp_engine: EngineProcess) -> None:
    def told(prompt: tuple[int, ...], num_logprobs: int = 0) -> int | None:
        *_, end = llamacpp_engine.generate(greedy(prompt, 4, num_logprobs))
        assert isinstance(end, Finished)
        return end.num_cached

    shared = tuple((step * 37 + 11) % 263 + 3 for step in range(60))
    assert told((*shared, 5, 6)) in range(4)  # what other tests have asked may begin alike
    assert told((*shared, 7, 8, 9)) in range(50, 61)
    assert told(shared, num_logprobs=1) == 0  # what is measured is computed anew


def test_a_stop_id_ends_and_is_not_emitted(engine: EngineProcess, expected: dict[tuple[int, ...], list[Token]]) -> None:
    ids = [token.token_id for token in expected[PROMPTS[0]]]
    request = GenerationRequest(PROMPTS[0], 24, stop_ids=(EOG, ids[4]))
    [completion] = generate_all(engine, [request])
    assert completion.reason == "stop"
    assert list(completion.token_ids) == ids[: ids.index(ids[4])]


def test_the_same_seed_gives_the_same_tokens(engine: EngineProcess) -> None:
    def sample(seed: int) -> tuple[int, ...]:
        request = GenerationRequest(PROMPTS[1], 24, temperature=2.0, top_p=0.95, seed=seed)
        return generate_all(engine, [request])[0].token_ids

    assert sample(5) == sample(5)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_forty_requests_share_four_slots(engine: EngineProcess) -> None:
    requests = [greedy(PROMPTS[n % 8], 3 + n % 5) for n in range(40)]
    completions = generate_all(engine, requests, num_in_flight=40)
    assert {completion.reason for completion in completions} <= {"length", "stop"}
    for request, completion in zip(requests, completions, strict=True):
        assert completion.reason == "stop" or len(completion.token_ids) == request.max_tokens


def test_cancelling_ends_a_request_at_once_and_frees_its_slot(engine: EngineProcess) -> None:
    streams = [engine.generate(GenerationRequest(PROMPTS[2], 240, temperature=1.0, seed=n)) for n in range(SLOTS)]
    for stream in streams:
        next(stream)
    for stream in streams:
        stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    started = time.monotonic()
    assert generate_all(engine, [greedy(PROMPTS[0], 2)])[0].reason in ("length", "stop")
    assert time.monotonic() - started < 5.0
    deadline = time.monotonic() + 5.0
    while engine.num_in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.num_in_flight == 0


def test_prompts_that_do_not_fit_never_reach_the_model(engine: EngineProcess) -> None:
    with pytest.raises(UserError, match=f"context holds {CONTEXT}"):
        engine.submit(greedy((5,) * CONTEXT), lambda event: None)
    [end] = engine.generate(greedy((5, NUM_TOKENS)))
    message = f"the prompt holds the token id {NUM_TOKENS} and the model knows {NUM_TOKENS} tokens"
    assert end == Finished("error", message)
    assert engine.probe(30.0)


def test_an_answer_ends_where_the_context_does(engine: EngineProcess) -> None:
    [completion] = generate_all(engine, [GenerationRequest((5,) * (CONTEXT - 3), 50, temperature=1.0, seed=1)])
    assert completion.reason in ("length", "stop")
    assert len(completion.token_ids) <= 3


@pytest.mark.parametrize("name", ["openvino", "llamacpp", "torch"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999])
def test_a_truncated_file_is_a_clear_failure(tmp_path: Path, tiny_gguf: Path, name: str, keep: float) -> None:
    damaged = tmp_path / "damaged.gguf"
    content = tiny_gguf.read_bytes()
    damaged.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelError) as caught:
        open_engine(name, damaged, context=CONTEXT, slots=1)
    assert "damaged.gguf" in str(caught.value)


def test_a_killed_engine_comes_back_and_answers(tiny_gguf: Path) -> None:
    with EngineProcess("auto", tiny_gguf, CONTEXT, 2, threads=1, say=lambda _: None) as engine:
        assert engine.name == "openvino"
        stream = engine.generate(GenerationRequest(PROMPTS[0], 200, temperature=1.0, seed=1))
        next(stream)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        started = time.monotonic()
        assert list(stream)[-1] == Finished("error", "the engine's process was killed by SIGKILL")
        assert time.monotonic() - started < 2.0
        deadline = time.monotonic() + 60.0
        while engine.state != "ready" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert generate_all(engine, [greedy(PROMPTS[0], 2)])[0].reason in ("length", "stop")


# What only llama.cpp gives.


def test_first_token_distribution_is_normalised_and_that_of_torch(
    llamacpp_engine: EngineProcess, expected: dict[tuple[int, ...], list[Token]]
) -> None:
    completions = generate_all(llamacpp_engine, [greedy(p, 1, num_logprobs=NUM_TOKENS) for p in PROMPTS])
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        if not completion.token_ids:
            continue
        distribution = dict(completion.top_logprobs[0])
        assert len(distribution) == NUM_TOKENS
        assert math.fsum(map(math.exp, distribution.values())) == pytest.approx(1.0, abs=2e-3)
        wanted = dict(expected[prompt][0].top_logprobs)
        divergence = math.fsum(math.exp(wanted[i]) * (wanted[i] - distribution[i]) for i in wanted)
        assert abs(divergence) < 1e-3


def test_the_number_of_logprobs_is_as_asked(llamacpp_engine: EngineProcess) -> None:
    [completion] = generate_all(llamacpp_engine, [greedy(PROMPTS[0], 6, num_logprobs=3)])
    assert [len(top) for top in completion.top_logprobs] == [3] * len(completion.token_ids)
    assert [top[0][0] for top in completion.top_logprobs] == list(completion.token_ids)


def test_tokens_of_half_characters_are_found_when_sampling_too(llamacpp_engine: EngineProcess) -> None:
    requests = [GenerationRequest(PROMPTS[3], 24, temperature=3.0, seed=n, num_logprobs=2) for n in range(6)]
    for completion in generate_all(llamacpp_engine, requests):
        assert completion.reason == "stop" or len(completion.token_ids) == 24
        assert len(completion.logprobs) == len(completion.token_ids)


def test_the_file_s_own_tokenizer_and_template_are_shown(llamacpp_engine: EngineProcess, tokenizer: Tokenizer) -> None:
    prompt = llamacpp_engine.apply_template([{"role": "user", "content": "the cat 你"}])
    assert prompt == "<|im_start|>user\nthe cat 你<|im_end|>\n<|im_start|>assistant\n"
    assert llamacpp_engine.tokenize(prompt) == tokenizer.encode(prompt).ids


def test_openvino_reads_ids_only(openvino_engine: EngineProcess) -> None:
    with pytest.raises(UserError, match="reads ids only"):
        openvino_engine.tokenize("x")


def test_openvino_neither_forks_nor_reports_its_use(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "os.register_at_fork(before=lambda: os._exit(3))\n"
        "import setsail.engine.openvino\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_no_engine_opens_a_port(engine: EngineProcess) -> None:
    assert engine.pid is not None
    assert psutil.Process(engine.pid).net_connections(kind="inet") == []
