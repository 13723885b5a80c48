"""The report of a tokenizer, as report.json and report.md: its figures on held-out text beside those of others.

Those that come inside installed packages are always there; more are named by `tokenizer.compare`. What a figure means
is `tokens/survey.py`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models.load import import_tokenizer, resolve_base
from setsail.models.packaged import PACKAGED, locate
from setsail.tokens.size import LEAST_GAIN, MOST_SHARE
from setsail.tokens.survey import Survey, survey, usage
from setsail.tokens.tokenizer import Tokenizer, load

OURS = "this one"


@dataclass(frozen=True)
class Told:
    """What is said at once, and what the manifest keeps."""

    lines: list[str]
    metrics: dict[str, Any]


def write_report(
    folder: Path,
    made: Tokenizer,
    *,
    held_out: Sequence[str],
    learned: Iterable[str],
    compared: Mapping[str, Path],
    more: Mapping[str, Any],
) -> Told:
    """Measures the tokenizer, and others beside it, and writes both files."""
    surveys = {OURS: survey(made, held_out)}
    surveys |= {name: survey(load(path), held_out) for name, path in compared.items()}
    surveys |= {name: survey(other, held_out) for name, other in _at_hand()}
    num_learned, used = usage(made, learned)
    unused = 1 - used / max(1, made.num_tokens)
    standing = {token: sum(token in text for text in held_out) for token in made.special_tokens}
    standing = {token: count for token, count in standing.items() if count}
    report = {
        "num_tokens": made.num_tokens,
        "tokenizers": {
            name: {**asdict(found), "bytes_per_token": found.bytes_per_token} for name, found in surveys.items()
        },
        "unused_share": unused,
        "used_in_characters": num_learned,
        "special_tokens_in_texts": standing,
        **more,
    }
    (folder / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = list(_lines(surveys, unused, num_learned, standing))
    (folder / "report.md").write_text("\n".join(_page(surveys, lines, more)) + "\n", encoding="utf-8")
    metrics = {"bytes_per_token": round(surveys[OURS].bytes_per_token, 4), "num_unknown": surveys[OURS].num_unknown}
    return Told(lines, {**metrics, "unused_share": round(unused, 4)})


def _at_hand() -> Iterator[tuple[str, Tokenizer]]:
    """The tokenizers of the packaged bases that are installed."""
    for name in PACKAGED:
        try:
            locate(name)
        except ModelError:
            continue
        with tempfile.TemporaryDirectory() as folder:
            import_tokenizer(resolve_base(name), Path(folder), Log(quiet=True))
            yield name, load(Path(folder))


def _lines(
    surveys: Mapping[str, Survey], unused: float, num_learned: int, standing: Mapping[str, int]
) -> Iterator[str]:
    for name, found in surveys.items():
        unknown = f", {found.num_unknown:,} unknown" if found.num_unknown else ""
        yield f"{found.bytes_per_token:.2f} bytes per held-out token: {name}, {found.vocabulary:,} tokens{unknown}"
    yield f"{unused:.1%} of the vocabulary is not used in {num_learned:,} learned characters"
    for token, count in standing.items():
        yield f"! the special token {token} stands in {count:,} held-out texts: there it is read as itself, not as text"


def _page(surveys: Mapping[str, Survey], lines: Sequence[str], more: Mapping[str, Any]) -> Iterator[str]:
    yield "# Tokenizer\n"
    yield from (f"- {line}" for line in lines)
    yield "\n## Characters per token, by script\n"
    scripts = sorted({script for found in surveys.values() for script in found.scripts})
    yield from _table(["tokenizer", *scripts], ([name, *_fertility(found, scripts)] for name, found in surveys.items()))
    if "curve" in more:
        yield f"\n## The size\n\nDoubled while that shortens held-out text by {LEAST_GAIN:.0%} or more, and embeddings"
        yield f"take at most {MOST_SHARE:.0%} of the parameters. Taken: {more['chosen']:,}.\n"
        rows = (
            [f"{p['vocabulary']:,}", f"{p['bytes_per_token']:.3f}", f"{p['embedding_share']:.0%}"]
            for p in more["curve"]
        )
        yield from _table(["vocabulary", "bytes per token", "embeddings"], rows)
    yield "\n## Words that are cut smallest\n"
    worst = ([word.text, str(word.tokens), str(word.count)] for word in surveys[OURS].worst)
    yield from _table(["word", "tokens", "times"], worst)


def _fertility(found: Survey, scripts: Sequence[str]) -> Iterator[str]:
    for script in scripts:
        counted = found.scripts.get(script)
        yield f"{counted.characters / counted.tokens:.2f}" if counted and counted.tokens else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
