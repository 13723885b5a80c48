from __future__ import annotations

import itertools
import time

import pytest

from setsail.engine import GenerationRequest, generate_all

from .conftest import CONTEXT, OpenEcho


def test_completions_come_in_the_order_of_the_requests(open_echo: OpenEcho) -> None:
    engine = open_echo()
    requests = [GenerationRequest(tuple(range(40 - n, 41)), 100, num_logprobs=1) for n in range(40)]
    progress: list[tuple[int, int]] = []
    completions = generate_all(engine, requests, on_progress=lambda done, total: progress.append((done, total)))
    assert [c.token_ids for c in completions] == [r.prompt_ids[::-1] for r in requests]
    assert {c.reason for c in completions} == {"stop"}
    assert all(c.logprobs == (0.0,) * len(c.token_ids) for c in completions)
    assert progress == [(n, 40) for n in range(1, 41)]


def test_no_more_than_asked_are_in_flight(open_echo: OpenEcho) -> None:
    engine = open_echo()
    seen: list[int] = []
    requests = [GenerationRequest((1, 2), 2)] * 9
    generate_all(engine, requests, num_in_flight=2, on_progress=lambda *_: seen.append(engine.num_in_flight))
    assert max(seen) <= 2


def test_leaving_early_cancels_what_is_in_flight(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=200.0, rounds=1000)
    count = itertools.count(1)

    def leave(*_: int) -> None:
        if next(count) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_all(engine, [GenerationRequest((1, 2), n, seed=n) for n in (1, 2, 200, 200)], on_progress=leave)
    deadline = time.monotonic() + 5
    while engine.num_in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.num_in_flight == 0


def test_a_prompt_over_the_context_names_the_numbers(open_echo: OpenEcho) -> None:
    with pytest.raises(Exception, match=f"{CONTEXT + 5} tokens and the context holds {CONTEXT}"):
        generate_all(open_echo(), [GenerationRequest((1,) * (CONTEXT + 5), 1)])
