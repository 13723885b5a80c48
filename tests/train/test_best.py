from __future__ import annotations

from pathlib import Path

import pytest
import torch

from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.train import best as best_module
from setsail.train.best import BEST, best_of, is_out_of_patience, keep_best, take_best


def curve(*values: float) -> list[dict]:
    return [{"step": 10 * place, "bits_per_byte": value} for place, value in enumerate(values)]


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 2), value), "b": torch.arange(4, dtype=torch.bfloat16) * value}


def test_the_best_validation_is_the_lowest_and_the_earliest_of_equals() -> None:
    assert best_of(curve(3.0, 2.0, 2.5, 2.0))["step"] == 10


@pytest.mark.parametrize(
    ("values", "patience", "ended"),
    [
        ((), 1, False),
        ((3.0, 2.0, 2.1), None, False),
        ((3.0, 2.0, 2.1), 1, True),
        ((3.0, 2.0, 2.1), 2, False),
        ((3.0, 2.0, 2.1, 2.0), 2, True),  # as good is not better
        ((3.0, 2.0, 2.1, 1.9), 2, False),
        ((3.0, 4.0, 5.0), 2, True),  # never better than before the first step
    ],
)
def test_patience_is_counted_from_the_best(values: tuple[float, ...], patience: int | None, ended: bool) -> None:
    assert is_out_of_patience(curve(*values), patience) is ended


def test_the_last_kept_is_given_back_bit_for_bit(tmp_path: Path) -> None:
    for step, value in ((10, 1.5), (20, -0.3)):
        keep_best(tmp_path, step, weights(value))
    found = take_best(tmp_path, 20)
    assert found is not None
    assert all(torch.equal(found[name], weight) for name, weight in weights(-0.3).items())
    assert take_best(tmp_path, 10) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST]


def test_nothing_kept_is_nothing_given(tmp_path: Path) -> None:
    assert take_best(tmp_path, 10) is None


def test_damage_is_named(tmp_path: Path) -> None:
    keep_best(tmp_path, 10, weights(1.0))
    path = tmp_path / BEST / "weights.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="the best weights, of step 10, are damaged"):
        take_best(tmp_path, 10)


def test_a_full_disk_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_best(tmp_path, 10, weights(1.0))

    def full(path: Path, tensors: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(best_module, "write_tensors", full)
    with pytest.raises(SystemRefusal):
        keep_best(tmp_path, 20, weights(2.0))
    assert take_best(tmp_path, 10) is not None


def test_the_best_is_told_by_the_measure_that_is_named() -> None:
    curve = [{"step": 0, "a": 1.0, "b": 2.0}, {"step": 5, "a": 2.0, "b": 1.0}]
    assert (best_of(curve, "a")["step"], best_of(curve, "b")["step"]) == (0, 5)
    assert is_out_of_patience(curve, 1, "a") and not is_out_of_patience(curve, 1, "b")
