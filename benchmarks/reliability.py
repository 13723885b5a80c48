"""`make bench-reliability`: what the server does when it is asked too much, left, fed nonsense, killed and ended.

A sailed run is served by the very command, and strangers ask it over HTTP. Each part says what must hold and whether it
did; the exit code is 1 where one did not. Times hold for the machine that the results name.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from setsail.base.machine import describe, versions
from setsail.data.row import read_rows
from setsail.evaluate.question import choose_rows, question_of
from setsail.serve.client import Client
from setsail.stages.answering.serving import read_run, served_apart

RESULTS = Path(__file__).parent / "results" / "reliability.json"
NUM_PROMPTS, NUM_TOKENS = 16, 24
LONG = 400  # tokens at most, where an answer is to be under way for a while
TIMES = 10  # the capacity
MOST_OFFERED = 150.0  # requests per second: what this client can send beside the server
LEAVERS, MALFORMED, SOAK = 500, 1000, 20_000
PARTS = ("overload", "leavers", "malformed", "soak", "killed", "ended")
REFUSED_WITHIN = 0.1  # seconds, 99 of 100
GROWTH = 0.05  # of memory, over the second half of the soak


@dataclass
class Part:
    """One part: what came of it, and what of it must hold."""

    name: str
    told: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def hold(self, what: str, is_so: bool) -> None:
        if not is_so:
            self.broken.append(what)


@dataclass
class Server:
    """The served run: its address, its process, what is asked of it and what it answers when nobody else asks."""

    address: str
    model: str
    process: psutil.Process
    prompts: list[list[dict[str, str]]]
    answers: list[str] = field(default_factory=list)

    @property
    def engine(self) -> psutil.Process:
        return max(self.process.children(recursive=True), key=lambda child: child.memory_info().rss)

    def memory(self) -> int:
        """Bytes of the server and its children."""
        return sum(each.memory_info().rss for each in (self.process, *self.process.children(recursive=True)))

    def body(self, number: int, **more: Any) -> dict[str, Any]:
        prompt = self.prompts[number % len(self.prompts)]
        return {"model": self.model, "messages": prompt, "max_tokens": NUM_TOKENS, "temperature": 0, **more}

    def is_mixed(self, number: int, text: str) -> bool:
        """Whether a text is what another question is answered with."""
        own = self.answers[number % len(self.answers)]
        return text != own and text in self.answers

    @asynccontextmanager
    async def strangers(self) -> AsyncIterator[httpx.AsyncClient]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.address, timeout=600, limits=limits, trust_env=False) as http:
            yield http

    async def ask(self, http: httpx.AsyncClient, number: int) -> tuple[int, float, str]:
        """Status, seconds and text."""
        began = time.perf_counter()
        answer = await http.post("/v1/chat/completions", json=self.body(number))
        seconds = time.perf_counter() - began
        text = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else ""
        return answer.status_code, seconds, text

    async def stream(
        self,
        http: httpx.AsyncClient,
        number: int,
        *,
        leave_after: int | None = None,
        begun: asyncio.Event | None = None,
    ) -> list[str]:
        """The lines of a streamed answer, up to its end or to where this client leaves; `begun` at the first."""
        lines: list[str] = []
        body = self.body(number, stream=True, **({} if begun is None else {"max_tokens": LONG}))
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                return [f"status {answer.status_code}"]
            async for line in answer.aiter_lines():
                lines += [line] if line else []
                if begun is not None:
                    begun.set()
                if leave_after is not None and len(lines) >= leave_after:
                    break
        return lines

    async def running(self, http: httpx.AsyncClient) -> float:
        """How many requests run or wait, as the server's own figures say."""
        text = (await http.get("/metrics")).text
        wanted = ("setsail_requests_running", "setsail_requests_waiting")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(wanted))


async def capacity(server: Server, slots: int, seconds: float) -> float:
    """Requests per second with every slot busy."""
    until, numbers, done = time.perf_counter() + seconds, itertools.count(), 0

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal done
        while time.perf_counter() < until:
            status, _, _ = await server.ask(http, next(numbers))
            done += status == 200

    async with server.strangers() as http:
        began = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(slots)))
    return done / (time.perf_counter() - began)


async def overload(server: Server, slots: int, seconds: float) -> Part:
    """Many times the capacity arrives, whatever becomes of those before."""
    part = Part("overload")
    can = await capacity(server, slots, min(10.0, seconds))
    rate = min(TIMES * can, MOST_OFFERED)
    before, most = server.memory(), 0
    asked: list[asyncio.Task[tuple[int, float, str]]] = []
    async with server.strangers() as http:
        began = time.perf_counter()
        look_at = began
        while (now := time.perf_counter()) - began < seconds:
            while len(asked) < (now - began) * rate:
                asked.append(asyncio.create_task(server.ask(http, len(asked))))
            if now >= look_at:  # seldom: going through all processes takes as long as several requests
                most, look_at = max(most, server.memory()), now + 1.0
            await asyncio.sleep(0.002)
        came = await asyncio.gather(*asked, return_exceptions=True)
    statuses = Counter(each[0] if isinstance(each, tuple) else type(each).__name__ for each in came)
    refused = [each[1] for each in came if isinstance(each, tuple) and each[0] == 429]
    texts = [(number, each[2]) for number, each in enumerate(came) if isinstance(each, tuple) and each[0] == 200]
    mixed = sum(server.is_mixed(number, text) for number, text in texts)
    quantile = float(np.quantile(refused, 0.99)) if refused else 0.0
    part.told = {
        "capacity_per_second": round(can, 1),
        "offered_per_second": round(rate, 1),
        "statuses": dict(statuses),
        "refused_p99_seconds": round(quantile, 4),
        "mixed": mixed,
        "memory_growth": round(most / before - 1, 4),
    }
    part.hold("only 200 and 429", set(statuses) <= {200, 429})
    part.hold(f"refused within {REFUSED_WITHIN} s", quantile <= REFUSED_WITHIN)
    part.hold("no answer of another's question", not mixed)
    part.hold("memory stays", most <= 1.5 * before)
    return part


async def leavers(server: Server) -> Part:
    """Clients that leave in the middle of a stream."""
    part = Part("leavers")
    async with server.strangers() as http:
        for start in range(0, LEAVERS, 50):
            together = range(start, min(start + 50, LEAVERS))
            await asyncio.gather(*(server.stream(http, number, leave_after=3) for number in together))
        began = time.perf_counter()
        while await server.running(http) and time.perf_counter() - began < 30:
            await asyncio.sleep(0.05)
        part.told = {"left": LEAVERS, "held_after": await server.running(http)}
        part.told["seconds_until_free"] = round(time.perf_counter() - began, 2)
        status, _, text = await server.ask(http, 0)
    part.hold("no slot is lost", part.told["held_after"] == 0)
    part.hold("the next is answered", status == 200 and not server.is_mixed(0, text))
    return part


def nonsense(body: dict[str, Any], seed: int) -> Iterator[bytes]:
    """Bodies that are wrong in one place or in all."""
    draw = random.Random(seed)
    strange: Sequence[Any] = (None, -1, 1e308, "", "\u0000", [], {}, [[]], True, "x" * 5000, {"a": {"b": []}}, 2**70)
    text = json.dumps(body).encode()
    while True:
        kind = draw.randrange(4)
        if kind == 0:
            yield json.dumps(
                {**body, draw.choice([*body, "top_p", "stop", "seed", "n", "tools"]): draw.choice(strange)}
            ).encode()
        elif kind == 1:
            yield text[: draw.randrange(len(text))]
        elif kind == 2:
            place = draw.randrange(len(text))
            yield text[:place] + bytes([draw.randrange(256)]) + text[place + 1 :]
        else:
            yield draw.randbytes(draw.randrange(1, 400))


async def malformed(server: Server) -> Part:
    """Bodies that nobody should send."""
    part, statuses = Part("malformed"), Counter[int]()
    paths = ("/v1/chat/completions", "/v1/completions", "/predict", "/v1/embeddings")
    bodies = itertools.islice(nonsense(server.body(0, max_tokens=2), 7), MALFORMED)
    async with server.strangers() as http:
        for number, body in enumerate(bodies):
            headers = {"Content-Type": "application/json"}
            answer = await http.post(paths[number % len(paths)], content=body, headers=headers)
            statuses[answer.status_code] += 1
    part.told = {"statuses": dict(statuses)}
    part.hold("no fault of ours", not any(status >= 500 for status in statuses))
    return part


async def soak(server: Server, slots: int, num_requests: int) -> Part:
    """As many requests as a day brings, one after the other in every slot."""
    part, memory, numbers = Part("soak"), list[int](), itertools.count()
    mixed = failed = 0

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal mixed, failed
        while (number := next(numbers)) < num_requests:
            status, _, text = await server.ask(http, number)
            failed += status != 200
            mixed += status == 200 and server.is_mixed(number, text)
            if number % max(1, num_requests // 20) == 0:
                memory.append(server.memory())

    began = time.perf_counter()
    async with server.strangers() as http:
        await asyncio.gather(*(client(http) for _ in range(slots)))
    half = len(memory) // 2
    growth = max(memory[half:]) / max(memory[: half + 1]) - 1
    part.told = {
        "requests": num_requests,
        "seconds": round(time.perf_counter() - began, 1),
        "failed": failed,
        "mixed": mixed,
        "memory_mib": [round(each / 2**20) for each in memory],
        "growth_of_second_half": round(growth, 4),
    }
    part.hold("all are answered", not failed and not mixed)
    part.hold(f"memory grows by less than {GROWTH:.0%} in the second half", growth <= GROWTH)
    return part


async def _all_begun(server: Server, http: httpx.AsyncClient, slots: int) -> list[asyncio.Task[list[str]]]:
    """A stream in every slot, each with its first line."""
    begun = [asyncio.Event() for _ in range(slots)]
    streams = [asyncio.create_task(server.stream(http, number, begun=each)) for number, each in enumerate(begun)]
    for stream, each in zip(streams, begun, strict=True):  # one that is refused ends without a line
        stream.add_done_callback(lambda _, each=each: each.set())
    await asyncio.gather(*(each.wait() for each in begun))
    return streams


async def killed(server: Server, slots: int) -> Part:
    """The engine's process is killed while every slot is busy."""
    part = Part("killed")
    async with server.strangers() as http:
        streams = await _all_begun(server, http, slots)
        unfinished = sum(not stream.done() for stream in streams)
        server.engine.kill()
        began = time.perf_counter()
        ends = Counter(_end_of(lines) for lines in await asyncio.gather(*streams))
        told_after = time.perf_counter() - began
        statuses, text = Counter[int](), ""
        while time.perf_counter() - began < 120:
            status, _, text = await server.ask(http, 1)
            statuses[status] += 1
            if status == 200:
                break
            await asyncio.sleep(0.1)
        back_after = time.perf_counter() - began
    part.told = {
        "unfinished_when_killed": unfinished,
        "streams_end": dict(ends),
        "told_after_seconds": round(told_after, 2),
        "statuses": dict(statuses),
        "back_after_seconds": round(back_after, 2),
    }
    part.hold("streams were under way", unfinished > 0 and ends["error"] > 0)
    part.hold("every stream ends, whole or with an error", not ends.get("cut"))
    part.hold("502 or 503 until it is back", set(statuses) <= {200, 502, 503} and statuses[200] == 1)
    part.hold("nothing wrong is answered", not server.is_mixed(1, text))
    return part


async def ended(server: Server, slots: int) -> Part:
    """SIGTERM while every slot streams."""
    part = Part("ended")
    async with server.strangers() as http:
        streams = await _all_begun(server, http, slots)
        unfinished = sum(not stream.done() for stream in streams)
        server.process.terminate()
        ends = Counter(_end_of(lines) for lines in await asyncio.gather(*streams))
    part.told = {"unfinished_when_told": unfinished, "streams_end": dict(ends)}
    part.hold("streams were under way", unfinished > 0)
    part.hold("every accepted stream ends properly", ends["whole"] == slots)
    return part


def _end_of(lines: Sequence[str]) -> str:
    if not lines or lines[0].startswith("status"):
        return lines[0] if lines else "cut"
    is_error = any('"error"' in line for line in lines[-2:])
    return "error" if is_error else "whole" if lines[-1] == "data: [DONE]" else "cut"


async def all_parts(server: Server, slots: int, options: argparse.Namespace) -> list[Part]:
    with Client(server.address) as client:
        for number in range(len(server.prompts)):
            body = server.body(number)
            answer = client.chat(body["messages"], model=server.model, temperature=0, max_tokens=NUM_TOKENS)
            server.answers.append(answer.text)
    ways: dict[str, Callable[[], Awaitable[Part]]] = {
        "overload": lambda: overload(server, slots, options.seconds),
        "leavers": lambda: leavers(server),
        "malformed": lambda: malformed(server),
        "soak": lambda: soak(server, slots, options.requests),
        "killed": lambda: killed(server, slots),
        "ended": lambda: ended(server, slots),
    }
    parts = []
    for name in ways:
        if name not in options.parts:
            continue
        part = await ways[name]()
        print(f"{'broken' if part.broken else 'held':<8}{part.name:<11}{json.dumps(part.told)}", flush=True)
        for broken in part.broken:
            print(f"        does not hold: {broken}", flush=True)
        parts.append(part)
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/support"))
    parser.add_argument("--engine", default=None)
    parser.add_argument("--seconds", type=float, default=300.0, help="of overload")
    parser.add_argument("--requests", type=int, default=SOAK, help="of the soak")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS, help="only these; others stay saved")
    options = parser.parse_args()
    run, recipe = read_run(options.run)
    rows = choose_rows(read_rows(run.artifact("data").file("test.parquet")), NUM_PROMPTS, seed=1)
    prompts = [[dict(message) for message in question_of(row).prompt] for row in rows]
    with served_apart(options.run, engine=options.engine) as address:
        with Client(address) as client:
            client.wait_until_ready()
        (process,) = psutil.Process().children()
        server = Server(address, recipe.name, process, prompts)
        parts = asyncio.run(all_parts(server, recipe.serve.slots, options))
    if options.seconds >= 300 and options.requests >= SOAK:
        machine = {"machine": describe(), "versions": versions()}
        known = json.loads(RESULTS.read_text("utf-8"))["parts"] if RESULTS.exists() else []
        done = {each["name"]: each for each in [*known, *map(asdict, parts)]}
        saved = {"machine": machine, "run": options.run.name, "parts": [done[name] for name in PARTS if name in done]}
        RESULTS.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
        print(f"saved {RESULTS}")
    return int(any(part.broken for part in parts))


if __name__ == "__main__":
    sys.exit(main())
