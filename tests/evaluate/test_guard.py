"""The guard: a drop is told from a difference that could be chance, and words and files hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from setsail.base.errors import ArtifactError
from setsail.evaluate.guard import (
    Examination,
    Guard,
    Taken,
    compare,
    read_examination,
    sentence,
    table,
    write_examination,
)


def examined(*, right: int = 30, bits: float = 1.0, skew: float = 0.3) -> Examination:
    """Forty sums of which the first `right` are right, and thirty texts of uneven cost."""
    sums = [Taken("sums", f"sum-{n}", float(n < right), 1.0, f"{n} + 1 = ?", str(n)) for n in range(40)]
    texts = [Taken("english_text", f"english-{n}", bits * 300 * (1 + skew * (n % 5)), 300.0) for n in range(30)]
    return Examination(1, (*texts, *sums))


def guarded(base: Examination, tuned: Examination) -> Guard:
    return compare(base, tuned, resamples=500, seed=1)


def test_an_unchanged_model_has_lost_nothing() -> None:
    found = guarded(examined(), examined())
    assert found.dropped == () and set(found.skills) == {"english_text", "sums"}
    assert all(skill.gap.low == skill.gap.high == 0 for skill in found.skills.values())
    assert sentence(found) == "No skill of the battery is shown to have dropped."


def test_a_drop_is_told_with_its_figures_and_questions() -> None:
    found = guarded(examined(right=30), examined(right=12))
    assert found.dropped == ("sums",)
    assert (found.skills["sums"].base, found.skills["sums"].tuned) == (0.75, 0.3)
    assert [lost.prompt for lost in found.skills["sums"].lost] == ["12 + 1 = ?", "13 + 1 = ?", "14 + 1 = ?"]
    assert "sums, accuracy 75.0 % → 30.0 % (−45.0 pp" in sentence(found)
    assert "算术（准确率 75.0 % → 30.0 %" in sentence(found, "zh")
    assert [line[0] for line in table(found)[1:]] == ["✓", "✗"]


def test_a_single_wrong_answer_more_could_be_chance() -> None:
    assert guarded(examined(right=30), examined(right=29)).skills["sums"].outcome == "held"


def test_the_interval_is_of_pairs() -> None:
    """Texts of very uneven cost, each a twentieth dearer: unpaired, the intervals of the two would overlap widely."""
    found = guarded(examined(skew=3.0), examined(skew=3.0, bits=1.05)).skills["english_text"]
    assert found.outcome == "dropped"
    assert found.gap.high - found.gap.low < 0.2 * found.base


def test_a_rise_too_small_to_matter_is_no_drop() -> None:
    """Paired, a rise of a hundredth is shown beyond doubt; it is below what counts."""
    small = guarded(examined(skew=0.0), examined(skew=0.0, bits=1.01)).skills["english_text"]
    assert small.gap.low > 0 and small.outcome == "held"
    assert guarded(examined(), examined(bits=0.9)).skills["english_text"].outcome == "gained"


def test_only_equal_batteries_are_compared() -> None:
    other = replace(examined(), items=examined().items[1:])
    with pytest.raises(ValueError, match="item by item"):
        guarded(examined(), other)


def test_an_examination_is_read_back(tmp_path: Path) -> None:
    write_examination(tmp_path / "battery.json", examined())
    assert read_examination(tmp_path / "battery.json") == examined()
    (tmp_path / "battery.json").write_text('{"version": 1}')
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_examination(tmp_path / "battery.json")
