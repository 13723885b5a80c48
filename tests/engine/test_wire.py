from __future__ import annotations

from setsail.engine import wire
from setsail.engine.contract import Finished, GenerationRequest, Token


def test_a_request_survives_the_journey() -> None:
    request = GenerationRequest((1, 2), 3, temperature=0.5, top_p=0.9, seed=7, stop_ids=(4,), num_logprobs=2)
    message = wire.decode(wire.encode(wire.submit_message(9, request)))
    assert message["id"] == 9
    assert wire.read_request(message) == request


def test_events_survive_the_journey() -> None:
    for event in (Token(5), Token(5, -0.25), Token(5, -0.25, ((5, -0.25), (6, -3.0))), Finished("error", "x\n\u2028y")):
        line = wire.encode(wire.event_message((3, event)))
        assert line.count(b"\n") == 1
        assert line.isascii()
        assert wire.read_event(wire.decode(line)) == event


def test_what_an_engine_had_read_before_is_told_where_it_says() -> None:
    for end in (Finished("stop"), Finished("stop", num_cached=0), Finished("length", num_cached=12)):
        read = wire.read_event(wire.decode(wire.encode(wire.event_message((3, end)))))
        assert isinstance(read, Finished) and read.num_cached == end.num_cached
