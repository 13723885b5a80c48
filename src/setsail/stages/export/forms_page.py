"""The page about the forms of a model: compress.html and compress.md, the same text and figures in both."""

from __future__ import annotations

from pathlib import Path

from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import size
from setsail.base.page.blocks import Cell, Chapter, Column, Document, Figure, KeyFigure, Prose, Table
from setsail.base.page.html import to_html
from setsail.base.page.markdown import to_markdown
from setsail.base.page.words import Language, Phrases, Words
from setsail.compress.forms import Form, Forms
from setsail.evaluate.interval import Interval
from setsail.evaluate.numbers import metric_interval, metric_value
from setsail.evaluate.report.drawing import Point, plot
from setsail.evaluate.verdict import METRIC_NAMES

PAGE = "compress.html"


def build(out: Path, compared: Forms, *, name: str, language: Language) -> None:
    """Writes compress.html and compress.md into `out`."""
    page = document(compared, name, Words(language, PHRASES, {}))
    with explained_os_errors("writing the page about the forms"):
        write_atomically(out / PAGE, to_html(page))
        write_atomically(out / "compress.md", to_markdown(page))


def document(compared: Forms, name: str, words: Words) -> Document:
    """The whole page in one language."""
    smallest = min(compared.forms, key=lambda form: form.size_bytes)
    fastest = max(compared.forms, key=lambda form: form.per_second)
    original = compared.original
    unit = words(compared.unit)
    return Document(
        language=words.language,
        title=name,
        subtitle=words("subtitle", rows=compared.num_rows),
        verdict=_verdict(compared, words),
        tone="open",
        key_figures=(
            KeyFigure(words("original"), _score(compared, original), original.name),
            KeyFigure(words("smallest"), size(smallest.size_bytes), smallest.name),
            KeyFigure(words("fastest"), f"{fastest.per_second:,.0f} {unit}/s", fastest.name),
        ),
        chapters=(_table(compared, words), _pictures(compared, words)),
        words={"kind": words("kind"), "contents": words("contents"), "created": words("created")},
    )


def _verdict(compared: Forms, words: Words) -> str:
    """Which forms nothing beats, and which are shown to be worse than the original."""
    kept = [form.name for form in compared.forms if not compared.is_beaten(form, by_speed=False)]
    worse = [form.name for form in compared.forms if form.gap is not None and _is_worse(compared, form)]
    told = words("kept", names=words.joined(kept))
    return f"{told} {words('worse', names=words.joined(worse)) if worse else words('none_worse')}"


def _is_worse(compared: Forms, form: Form) -> bool:
    assert form.gap is not None
    return form.gap.high < 0 if compared.higher else form.gap.low > 0


def lines(compared: Forms, words: Words) -> list[tuple[str, ...]]:
    """The forms as rows of text: name, score, gap, size, memory, speed."""
    return [
        (
            form.name,
            _score(compared, form),
            "–" if form.gap is None else _told(compared.metric, form.gap, signed=True),
            size(form.size_bytes),
            size(form.peak_bytes),
            f"{form.per_second:,.1f}",
        )
        for form in compared.forms
    ]


def titles(compared: Forms, words: Words) -> tuple[str, ...]:
    """The titles of those rows."""
    metric = METRIC_NAMES[compared.metric][words.language == "zh"]
    return words("form"), metric, words("gap"), words("size"), words("memory"), f"{words(compared.unit)}/s"


def _score(compared: Forms, form: Form) -> str:
    return _told(compared.metric, form.score)


def _told(metric: str, figure: object, *, signed: bool = False) -> str:
    interval = Interval(**vars(figure), num_units=0)
    return f"{metric_value(metric, interval.value, signed=signed)} {metric_interval(metric, interval, signed=signed)}"


def _table(compared: Forms, words: Words) -> Chapter:
    first, *others = titles(compared, words)
    columns = (Column(first), *(Column(title, "number") for title in others))
    rows = tuple(
        (Cell(cells[0], "bad" if form.gap is not None and _is_worse(compared, form) else ""), *map(Cell, cells[1:]))
        for form, cells in zip(compared.forms, lines(compared, words), strict=True)
    )
    return Chapter("forms", words("forms"), (Prose(words("how")), Table(columns, rows)))


def _pictures(compared: Forms, words: Words) -> Chapter:
    metric = METRIC_NAMES[compared.metric][words.language == "zh"]
    figures = []
    for by_speed, title in ((True, f"{words(compared.unit)}/s"), (False, f"{words('size')}, MB")):
        points = [
            Point(
                x=form.per_second if by_speed else form.size_bytes / 1e6,
                y=form.score.value,
                low=form.score.low,
                high=form.score.high,
                tone="quiet" if compared.is_beaten(form, by_speed=by_speed) else "",
            )
            for form in compared.forms
        ]
        names = [form.name for form in compared.forms if not compared.is_beaten(form, by_speed=by_speed)]
        caption = words("by_speed" if by_speed else "by_size", names=words.joined(names))
        figures.append(Figure(plot(points, title, metric), caption))
    return Chapter("choice", words("choice"), tuple(figures))


PHRASES: Phrases = {
    "kind": ("The forms of a model", "模型的各种形式"),
    "contents": ("Contents", "目录"),
    "created": ("All figures are in forms.json.", "全部数字见 forms.json。"),
    "subtitle": (
        "Each form of the model on the same {rows} test rows: what it is worth, how large it is, what it takes.",
        "模型的每种形式在同样的 {rows} 个测试样本上：效果如何、多大、需要多少资源。",
    ),
    "original": ("The original", "原模型"),
    "smallest": ("Smallest", "最小"),
    "fastest": ("Fastest", "最快"),
    "kept": (
        "No other form is both better on the test and smaller than: {names}.",
        "没有别的形式既在测试上更好又更小：{names}。",
    ),
    "worse": ("Shown to be worse than the original: {names}.", "证明不如原模型：{names}。"),
    "none_worse": ("None is shown to be worse than the original.", "未能证明有任何一种不如原模型。"),
    "forms": ("The forms", "各种形式"),
    "how": (
        "Values with 95 % intervals; the difference to the original is paired, row for row. Memory and speed are of a "
        "process of its own on this machine, eight answers or 32 texts at once, measured one form after the other; "
        "what else the machine does meanwhile is in the speed.",
        "数值附 95 % 区间；与原模型之差逐样本配对。内存和速度在本机的独立进程中测得，同时写八个答案或读 32 个文本，"
        "各种形式依次测量；机器同时在做的其他事会影响速度。",
    ),
    "form": ("Form", "形式"),
    "gap": ("Difference", "差"),
    "size": ("Size", "大小"),
    "memory": ("Peak memory", "内存峰值"),
    "tokens": ("tokens", "词元"),
    "texts": ("texts", "文本"),
    "choice": ("Which to take", "如何选择"),
    "by_speed": (
        "Quality against speed. Nothing here is both better and faster than: {names}; grey dots are beaten.",
        "效果与速度。没有别的形式既更好又更快：{names}；灰点处处不如另一种。",
    ),
    "by_size": (
        "Quality against size. Nothing here is both better and smaller than: {names}; grey dots are beaten.",
        "效果与大小。没有别的形式既更好又更小：{names}；灰点处处不如另一种。",
    ),
}
