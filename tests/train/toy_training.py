"""A toy to train: a two-layer Llama of random weights, random documents, and the calls that a stage would make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from setsail.base.recipe import Lora
from setsail.models.attention import register
from setsail.models.lora import add_lora
from setsail.train.loop import Step
from setsail.train.optimizer import MasterWeights, adamw
from setsail.train.resume import Course, restore, train_resumably
from setsail.train.schedule import schedule

VOCABULARY = 61


@dataclass(frozen=True, eq=False)
class PackedRow:
    input_ids: np.ndarray
    positions: np.ndarray
    document_starts: np.ndarray
    targets: np.ndarray
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        return int((self.targets != -100).sum())


def toy_model(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0, attention: str = "documents"):
    register()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        attention_dropout=dropout,
        attn_implementation=attention,
    )
    torch.manual_seed(7)
    return LlamaForCausalLM(config).to(dtype).eval()


def toy_documents(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Documents of 2 to 12 tokens, each with its already shifted targets."""
    draw = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        ids = draw.integers(0, VOCABULARY, size=draw.integers(2, 13))
        targets = np.append(ids[1:], -100)
        targets[: draw.integers(0, len(ids) - 1)] = -100  # the prompt
        documents.append((ids, targets))
    return documents


def packed(documents: Sequence[tuple[np.ndarray, np.ndarray]], first_id: int = 0) -> PackedRow:
    ids = [ids for ids, _ in documents]
    return PackedRow(
        input_ids=np.concatenate(ids),
        positions=np.concatenate([np.arange(len(document)) for document in ids]),
        document_starts=np.cumsum([0, *map(len, ids)]).astype(np.int32),
        targets=np.concatenate([targets for _, targets in documents]),
        row_ids=tuple(f"row{first_id + number}" for number in range(len(documents))),
    )


def toy_steps(num_steps: int, num_micro: int = 2) -> list[list[PackedRow]]:
    documents = toy_documents(num_steps * num_micro * 3)
    rows = [packed(documents[at : at + 3], at) for at in range(0, len(documents), 3)]
    return [rows[at : at + num_micro] for at in range(0, len(rows), num_micro)]


def toy_trained(method: str, *, dropout: float = 0.1) -> tuple[LlamaForCausalLM, MasterWeights]:
    """A model ready to train with LoRA or in full, in bf16 as on the real path."""
    model = toy_model(torch.bfloat16, dropout=dropout)
    if method == "lora":
        add_lora(model, Lora(rank=4, targets=("q_proj", "v_proj", "down_proj")), seed=3)
    return model, adamw(model, weight_decay=0.01)


def toy_course(num_steps: int, **changes: object) -> Course:
    settings = {"seed": 5, "batch_tokens": 64, "learning_rate": 3e-3} | changes
    return Course(
        learning_rate=schedule("cosine", peak=settings["learning_rate"], num_steps=num_steps, warmup=0.25),
        clip_norm=1.0,
        seed=settings["seed"],
        save_every=2,
        fingerprint={"finetune": settings, "data": "d" * 64, "tokenizer": settings.get("tokenizer", "t" * 64)},
    )


def voyage(folder: Path, method: str, steps: Sequence[Sequence[PackedRow]], course: Course) -> Iterator[Step]:
    """What a stage does: resume if there is something to resume, and train to the end."""
    model, optimizer = toy_trained(method)
    start = restore(optimizer, course, folder=folder, say=lambda text: None)
    yield from train_resumably(model, optimizer, steps[start:], course, folder=folder, start=start)
    (folder / "final.txt").write_text(fingerprint_of(model))


def fingerprint_of(model: torch.nn.Module) -> str:
    """A hash of every weight, frozen ones included."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
