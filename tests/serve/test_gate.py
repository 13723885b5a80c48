"""The gate alone, and the gate under forty clients."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import httpx
import pytest

from setsail.base.recipe import Serve
from setsail.serve.gate import Gate, GateFull, Ticket

from .conftest import Running, StartServer, chat_body


def test_who_may_enter() -> None:
    gate = Gate(slots=2, queue=1)
    first, second, third = gate.enter(), gate.enter(), gate.enter()
    assert (gate.num_running, gate.num_waiting) == (2, 1)
    with pytest.raises(GateFull) as full:
        gate.enter()
    assert 1 <= full.value.retry_after_seconds <= 60
    assert not third.turn_came.is_set()
    second.release()
    assert third.turn_came.is_set() and gate.num_running == 2
    second.release()
    first.release()
    third.release()
    assert (gate.num_running, gate.num_waiting) == (0, 0)


def test_who_leaves_the_queue_early_takes_nobodys_turn() -> None:
    gate = Gate(slots=1, queue=2)
    running, impatient, patient = gate.enter(), gate.enter(), gate.enter()
    impatient.release()
    running.release()
    assert patient.turn_came.is_set() and not impatient.turn_came.is_set()


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_or_won(seed: int) -> None:
    rng = random.Random(seed)
    gate = Gate(slots=rng.randint(1, 4), queue=rng.randint(0, 4))
    inside: list[Ticket] = []
    for _ in range(300):
        if rng.random() < 0.5:
            try:
                inside.append(gate.enter())
            except GateFull:
                assert len(inside) == gate.slots + gate.queue
        elif inside:
            ticket = inside.pop(rng.randrange(len(inside)))
            ticket.release()
            if rng.random() < 0.3:
                ticket.release()
        assert gate.num_running == min(len(inside), gate.slots)
        assert gate.num_waiting == len(inside) - gate.num_running


async def forty(server: Running, *, stream: bool) -> list[httpx.Response]:
    body = chat_body(max_tokens=8, stream=stream)
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False) as client:
        return await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(40)))


def check_forty(server: Running, responses: list[httpx.Response]) -> None:
    assert Counter(response.status_code for response in responses) == {200: 10, 429: 30}
    refused = [response for response in responses if response.status_code == 429]
    assert all(1 <= int(response.headers["retry-after"]) <= 60 for response in refused)
    assert {response.json()["error"]["code"] for response in refused} == {"queue_full"}
    # All are turned away before anyone is served, and none of them waits as those in the queue do.
    server.wait_for_line(40)
    statuses = [line.split()[2] for line in server.lines]
    assert statuses == ["429"] * 30 + ["200"] * 10
    seconds = [float(line.split("seconds=")[1].split()[0]) for line in server.lines]
    assert max(seconds[:30]) < max(seconds[30:]) / 2
    server.wait_until_idle(1.0)


def test_forty_clients_two_slots_queue_of_eight(start_server: StartServer) -> None:
    server = start_server(pace=8, settings=Serve(slots=2, queue=8))
    check_forty(server, asyncio.run(forty(server, stream=False)))
    assert server.chat(max_tokens=1).status_code == 200


@pytest.mark.slow
def test_forty_clients_again_and_again(start_server: StartServer) -> None:
    server = start_server(pace=8, settings=Serve(slots=2, queue=8))
    for attempt in range(10):
        server.lines.clear()
        check_forty(server, asyncio.run(forty(server, stream=attempt % 2 == 0)))
