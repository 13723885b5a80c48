"""A whole toy voyage: a tiny random base, sixty rows, every stage for real."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from models import toy_encoder, toy_model

TOYS = ["cat", "dog", "mat", "log", "sun", "sea", "map", "cup", "hat", "pen"]
VERBS = ["likes", "sees", "takes", "holds", "moves", "draws"]


def write_rows(path: Path) -> Path:
    """Sixty questions and answers that differ."""
    chance = random.Random(3)
    rows = []
    for toy in TOYS:
        for verb in VERBS:
            others = " and the ".join(chance.sample(TOYS, 4))
            answer = (
                f"The {toy} {verb} the {others}. {verb.capitalize()}, the {toy} says number {chance.randrange(10**6)}."
            )
            rows.append(
                {
                    "messages": [
                        {"role": "user", "content": f"What is it that the {toy} {verb} today?"},
                        {"role": "assistant", "content": answer},
                    ]
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


RECIPE = """\
name: toy
base: base
data: {source: rows.jsonl, near_duplicates: 1.0, split: {validation: 0.2, test: 0.25}}
finetune: {epochs: 2, batch_tokens: 512, context: 240, learning_rate: 0.01, watch: {save_every: 2}, lora: {rank: 4}}
evaluate: {max_rows: 6, max_new_tokens: 12, samples: 2, resamples: 100, guard: off}
export: {weights: [q8_0, q4_0]}
check: {prompts: 4, max_new_tokens: 6}
serve: {slots: 8, max_tokens: 100, context: 256}
"""


PRETRAINING = """\
name: new
task: text
base: {new: 1m, vocabulary: 300}
data: {source: stories.jsonl, near_duplicates: 1.0, redact: none}
pretrain:
  epochs: 3
  batch_tokens: 512
  context: 128
  watch: {save_every: 3, validate_every: 2, patience: 4, samples: [The cat]}
evaluate: {max_rows: 6, resamples: 100}
export: {weights: [q8_0]}
check: {prompts: 3, max_new_tokens: 4}
serve: {slots: 8, max_tokens: 100, context: 256}
"""


def write_stories(folder: Path) -> Path:
    """Plain texts and the recipe of a new model that learns them; returns the recipe's path."""
    chance = random.Random(5)
    rows = []
    for number in range(90):
        names = chance.sample(TOYS, 6)
        sentences = (f"The {name} {chance.choice(VERBS)} the {chance.choice(TOYS)} {number}." for name in names)
        rows.append({"text": " ".join(sentences)})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "stories.jsonl").write_text(text, encoding="utf-8")
    path = folder / "new.yaml"
    path.write_text(PRETRAINING, encoding="utf-8")
    return path


CLASSIFYING = """\
name: desk
task: classify
base: encoder
data: {source: tickets.csv, near_duplicates: 1.0, redact: none, split: {validation: 0.2, test: 0.25}}
finetune: {epochs: 10, batch_tokens: 256, context: 60, learning_rate: 0.01, watch: {save_every: 2}}
evaluate: {resamples: 200, samples: 3}
check: {prompts: 8}
"""
COMPLAINTS = {
    "billing": ("the invoice is wrong", "refund my order please", "发票错误"),
    "log in": ("my password is wrong", "the app crash again", "登录不上"),
    "delivery": ("the parcel came late", "broken box", "快递坏了"),
}


def write_tickets(folder: Path, *, kind: str = "bert") -> Path:
    """A toy encoder, a hundred and fifty tickets with labels, and a recipe; returns the recipe's path."""
    toy_encoder.write_folder(folder / "encoder", kind)
    chance = random.Random(1)
    lines = ["text,label"]
    for _ in range(150):
        label = chance.choice(list(COMPLAINTS))
        asking = " please help" * 12 if chance.random() < 0.1 else ""
        lines.append(f"{chance.choice(COMPLAINTS[label])} {chance.randrange(10_000)}{asking},{label}")
    (folder / "tickets.csv").write_text("\n".join([*lines, "no label here,"]) + "\n", encoding="utf-8")
    path = folder / "desk.yaml"
    path.write_text(CLASSIFYING, encoding="utf-8")
    return path


def write_port(folder: Path) -> Path:
    """A folder with a base, rows and a recipe; returns the recipe's path."""
    toy_model.write_folder(folder / "base")
    write_rows(folder / "rows.jsonl")
    path = folder / "toy.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


PREFERRING = """\
name: kind
base: base
data: {source: pairs.jsonl, near_duplicates: 1.0, split: {validation: 0.2, test: 0.25}}
finetune:
  prefer: {beta: 0.2}
  epochs: 4
  batch_tokens: 512
  context: 240
  learning_rate: 0.01
  watch: {save_every: 2}
  lora: {rank: 4}
evaluate: {max_rows: 12, max_new_tokens: 12, samples: 2, resamples: 100}
export: {weights: [q8_0]}
check: {prompts: 4, max_new_tokens: 6}
serve: {slots: 8, max_tokens: 100, context: 256}
"""


def write_pairs(folder: Path) -> Path:
    """A folder with a base, sixty pairs of answers (the kind one is chosen) and a recipe; returns the recipe's path."""
    toy_model.write_folder(folder / "base")
    chance = random.Random(4)
    rows = []
    for toy in TOYS:
        for verb in VERBS:
            number = chance.randrange(10**6)
            rows.append(
                {
                    "prompt": f"What does the {toy} {verb} on day {number}?",
                    "chosen": f"Gladly: the {toy} {verb} the {chance.choice(TOYS)}.",
                    "rejected": f"No idea, ask the {chance.choice(TOYS)} number {number}.",
                }
            )
    rows.append({"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes."})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "kind.yaml"
    path.write_text(PREFERRING, encoding="utf-8")
    return path
