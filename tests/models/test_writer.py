"""Writing: padded together or alone the same text, the folder's own greedy answer, nothing left of an earlier task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, T5Config, T5ForConditionalGeneration

from models import toy_encoder
from setsail.base.errors import ModelError
from setsail.models.writer import forget_manners, load_writer, write

PROMPTS = [[5, 6, 7, 2], [9, 2], [12, 13, 14, 15, 16, 17, 2], [2]]


def t5() -> T5ForConditionalGeneration:
    torch.manual_seed(3)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 61}
    more: dict[str, Any] = {"decoder_start_token_id": 0, "tie_word_embeddings": False}
    config = T5Config(**sizes, pad_token_id=0, eos_token_id=2, **more)
    return T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize("num_beams", [1, 4])
def test_how_many_are_written_at_once_changes_nothing(num_beams: int) -> None:
    model = forget_manners(t5())
    together, alone = (
        write(model, PROMPTS, max_new_tokens=9, at_once=at_once, num_beams=num_beams) for at_once in (4, 1)
    )
    assert [each.ids for each in together] == [each.ids for each in alone]
    assert len({each.ids for each in together}) > 1
    assert [list(each.first) for each in together] == [list(each.first) for each in alone]
    assert all(len(each.ids) == 9 or each.stopped for each in together)


def test_greedy_is_the_likeliest_token_each_time() -> None:
    model, prompt = forget_manners(t5()), PROMPTS[0]
    (written,) = write(model, [prompt], max_new_tokens=6)
    ids = [0]
    for _ in range(6):
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] == 2:
            break
    assert (*written.ids, *([2] if written.stopped else [])) == tuple(ids[1:])
    first = torch.log_softmax(
        model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0]])).logits[0, 0], -1
    )
    assert written.first[int(first.argmax())] == pytest.approx(first.max().item(), abs=1e-5)


def test_the_habits_of_an_earlier_task_are_forgotten_and_not_saved(tmp_path: Path) -> None:
    """A summariser's folder asks for at least 56 tokens and never the same three twice."""
    model = t5()
    model.generation_config = GenerationConfig(
        min_length=5,
        no_repeat_ngram_size=1,
        num_beams=2,
        forced_eos_token_id=2,
        decoder_start_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
        max_new_tokens=30,
        length_penalty=2.0,
        early_stopping=True,
    )
    (habitual,) = write(model, PROMPTS[:1], max_new_tokens=9)
    assert len(set(habitual.ids)) == len(habitual.ids)
    plain = write(forget_manners(t5()), PROMPTS, max_new_tokens=9)
    forget_manners(model).save_pretrained(tmp_path)
    saved = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert [each.ids for each in write(saved, PROMPTS, max_new_tokens=9)] == [each.ids for each in plain]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    toy_encoder.write_folder(tmp_path / "encoder")
    with pytest.raises(ModelError, match="holds no encoder-decoder"):
        load_writer(tmp_path / "encoder")
