from __future__ import annotations

from pathlib import Path

import pytest
import torch

from setsail.engine.contract import Event, Finished, GenerationRequest, Token
from setsail.engine.torch import TorchEngine, choose
from setsail.models.load import load_gguf_model

from .conftest import CONTEXT, NUM_TOKENS


@pytest.fixture(scope="module")
def engine(tiny_gguf: Path) -> TorchEngine:
    torch.set_num_threads(1)  # a model this small only loses by more
    return TorchEngine(load_gguf_model(tiny_gguf, torch.float32), context=CONTEXT, slots=2)


def run(engine: TorchEngine, *requests: GenerationRequest) -> list[list[Token | Finished]]:
    answers: list[list[Token | Finished]] = [[] for _ in requests]
    for number, request in enumerate(requests):
        engine.submit(number, request)
    while not all(answer and isinstance(answer[-1], Finished) for answer in answers):
        for number, what in engine.poll(0.01):
            answers[number].append(what)
    return answers


def test_greedy_is_the_argmax_of_the_whole_sequence_without_a_cache(engine: TorchEngine, tiny_gguf: Path) -> None:
    [answer] = run(engine, GenerationRequest((5, 9, 30), 12, num_logprobs=NUM_TOKENS))
    model = load_gguf_model(tiny_gguf, torch.float32)
    tokens = [token for token in answer if isinstance(token, Token)]
    ids = [5, 9, 30, *(token.token_id for token in tokens)]
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for place, token in enumerate(tokens, start=2):
        assert token.token_id == int(logprobs[place].argmax())
        assert token.logprob == pytest.approx(float(logprobs[place].max()), abs=1e-4)
        assert len(token.top_logprobs) == NUM_TOKENS
    assert answer[-1] == Finished("length")


def test_a_stop_id_ends_and_is_not_emitted(engine: TorchEngine) -> None:
    [free] = run(engine, GenerationRequest((5, 9, 30), 8))
    third = free[2]
    assert isinstance(third, Token)
    [stopped] = run(engine, GenerationRequest((5, 9, 30), 8, stop_ids=(third.token_id,)))
    assert stopped == [*free[:2], Finished("stop")]


def test_a_seed_gives_the_same_tokens_whoever_else_is_served(engine: TorchEngine) -> None:
    request = GenerationRequest((5, 9), 20, temperature=1.5, top_p=0.95, seed=11)
    other = GenerationRequest((7, 7), 20, temperature=1.5, seed=12)
    [alone] = run(engine, request)
    together = run(engine, request, other, other)
    assert together[0] == alone
    assert together[1] == together[2] != alone


def test_cancelling_frees_the_slot_within_one_poll(engine: TorchEngine) -> None:
    for number in (1, 2, 3):
        engine.submit(number, GenerationRequest((5, 9), 200))
    engine.poll(0)
    engine.cancel(1)
    events: list[Event] = engine.poll(0)
    assert events[0] == (1, Finished("cancelled"))
    assert {number for number, _ in events} == {1, 2, 3}
    engine.cancel(2)
    engine.cancel(3)
    assert engine.poll(0) == [(2, Finished("cancelled")), (3, Finished("cancelled"))]


def test_top_p_keeps_the_smallest_set_that_holds_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)

    def drawn(top_p: float) -> set[int]:
        request = GenerationRequest((1,), 1, temperature=1.0, top_p=top_p)
        return {choose(logits, request, generator) for _ in range(300)}

    assert drawn(0.4) == {0}
    assert drawn(0.6) == {0, 1}
    assert drawn(0.9) == {0, 1, 2}
    assert drawn(1.0) == {0, 1, 2, 3}
