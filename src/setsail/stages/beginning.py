"""The beginning: a look at somebody's data, what was understood, and a commented recipe for it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from setsail.base.errors import DataError, UserError
from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data.inspect import Inspection, inspect


def begin(source: str, *, out: Path | None = None, force: bool = False) -> None:
    """Writes a recipe for a source and says how it was understood; the path goes to stdout.

    Raises:
        DataError: the source cannot be understood; nothing is written.
        UserError: a recipe of that name is there already.
    """
    log = Log()
    seen = inspect(source)
    for line in describe(seen):
        log.say(f"  {line}")
    if seen.format is None:
        raise DataError("no recipe was written", place=source, hint=seen.problems[-1] if seen.problems else None)
    name = name_for(source)
    path = out or Path(f"{name}.yaml")
    if path.exists() and not force:
        raise UserError("a recipe is there already", place=str(path), hint="--out FILE, or --force to replace it")
    with explained_os_errors("writing the recipe"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, recipe_text(seen, name, _relative(source, path)))
    load_recipe(path)
    print(path)
    log.say(f"next   setsail run {path}")


def look(source: str, *, as_json: bool = False) -> None:
    """Prints how a source is understood, with samples; nothing is written.

    Raises:
        DataError: it is missing, empty, or broken as a whole.
    """
    seen = inspect(source)
    if as_json:
        print(json.dumps(asdict(seen), ensure_ascii=False, indent=1))
        return
    for line in describe(seen):
        print(line)
    Log().say(f"next   setsail init --data {source}")


def name_for(source: str) -> str:
    """A run's name from a source's: "docstrings:numpy" is numpy, "data/Tickets 2024.csv.gz" is tickets-2024."""
    stem = Path(source.split(":")[-1]).name.split(".")[0]
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-") or "run"


def _relative(source: str, recipe: Path) -> str:
    """The source as the recipe names it: relative to the recipe's folder where it is a file."""
    path = Path(source)
    if not path.exists() or path.is_absolute():
        return source
    try:
        return path.resolve().relative_to(recipe.resolve().parent).as_posix()
    except ValueError:
        return str(path.resolve())


def describe(seen: Inspection) -> list[str]:
    """What was understood, for a person."""
    files = f"{seen.num_files} files, " if seen.num_files > 1 else ""
    encoding = f", {seen.encoding}" if seen.encoding else ""
    lines = [f"{seen.source}: {files}{seen.container}{encoding}, {seen.num_rows:,} rows, {seen.num_usable:,} usable"]
    if seen.format:
        mapped = ", ".join(f"{role} ← {column}" for role, column in seen.columns.items())
        lines.append(f"format {seen.format}" + (f" ({mapped})" if mapped else "") + f", task {seen.task}")
    for row in seen.samples[:3]:
        if row.messages:
            for message in row.messages:
                lines.append(f"  {message['role']:<9} {_short(message['content'])}")
        else:
            lines.append(f"  text      {_short(row.text)}")
            lines += [f"  label     {row.label}"] if row.label else []
        lines.append("")
    return lines + [f"! {problem}" for problem in seen.problems]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 100 else flat[:99] + "…"


def _is_chinese(seen: Inspection) -> bool:
    """Whether a third of the characters of the rows that are shown are Chinese."""
    text = "".join(row.text or "".join(message["content"] for message in row.messages) for row in seen.samples)
    return 3 * sum("\u4e00" <= character <= "\u9fff" for character in text) >= max(1, len(text))


def recipe_text(seen: Inspection, name: str, source: str) -> str:
    """A recipe with a comment on every choice."""
    if seen.task == "classify":
        return _labels_recipe_text(seen, name, source)
    if seen.task in ("embed", "rank"):
        return _pairs_recipe_text(seen, name, source)
    columns = json.dumps(dict(seen.columns), ensure_ascii=False)
    by = f", by: {seen.split_by}" if seen.split_by else ""
    why = "rows with the same value stay on one side" if by else "rows with the same question stay on one side"
    chinese = _is_chinese(seen)
    language = "zh" if chinese else "en"
    knows = "; it knows little Chinese" if chinese else ""
    compares = seen.task == PREFERENCE
    task = "chat" if compares else seen.task
    prefer = "  prefer: {beta: 0.1}                  # rows are pairs: the chosen answer is to be preferred\n"
    return f"""\
# {seen.num_usable:,} usable rows of {seen.num_rows:,}; `setsail run` reads this file, `--set a.b=c` overrides a line.
name: {name}
language: {language}                           # of the report: en | zh
task: {task:<32} # chat: learn to answer; text: learn to go on
base: smollm2-135m-instruct            # a packaged model, a hub's org/name, a folder, or a .gguf file{knows}
data:
  source: {json.dumps(source, ensure_ascii=False)}
  format: {seen.format:<28} # recognised; correct it here if it is wrong
  # columns: {columns}
  redact: mask                         # mask | drop | none: mail, telephones, cards, identity numbers, addresses, keys
  overlong: drop                       # drop | split | cut: rows longer than finetune.context
  split: {{validation: 0.1, test: 0.1{by}}}   # {why}
finetune:
{prefer if compares else ""}  method: lora                         # lora | full
  epochs: 2
  context: 1024                        # the longest row, in tokens
export: {{format: gguf, weights: [q8_0]}}  # q8_0 is nearly exact; q4_0 is half its size
serve: {{port: 8000}}
"""


def _labels_recipe_text(seen: Inspection, name: str, source: str) -> str:
    """A recipe for texts with labels."""
    columns = json.dumps(dict(seen.columns), ensure_ascii=False)
    by = f", by: {seen.split_by}" if seen.split_by else ""
    chinese = _is_chinese(seen)
    base = "bert-base-chinese" if chinese else "minilm-l6"
    return f"""\
# {seen.num_usable:,} usable rows of {seen.num_rows:,}; `setsail run` reads this file, `--set a.b=c` overrides a line.
name: {name}
language: {"zh" if chinese else "en"}                           # of the report: en | zh
task: classify                         # a label for each text
base: {base:<32} # an encoder: minilm-l6 (English, a package), or a hub's name or a folder of BERT's family
data:
  source: {json.dumps(source, ensure_ascii=False)}
  columns: {columns}
  redact: mask                         # mask | drop | none: mail, telephones, cards, identity numbers, addresses, keys
  overlong: cut                        # cut | drop: texts longer than finetune.context lose their end, or are left out
  split: {{validation: 0.1, test: 0.1{by}}}   # label by label, so that each stands in every part
finetune:
  epochs: 6                            # a few hundred rows ask for 10
  context: 512                         # the longest text, in tokens
"""


def _pairs_recipe_text(seen: Inspection, name: str, source: str) -> str:
    """A recipe for pairs of texts."""
    columns = json.dumps(dict(seen.columns), ensure_ascii=False)
    chinese = _is_chinese(seen)
    base = "bert-base-chinese" if chinese else "minilm-l6"
    does = "vectors, so that a query finds its text" if seen.task == "embed" else "a score for each query with a text"
    return f"""\
# {seen.num_usable:,} usable rows of {seen.num_rows:,}; `setsail run` reads this file, `--set a.b=c` overrides a line.
name: {name}
language: {"zh" if chinese else "en"}                           # of the report: en | zh
task: {seen.task:<32} # {does}
base: {base:<32} # an encoder: minilm-l6 (English, a package), or a hub's name or a folder of BERT's family
data:
  source: {json.dumps(source, ensure_ascii=False)}
  columns: {columns}
  redact: mask                         # mask | drop | none: mail, telephones, cards, identity numbers, addresses, keys
  overlong: cut                        # cut | drop: texts longer than finetune.context lose their end, or are left out
  split: {{validation: 0.1, test: 0.1}}  # no query stands in two parts
finetune:
  epochs: 2
  context: 256                         # the longest text, in tokens
"""
