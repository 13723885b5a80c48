"""A small, fixed part of what benchmarks/fuzz_readers.py does at length."""

from __future__ import annotations

import random

import pytest

from data.file_makers import samples
from data.mutations import APART, ROWS, case, mutated, outcome
from setsail.data.containers import container_named


@pytest.mark.filterwarnings("ignore")
def test_two_thousand_damaged_files_end_as_rows_drops_or_an_error_of_ours() -> None:
    seeds = samples(ROWS)
    outcomes = [outcome(*case(seed, seeds)) for seed in range(2000)]
    assert {"rows", "refused"} <= set(outcomes)


def test_there_is_a_sample_of_every_kind_and_each_is_read() -> None:
    seeds = samples(ROWS)
    kinds = {container_named(name) for name in seeds}
    assert {"csv", "tsv", "json", "jsonl", "parquet", "arrow", "txt", "md", "html", "eml", "mbox"} <= kinds
    assert {"workbook", "pdf", "docx", "zip", "tar"} <= kinds and set(seeds) >= APART
    for name, data in seeds.items():
        assert outcome(name, data) == "rows", name


def test_damage_is_the_same_each_time_and_is_damage() -> None:
    seeds = samples(ROWS)
    assert [case(seed, {"a.csv": seeds["a.csv"]}) for seed in range(50)] == [
        case(seed, {"a.csv": seeds["a.csv"]}) for seed in range(50)
    ]
    assert sum(mutated(seeds["a.csv"], random.Random(seed)) != seeds["a.csv"] for seed in range(100)) > 95
