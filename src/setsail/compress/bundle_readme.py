"""The README of a bundle, in English and Chinese: what it is, how it runs, what it needs, what it does not do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from setsail.base.log import size
from setsail.compress.bundle import Measured


@dataclass(frozen=True)
class About:
    """What a README says of a bundle; `example` is a line for its program, its texts left open."""

    name: str
    task: str
    weights: str
    engines: tuple[str, ...]
    model_bytes: int
    measured: Measured
    machine: str
    example: str
    has_report: bool


_CUT = {
    "en": "Of a text longer than the context the end is not read; `cut` says so.",
    "zh": "超出上下文的部分不读，以 `cut` 标明。",
}
_REPORT = {
    "en": "`report.html` says how good it is; it shows rows of the test: take it out where nobody may read those.",
    "zh": "`report.html` 说明它有多好，其中列出部分测试样本：若不便公开，请先删去。",
}


def write_readme(folder: Path, about: About) -> None:
    """README.md, English first."""
    peak = about.measured.peak_bytes
    figures = (
        about.weights,
        size(about.model_bytes),
        f"{about.measured.first_seconds:.2f} s",
        f"{about.measured.next_seconds:.3f} s",
        "–" if peak is None else size(peak),
    )
    more = {
        language: "".join(
            f"\n{line[language]}\n"
            for line, told in ((_CUT, "onnxruntime" in about.engines), (_REPORT, about.has_report))
            if told
        )
        for language in ("en", "zh")
    }
    text = f"""# {about.name}

A model of task `{about.task}` that runs on its own: Python and {" and ".join(about.engines)}, no torch.

    pip install -r requirements.txt
    python run.py '{about.example}'

Lines on stdin work as well; a JSON line comes out for each. Before this folder was kept, its program was run in a
process of its own, and answered a held-out row as the checked model does.
{more["en"]}
`LICENCES.md` says what the weights came from, `manifest.json` has the SHA-256 of each file.

| weights | model | first answer | next answer | peak memory |
|---|---|---|---|---|
| {" | ".join(figures)} |

Measured on {about.machine}.

## 中文

任务为 `{about.task}` 的模型，独立运行：只需 Python 和 {"、".join(about.engines)}，不需要 torch。
安装和运行的命令见上；也可以从标准输入逐行读取，每行输出一行 JSON。保留此文件夹之前，已在单独的进程中运行其程序，
它对一个留出样本的回答与检查过的模型一致。
{more["zh"]}
`LICENCES.md` 说明权重的来源与许可，`manifest.json` 记录每个文件的 SHA-256。上表依次为：精度、模型大小、首个回答用时、
下一个回答用时、内存峰值。
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
