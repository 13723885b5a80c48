from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsail.base.errors import ModelError, UserError
from setsail.engine.contract import Event, Finished, GenerationRequest, Token
from setsail.engine.echo import EchoEngine, EchoSettings, open_engine


def drain(engine: EchoEngine, num_ends: int) -> list[Event]:
    events: list[Event] = []
    while sum(isinstance(what, Finished) for _, what in events) < num_ends:
        events += engine.poll(0.01)
    return events


def test_it_answers_with_the_prompt_reversed() -> None:
    engine = EchoEngine(EchoSettings(), context=64, slots=1)
    engine.submit(1, GenerationRequest((1, 2, 3), 10))
    assert drain(engine, 1) == [(1, Token(3)), (1, Token(2)), (1, Token(1)), (1, Finished("stop"))]


def test_stop_id_and_length_end_it_and_the_stop_id_is_not_a_token() -> None:
    engine = EchoEngine(EchoSettings(rounds=3), context=64, slots=2)
    engine.submit(1, GenerationRequest((1, 2, 3), 10, stop_ids=(1,)))
    engine.submit(2, GenerationRequest((1, 2, 3), 4))
    events = drain(engine, 2)
    assert [what for number, what in events if number == 1] == [Token(3), Token(2), Finished("stop")]
    assert [what for number, what in events if number == 2][-2:] == [Token(3), Finished("length")]


def test_no_more_than_the_slots_run_at_once_and_the_rest_keep_their_order() -> None:
    engine = EchoEngine(EchoSettings(), context=64, slots=2)
    for number in range(6):
        engine.submit(number, GenerationRequest((number,) * 3, 10))
    assert {number for number, _ in engine.poll(0)} == {0, 1}
    ends = [number for number, what in drain(engine, 6) if isinstance(what, Finished)]
    assert ends == [0, 1, 2, 3, 4, 5]


def test_a_cancelled_request_frees_its_slot_in_the_next_poll_running_or_waiting() -> None:
    engine = EchoEngine(EchoSettings(), context=64, slots=1)
    for number in (1, 2, 3):
        engine.submit(number, GenerationRequest((5,) * 9, 10))
    engine.poll(0)
    engine.cancel(1)
    engine.cancel(2)
    engine.cancel(77)
    assert engine.poll(0) == [(1, Finished("cancelled")), (2, Finished("cancelled")), (3, Token(5))]


def test_a_prompt_over_the_context_is_refused() -> None:
    with pytest.raises(UserError, match="context holds 4"):
        EchoEngine(EchoSettings(), context=4, slots=1).submit(1, GenerationRequest((1,) * 4, 1))


@pytest.mark.parametrize("content", [None, "no json", "[1]", json.dumps({"pace": 3})])
def test_a_file_that_is_no_echo_model_is_an_error(tmp_path: Path, content: str | None) -> None:
    model = tmp_path / "echo.json"
    if content is not None:
        model.write_text(content)
    with pytest.raises(ModelError, match="not an echo model"):
        open_engine(model, context=8, slots=1, threads=None)
