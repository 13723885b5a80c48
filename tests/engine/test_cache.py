"""How fine an engine keeps what it has read: near to f32 in each, in the memory that is told, or refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from models import toy_model

from setsail.base.errors import ModelError, UserError
from setsail.base.log import Log
from setsail.compress.check import LIMITS
from setsail.compress.export import export_gguf
from setsail.engine import EngineProcess, GenerationRequest, generate_all
from setsail.engine.cache import BYTES, cache_bytes
from setsail.engine.contract import Special
from setsail.engine.gguf_limits import read_limits
from setsail.engine.registry import open_engine

from .conftest import CONTEXT, GROUPS, HEADS, HIDDEN, LAYERS

PROMPTS = [tuple((start * 31 + step * 7) % 269 + 3 for step in range(60)) for start in range(8)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy whose heads have 64 numbers."""
    folder = tmp_path_factory.mktemp("wide")
    toy_model.write_folder(folder / "hf", hidden_size=256, intermediate_size=512)
    return export_gguf(folder / "hf", folder / "wide.gguf", "q8_0", name="x", licence="x", log=Log(quiet=True))


@pytest.mark.parametrize("name", BYTES)
def test_first_tokens_are_near_to_those_of_the_finest_cache(wide: Path, name: str) -> None:
    found = {}
    for cache in ("f32", "f16", "int8"):
        with EngineProcess(name, wide, CONTEXT, 4, threads=1, special=Special(cache=cache)) as engine:
            # The second of two tokens reads what the cache holds of the whole prompt.
            answers = generate_all(engine, [GenerationRequest(prompt, 2, num_logprobs=1) for prompt in PROMPTS])
        found[cache] = [(answer.token_ids, answer.logprobs[-1]) for answer in answers]
    for cache in ("f16", "int8"):
        pairs = zip(found["f32"], found[cache], strict=True)
        gaps = [abs(ours - theirs) for (ids, ours), (others, theirs) in pairs if ids == others]
        assert len(gaps) >= 5 and sum(gaps) / len(gaps) < 4 * LIMITS["q8_0"].kl_nats_mean
    assert found["int8"] != found["f32"], "eight bits are another cache"


def test_what_it_takes_is_told(tiny_gguf: Path) -> None:
    limits = read_limits(tiny_gguf)
    assert limits.cache_values == 2 * LAYERS * GROUPS * HIDDEN // HEADS and limits.head_size == HIDDEN // HEADS
    full = cache_bytes(limits, "llamacpp", "f32", context=100, slots=3)
    assert full == limits.cache_values * 4 * 300
    assert cache_bytes(limits, "llamacpp", "auto", context=10**6, slots=3) == limits.cache_values * 2 * CONTEXT * 3
    assert cache_bytes(limits, "openvino", "auto", context=100, slots=3) == full
    assert cache_bytes(limits, "torch", "auto", context=100, slots=3) is None


def test_an_engine_that_has_only_its_own_refuses(tiny_gguf: Path) -> None:
    with pytest.raises(UserError, match="the torch engine keeps its cache as it computes, not in int8"):
        open_engine("torch", tiny_gguf, context=64, slots=1, special=Special(cache="int8"))


def test_heads_that_no_group_divides_are_refused_before_loading(tiny_gguf: Path) -> None:
    with pytest.raises(ModelError, match=r"groups of 32, which do not divide heads of 16"):
        open_engine("llamacpp", tiny_gguf, context=64, slots=1, special=Special(cache="int8"))
    assert math.isfinite(BYTES["llamacpp"]["int8"])
