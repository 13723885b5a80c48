"""The guide to cleaning is true in both languages: each example comes out as it says, each step and preset is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from setsail.data.steps.registry import PRESETS, STEPS, steps_of

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
NAMES = ("cleaning.md", "cleaning.zh-CN.md")


def blocks_of(name: str) -> list[dict[str, Any]]:
    blocks = re.findall(r"```yaml\n(.*?)\n```", (GUIDES / name).read_text("utf-8"), re.DOTALL)
    return [YAML(typ="safe", pure=True).load(block) for block in blocks]


def outcome(step: str | dict[str, Any], before: str) -> tuple[str, str]:
    """The word of the guide for what a step does, and what it does."""
    (treatment,) = steps_of([step])
    if treatment.change:
        return "after", treatment.change(before)
    if treatment.mark:
        return "marked", treatment.mark(before)
    assert treatment.judge
    verdict = treatment.judge(before)
    assert verdict
    return "dropped", f"{verdict.reason}, {verdict.detail}"


@pytest.mark.parametrize("name", NAMES)
def test_each_example_comes_out_as_the_guide_says(name: str) -> None:
    examples = [block for block in blocks_of(name) if "step" in block]
    for block in examples:
        word, result = outcome(block["step"], block["before"])
        assert block == {"step": block["step"], "before": block["before"], word: result}
    shown = {step if isinstance(step, str) else next(iter(step)) for block in examples for step in [block["step"]]}
    assert shown == set(STEPS)


@pytest.mark.parametrize("name", NAMES)
def test_the_guide_has_every_preset_with_its_steps(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", (GUIDES / name).read_text("utf-8"), re.MULTILINE)
    assert {preset: re.findall(r"`(\w+)`", steps) for preset, steps in rows} == {
        preset: [step.name for step in steps_of(preset)] for preset in PRESETS
    }
    for block in blocks_of(name):
        if "clean" in block:
            assert steps_of(block["clean"])


def test_both_guides_keep_step() -> None:
    english, chinese = map(blocks_of, NAMES)
    assert english == chinese
    headings = [re.findall(r"^#+ (?=\w)", (GUIDES / name).read_text("utf-8"), re.MULTILINE) for name in NAMES]
    assert headings[0] == headings[1]
