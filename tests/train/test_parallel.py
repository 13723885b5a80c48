"""Several processes train what one would, whatever becomes of them on the way.

Real processes, joined over gloo; the programs that fork them are equal_voyages.py and killed_processes.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from setsail.base.device import prepare_device
from setsail.base.environment import read_environment
from setsail.base.machine import num_cores
from setsail.train.parallel import ALONE, World, checksums, joined, sum_gradients

HERE = Path(__file__).parent
NUM_VOYAGES = int(os.environ.get("SETSAIL_KILLED_VOYAGES", "10"))  # of the long test, for each toy


def outcome_of(program: str, *arguments: object) -> Any:
    environment = os.environ | {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    crashes = outcome.get("crashes") if isinstance(outcome, dict) else None
    if crashes:
        print(f"torch crashed, and the voyage went on: {crashes}", file=sys.__stderr__)  # past pytest, for a person
        assert len(crashes) <= 2, crashes  # one of all voyages, and its stack
    return outcome


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return outcome_of("equal_voyages.py", tmp_path_factory.mktemp("equal"))


def test_many_processes_learn_what_one_does(equal: list[dict[str, Any]]) -> None:
    """Two and three processes, data parallel and sharded; steps of one to five micro-batches.

    In fp32, losses agree to 1e-6; weights to 5e-4 of the largest, since Adam divides small gradients by their own size.
    Muon works out its directions in bf16: 1e-4 and 1e-2.
    """
    assert {(toy["processes"], toy["sharded"]) for toy in equal} == {(2, False), (2, True), (3, False), (3, True)}
    for toy in equal:
        is_rough = toy["optimizer"] == "muon"
        losses, weights = (1e-4, 1e-2) if is_rough else (1e-6, 5e-4)
        assert toy["same_figures"], toy
        assert toy["losses"] <= losses and toy["norms"] <= 10 * losses, toy
        assert toy["weights"] <= weights and toy["model"] <= max(weights, 2**-7 * (toy["dtype"] == "bfloat16")), toy
        assert toy["moved"] > 10 * weights, f"nothing was learned: {toy}"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("killed")
    return outcome_of("killed_processes.py", folder, 1, 5, "data", "sharded-muon", "sizes", "failures")


@pytest.mark.parametrize("toy", ["data", "sharded-muon"])
def test_a_process_is_killed_and_the_voyage_is_the_same(killed: dict[str, Any], toy: str) -> None:
    """Either process, between micro-batches, inside saves or from outside; and polite signals to either."""
    check_killed(killed[toy], num_kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("toy", ["data", "data-lora", "sharded", "sharded-muon"])
def test_many_kills_each(toy: str, tmp_path: Path) -> None:
    outcome = outcome_of("killed_processes.py", tmp_path, 2 * NUM_VOYAGES, 6, toy)
    check_killed(outcome[toy], num_kills=2 * NUM_VOYAGES)


def check_killed(outcome: dict[str, Any], *, num_kills: int) -> None:
    reference = outcome["reference"]
    assert [step for step, _, _ in reference["steps"]] == list(range(1, 8))
    assert reference["last"] == "step-00000007" and reference["left"] == []
    assert len(outcome["kills"]) >= num_kills
    for voyage in outcome["voyages"]:
        assert voyage == reference, outcome["kills"]
    assert outcome["stopped"] == [[130, 130], [143, 143]]


def test_the_number_of_processes_may_change_on_the_way(killed: dict[str, Any]) -> None:
    """Two begin, three that share the weights out go on, one arrives: what one learns alone, within rounding."""
    outcome = killed["sizes"]
    assert outcome["steps"] == list(range(1, 8))
    assert outcome["losses"] <= 1e-6 and outcome["weights"] <= 5e-4


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("bad row, first, data", 2, "data error: row 7 is bad"),
        ("bad row, second, sharded", 2, "data error: row 7 is bad"),
        ("fault, first, sharded", 1, "ValueError: a fault of ours"),
        ("fault, second, data", 1, "ValueError: a fault of ours"),
        ("no number", 3, "training diverged: the loss is nan at step 1"),
        ("other weights", 2, "the weights of process 1 are not those of process 0"),
        ("other weights later", 2, "the weights of process 1 are not those of process 0"),
    ],
)
def test_an_error_in_one_process_ends_all_and_is_told_once(
    killed: dict[str, Any], what: str, code: int, words: str
) -> None:
    failure = killed["failures"][what]
    assert failure["codes"] == [code, code]
    assert failure["said"].count(words) == 1 and failure["said"].count("error:") <= 1, failure["said"]
    assert failure["said"].count("Traceback") == (code == 1)
    assert ("process 1 of 2, counted from 0:" in failure["said"]) or "second" not in what
    assert failure["left"] == [] or ("second" in what and failure["left"] == ["step-00000002"])


def test_every_micro_batch_is_gone_through_once() -> None:
    for size in (1, 2, 3, 8):
        for num_batches in range(1, 10):
            plain = [list(World(rank, size).passes(num_batches)) for rank in range(size)]
            assert sorted(number for passes in plain for number, _ in passes) == list(range(num_batches))
            in_step = [list(World(rank, size, in_step=True).passes(num_batches)) for rank in range(size)]
            assert len({len(passes) for passes in in_step}) == 1
            for passes, ours in zip(in_step, plain, strict=True):
                assert [pair for pair in passes if pair[1]] == ours
                assert all(number < num_batches for number, _ in passes)


def test_a_process_alone_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined() as world:
        assert world is ALONE and world.leads
    assert list(ALONE.passes(3)) == [(0, 1.0), (1, 1.0), (2, 1.0)]
    weight = torch.nn.Parameter(torch.ones(2))
    sum_gradients(ALONE, [weight])
    assert weight.grad is None and not torch.distributed.is_initialized()


def test_the_launcher_says_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    process = read_environment().process
    assert (process.rank, process.size, process.local_rank, process.local_size) == (5, 8, 1, 4)
    prepare_device(seed=1)
    assert torch.get_num_threads() == max(1, num_cores() // 4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert read_environment().process.rank == 0
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert read_environment().process.size == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_checksum_sees_the_last_bit(dtype: torch.dtype) -> None:
    weight = torch.randn(33, 7).to(dtype)
    other = weight.clone()
    assert checksums([weight]) == checksums([other]) == checksums([weight.flip(0)])
    other[3, 3] = torch.nextafter(other[3, 3], torch.tensor(9.0, dtype=dtype))
    assert checksums([weight]) != checksums([other])
