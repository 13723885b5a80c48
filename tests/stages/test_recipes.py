"""Each recipe of the house in a tiny form: its own keys, a few rows of its own format, every stage for real.

What a package or a hub would give is replaced by a small file of the same form, and a base that is downloaded by a tiny
one of its kind; what a recipe says of its columns, labels and lengths stays as it says.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import string
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from models import toy_encoder, toy_model
from transformers import AutoModelForMaskedLM

from setsail.base.log import Log
from setsail.base.recipe import ENCODER_TASKS, READING_TASKS, New
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.evaluate.interval import MIN_UNITS
from setsail.stages.voyage import sail

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "recipes"
TABLE = runpy.run_path(str(FOLDER.parent / "scripts" / "recipes.py"))  # what `make recipes` calls
RECIPES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
NAMES = ["anna", "ben", "carl", "dora", "emil", "frida"]
PLACES = ["rome", "oslo", "lima", "bern", "kyiv", "doha"]
THINGS = ["parcel", "box", "invoice", "refund", "login", "password", "crash", "order", "letter", "table"]
HANZI = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳"


def tales(folder: Path, draw: random.Random) -> str:
    """A table of Orange's, as the tales come in: three lines of header, long texts."""
    lines = ["Title\tContent", "string\tstring", "meta\tmeta"]
    for number in range(40):
        words = (f"the {draw.choice(THINGS)} of {draw.choice(NAMES)}" for _ in range(draw.choice((2, 3, 40))))
        lines.append(f"Tale {number}\t{' and '.join(words)}.")
    return written(folder / "tales.tab", "\n".join(lines))


def poems(folder: Path, draw: random.Random) -> str:
    """A JSON list of poems, whose lines are lists."""
    rows = [{"paragraphs": ["，".join(han(draw, 5) for _ in range(2)) + "。" for _ in range(3)]} for _ in range(60)]
    return written(folder / "poet.tang.0.json", json.dumps(rows, ensure_ascii=False))


def idioms(folder: Path, draw: random.Random) -> str:
    lines = ["word,explanation"]
    lines += [f'{han(draw, 4)},"{han(draw, 6)}，{han(draw, 5)}。{han(draw, 4)}。"' for _ in range(80)]
    return written(folder / "idiom.csv", "\n".join(lines))


def reviews(folder: Path, draw: random.Random) -> str:
    """A file for each label, a review a line."""
    for label, word in (("pos", "很好"), ("neg", "太差")):
        written(folder / "reviews" / f"{label}.txt", "\n".join(han(draw, 6) + word + han(draw, 4) for _ in range(60)))
    return f"{folder}/reviews/*.txt"


def newspaper(folder: Path, draw: random.Random) -> str:
    """Words with their parts of speech, two spaces between them."""
    lines = []
    for _ in range(90):
        words = [f"{draw.choice('江李王')}/nr", f"{han(draw, 2)}/nr", "在/p", f"{draw.choice(['北京', '上海'])}/ns"]
        lines.append("  ".join([*words, "会见/v", f"[{han(draw, 2)}/n  公司/n]nt", f"{han(draw, 5)}/n", "。/w"]))
    return written(folder / "199801.txt", "\n".join(lines))


def tickets(folder: Path, draw: random.Random) -> str:
    lines = ["text,label"]
    for number in range(100):
        label = draw.choice(["invoice", "parcel", "login"])
        lines.append(f"my {label} is wrong number {number} of {draw.choice(NAMES)},{label}")
    return written(folder / "tickets.csv", "\n".join(lines))


def catalogue(folder: Path, draw: random.Random) -> str:
    """gettext's own form, in folders as a package has them."""
    entries = ['msgid ""\nmsgstr "Language: zh_Hans\\nContent-Type: text/plain; charset=UTF-8\\n"']
    for number in range(90):
        thing = draw.choice(THINGS)
        entries.append(f'msgid "The {thing} of {draw.choice(NAMES)} {number}"\nmsgstr "{han(draw, 4)}{number}"')
    path = folder / "django" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
    written(path, "\n\n".join(entries))
    return f"{folder}/django/**/locale/zh_Hans/LC_MESSAGES/*.po"


def definitions(folder: Path, draw: random.Random) -> str:
    """WordNet's own form: offset, words, pointers to other nouns, and a definition that names some of them."""
    lines = ["  1 This is where a licence stands."]
    kinds = {"10000001": "animal", "10000002": "country"}
    lines += [f"{offset} 05 n 01 {word} 0 000 | a {word} in itself  " for offset, word in kinds.items()]
    for number in range(70):
        symbol, (offset, word) = draw.choice([("@", "#p")[number % 2]]), list(kinds.items())[number % 2]
        named = f"{draw.choice(THINGS)}_{number}"
        lines.append(
            f"{number:08d} 05 n 02 {named} 0 other{number} 0 001 {symbol} {offset} n 0000 | one {word} of many  "
        )
    return written(folder / "data.noun", "\n".join(lines))


def questions(folder: Path, draw: random.Random) -> str:
    """Questions on passages; one in four says unknown, one in four is cut into words as the passage is not."""
    lines = []
    for number in range(100):
        name, place = draw.choice(NAMES), draw.choice(PLACES)
        passage = f"{name} keeps the {draw.choice(THINGS)} in {place} , number 1,{number:03d} ."
        asked, answer = draw.choice(
            [("where", place), ("who", name), ("which", f"1, {number:03d}"), ("when", "unknown")]
        )
        lines.append(json.dumps({"passage": passage, "question": f"{asked} no sorry {asked} ?", "answer": answer}))
    return written(folder / "test.jsonl", "\n".join(lines))


def lexicon(folder: Path, draw: random.Random) -> str:
    """A word and its score a line, with more behind them."""
    words = [f"{name}{thing}" for name in NAMES for thing in THINGS]
    lines = [f"{word}\t{draw.choice((-1, 1)) * len(word) / 4}\t0.5\t[1, 2]" for word in words]
    return written(folder / "lexicon.txt", "\n".join(lines))


def docstrings(folder: Path, draw: random.Random) -> str | None:
    """Nothing: what an installed package says of itself is here already."""
    return None


# For each recipe the rows that stand for its own.
SOURCES: Mapping[str, Callable[[Path, random.Random], str | None]] = {
    "answer": questions,
    "classify": tickets,
    "embed": docstrings,
    "encoder": tales,
    "poet": poems,
    "rank": docstrings,
    "regress": lexicon,
    "relate": definitions,
    "reviews": reviews,
    "rewrite": idioms,
    "seq2seq": tales,
    "stories": tales,
    "summarize": docstrings,
    "support": docstrings,
    "tag": newspaper,
    "translate": catalogue,
}


def han(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(HANZI, k=length))


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)


def encoder(folder: Path) -> str:
    """A tiny BERT that reads any ASCII, character by character, with room for 200 tokens."""
    toy_encoder.write_folder(folder)
    characters = [character for character in string.printable if not character.isspace()]
    made = toy_encoder.tokenizer([*characters, *(f"##{character}" for character in characters)])
    made.save(str(folder / "tokenizer.json"))
    sizes = {"vocab_size": made.get_vocab_size(), "max_position_embeddings": 200}
    AutoModelForMaskedLM.from_config(toy_encoder.config(**sizes)).save_pretrained(folder)
    return str(folder)


def tiny(path: Path, folder: Path) -> list[str]:
    """The settings that make a recipe tiny, as anybody may give them with --set."""
    recipe = load_recipe(path).recipe
    source = SOURCES[path.stem](folder, random.Random(11))
    way = recipe.training_key
    settings = [
        *([f"data.source={source}"] if source else []),
        *([] if source else ["data.max_rows=60"]),
        "data.near_duplicates=1.0",
        "data.split={validation: 0.2, test: 0.25}",
        f"{way}.epochs=1",
        f"{way}.context=128",
        f"{way}.batch_tokens=1024",
        "evaluate.max_rows=12",
        "evaluate.resamples=100",
        "evaluate.samples=2",
        "check.prompts=2",
    ]
    if isinstance(recipe.base, New):
        owner = "base" if recipe.tokenizer is None else "tokenizer"
        settings += ["base.new=1m", f"{owner}.vocabulary={420 if recipe.base.kind == 'seq2seq' else 320}"]
    elif recipe.task in ENCODER_TASKS:
        settings.append(f"base={encoder(folder / 'base')}")
    else:
        settings.append(f"base={toy_model.write_folder(folder / 'base', max_position_embeddings=1024)}")
        settings += ["export.weights=[q8_0]", "finetune.context=800", "serve.context=1024", "serve.max_tokens=64"]
    if recipe.task not in ENCODER_TASKS:
        settings += ["evaluate.max_new_tokens=8", "check.max_new_tokens=4"]
        settings += [] if recipe.pretrain else ["evaluate.guard=off"]
        if not source:
            settings.append("data.overlong=cut")
    return settings


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """Tiny steps lose more by waiting for a second thread than it does for them."""
    cores = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(cores)[worker % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)


def test_each_recipe_has_rows_that_stand_for_its_own() -> None:
    assert set(SOURCES) == set(RECIPES), "a new recipe wants a few rows of its format in SOURCES"


@pytest.mark.parametrize("name", RECIPES)
def test_a_tiny_form_sails_to_its_end(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES[name]).recipe
    log = Log(quiet=True)
    outcome = sail(RECIPES[name], tiny(RECIPES[name], tmp_path), tmp_path / "runs", log=log)
    run = Run(tmp_path / "runs" / recipe.name)
    assert outcome["name"] == recipe.name and set(run.current()) >= stages_of(recipe.task, recipe.training_key)
    found = json.loads(run.artifact("evaluate").file("evaluation.json").read_text("utf-8"))
    assert found["num_rows"] >= 5 and found["verdict"]
    assert systems_of(recipe.task) <= set(found["systems"]), set(found["systems"])
    for scores in found["systems"].values():
        for interval in scores["metrics"].values():
            assert interval["low"] <= interval["value"] <= interval["high"] or interval["value"] is None
    if recipe.task in (*ENCODER_TASKS, *WRITING_TASKS):
        rungs = {rung["system"] for rung in found["ladder"]["rungs"]}
        enough = found["num_groups"] >= MIN_UNITS
        assert rungs == set(found["systems"]) and found["ladder"]["stop"] in (rungs if enough else {""})
    verdict = json.loads(run.artifact("check").file("faithfulness.json").read_text("utf-8"))
    assert verdict["findings"] and all(finding["passed"] for finding in verdict["findings"])
    assert (run.artifact("report").path / "report.html").stat().st_size > 2000
    cells = TABLE["line_of"](RECIPES[name], tmp_path / "runs").cells
    assert cells[:2] == (name, recipe.task) and "[" in cells[2] and cells[3] and cells[4]


def test_a_recipe_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, source in (("absent", "mine.csv"), ("broken", "nothing.csv/at/all"), ("more", "no/such/folder")):
        text = f"name: {name}\ntask: classify\ndata: {{source: {source}}}\n"
        written(tmp_path / "recipes" / f"{name}.yaml", text)
    monkeypatch.setitem(TABLE["main"].__globals__, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipes.py", "--runs", str(tmp_path / "runs")])
    assert TABLE["main"]() == 1
    told = capsys.readouterr()
    assert told.out.startswith("| recipe | task | tuned |") and "absent is left out: mine.csv is yours" in told.err
    assert "broken failed: " in told.err and "more failed: " in told.err
    monkeypatch.setattr(sys, "argv", ["recipes.py", "nosuch"])
    assert TABLE["main"]() == 2


def stages_of(task: str, way: str) -> set[str]:
    """What such a voyage leaves at the least."""
    served = {"gguf", "base_gguf"} if task == "chat" else set()
    return {"data", "base", way, "evaluate", "check", "report"} | served


def systems_of(task: str) -> set[str]:
    """What stands beside the trained model, at the least: the cheapest rung of its task."""
    cheapest = {
        "chat": "nearest",
        "text": "",
        "tag": "dictionary",
        "regress": "mean",
        "answer": "none",
        "embed": "random",
        "rank": "random",
        "translate": "copy",
        "rewrite": "copy",
        "summarize": "lead",
        **dict.fromkeys(("classify", "relate"), "majority"),
    }
    assert set(cheapest) >= {*READING_TASKS, *WRITING_TASKS} - {"grade"}  # graded answers come by no package
    return {"tuned", cheapest[task]} - {""}
