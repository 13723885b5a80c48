from __future__ import annotations

import pytest

from setsail.evaluate.interval import Decision, Interval
from setsail.evaluate.verdict import Difference, Language, compare, samples_how, sentence


def differ(value: float, reach: float, decision: Decision, *, num_units: int = 40) -> Difference:
    return Difference(20.0 + value, 20.0, Interval(value, value - reach, value + reach, num_units), decision)


@pytest.mark.parametrize(
    ("chrf", "bits", "language", "expected"),
    [
        (
            differ(4, 1, "better"),
            differ(-1, 0.5, "better"),
            "en",
            "The tuned model is better than the base model: chrF 24.0 against 20.0, a difference of +4.0 (95 % "
            "interval [+3.0, +5.0]). Also better on bits per byte.",
        ),
        (
            differ(-4, 1, "worse"),
            differ(-1, 0.5, "better"),
            "en",
            "The tuned model is worse than the base model: chrF 16.0 against 20.0, a difference of −4.0 (95 % interval "
            "[−5.0, −3.0]). Better on bits per byte.",
        ),
        (
            differ(0.2, 1, "not_shown"),
            differ(1, 0.5, "worse"),
            "en",
            "The tuned model is not shown to be better than the base model: chrF 20.2 against 20.0, a difference of "
            "+0.2 (95 % interval [−0.8, +1.2]); the interval includes zero. Worse on bits per byte.",
        ),
        (
            differ(4, 1, "better"),
            differ(1, 0.5, "worse"),
            "en",
            "The tuned model is not shown to be better than the base model: chrF 24.0 against 20.0, a difference of "
            "+4.0 (95 % interval [+3.0, +5.0]), but bits per byte got worse.",
        ),
        (
            differ(4, 1, "better"),
            differ(-1, 0.5, "better"),
            "zh",
            "微调后的模型优于基座模型：chrF 为 24.0，对方为 20.0，相差 +4.0（95 % 区间 [+3.0, +5.0]）。"
            "每字节比特数也更好。",
        ),
        (
            differ(0.2, 1, "not_shown"),
            differ(0, 0.5, "not_shown"),
            "zh",
            "未能证明微调后的模型优于基座模型：chrF 为 20.2，对方为 20.0，相差 +0.2（95 % 区间 [−0.8, +1.2]）；"
            "区间包含零。每字节比特数未见差别。",
        ),
        (
            differ(4, 1, "not_shown", num_units=4),
            differ(-1, 0.5, "not_shown", num_units=4),
            "zh",
            "未能证明微调后的模型优于基座模型：只有 4 个独立的测试样本，少于 10 个无法判断（chrF 为 24.0，对方为 20.0，"
            "相差 +4.0（95 % 区间 [+3.0, +5.0]））。",
        ),
    ],
)
def test_what_may_be_said(chrf: Difference, bits: Difference, language: Language, expected: str) -> None:
    found = compare("tuned", "base", {"bits_per_byte": bits, "chrf": chrf})
    assert found.lead == "chrf"
    assert sentence(found, language) == expected


def test_a_system_of_another_name_keeps_it() -> None:
    found = compare("q4_0", "tuned", {"chrf": differ(-4, 1, "worse")})
    assert sentence(found).startswith("Q4_0 is worse than the tuned model:")


def test_how_samples_were_chosen_is_said_in_both_languages() -> None:
    assert "60 test rows were sorted by the chrF of the tuned model" in samples_how("tuned", 10, 60)
    assert "60 个测试样本按微调后的模型的 chrF 排序" in samples_how("tuned", 10, 60, "zh")
    assert samples_how("tuned", 0, 60) == ""
