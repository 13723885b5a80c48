"""Word frequency as a baseline, and bits over the bytes that were hidden."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from setsail.data.row import Row
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.system import System
from setsail.evaluate.unigram import unigram_nats


def test_prices_are_those_of_the_shares_with_one_added() -> None:
    prices = unigram_nats([np.array([0, 0, 1]), np.array([0])], 3)
    np.testing.assert_allclose(np.exp(-prices), [4 / 7, 2 / 7, 1 / 7])


def test_bits_are_divided_by_what_was_hidden_and_the_first_comparison_leads(tmp_path: Path) -> None:
    rows = [Row(f"r{number}", (), f"a text number {number}", "", "toy.txt") for number in range(12)]
    masked_bytes = [3 + number for number in range(12)]
    systems = {
        "tuned": System(masked_nats=lambda rows: [1.0] * len(rows)),
        "unigram": System(masked_nats=lambda rows: [2.0] * len(rows)),
    }
    plan = Plan((("tuned", "unigram"),), resamples=200)
    found = evaluate(systems, rows, tmp_path, plan=plan, masked_bytes=masked_bytes)
    bits = found.systems["tuned"].metrics["bits_per_masked_byte"].value
    assert bits == pytest.approx(12 / math.log(2) / sum(masked_bytes))
    assert found.decision == "better"
    assert found.verdict.startswith("The tuned model is better than word frequency: bits per masked byte")
    assert set(found.systems["tuned"].metrics) == {"bits_per_masked_byte"}
