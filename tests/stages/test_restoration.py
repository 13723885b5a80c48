"""The whole voyage of an encoder and of a seq2seq model on a toy: what it leaves, what it proves, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from setsail.base.errors import CheckRefused, ModelError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe import Kind
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.models.load import load_model
from setsail.stages.answering.chatting import chat_in_terminal
from setsail.stages.answering.serving import serve_after_voyage, serve_run
from setsail.stages.checked import finished_model
from setsail.stages.lessons.examples import examples_of, nats_of
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.rows.data import read_parts
from setsail.stages.scores import restoration
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.stage import Voyage
from setsail.stages.voyage import sail
from setsail.tokens.tokenizer import load

from .conftest import write_stories

pytestmark = pytest.mark.slow

ROWS = {"encoder": [], "seq2seq": ["pretrain.context=64", "data.overlong=split"]}  # of the second all are longer
VOCABULARIES = {"encoder": 300, "seq2seq": 390}  # a hundred of them sentinels
SETTINGS = [
    "pretrain.epochs=1",
    "pretrain.watch.validate_every=4",
    'pretrain.watch.samples=["The [MASK] likes the [MASK] 3."]',
    "data.split.test=0.2",
]


def settings_of(kind: Kind) -> list[str]:
    return [*SETTINGS, f"base.kind={kind}", f"base.vocabulary={VOCABULARIES[kind]}", *ROWS[kind]]


@pytest.fixture(scope="module", params=list(VOCABULARIES))
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path, Run]:
    """A kind, the folder in which its whole voyage has been sailed once, and the run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    sail(write_stories(folder), settings_of(request.param), folder / "runs", log=Log(quiet=True))
    return request.param, folder, Run(folder / "runs" / "new")


def test_every_stage_leaves_its_files_and_nothing_to_serve(port: tuple[Kind, Path, Run]) -> None:
    kind, _, run = port
    made = {"data", "tokenizer", "base", "tokens", "pretrain", "merged", "evaluate", "check", "report"}
    assert set(run.current()) == made
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(run.artifact("merged").manifest.files) == model | (
        {"generation_config.json"} if kind == "seq2seq" else set()
    )
    assert run.artifact("base").metrics["kind"] == kind
    samples = [json.loads(line) for line in run.artifact("pretrain").file("samples.jsonl").read_text().splitlines()]
    assert all(sample["texts"][0].startswith("The [") and "MASK" not in sample["texts"][0] for sample in samples)


def test_it_is_scored_in_bits_per_masked_byte_against_word_frequency(port: tuple[Kind, Path, Run]) -> None:
    _, _, run = port
    curve = run.artifact("pretrain").metrics["validation"]
    assert set(curve[0]) == {"step", "bits_per_masked_byte"}
    assert curve[-1]["bits_per_masked_byte"] < curve[0]["bits_per_masked_byte"]
    evaluation = read_evaluation(run.artifact("evaluate").file("evaluation.json"))
    assert list(evaluation.systems) == ["tuned", "base", "unigram"]
    bits = {name: scores.metrics["bits_per_masked_byte"].value for name, scores in evaluation.systems.items()}
    assert bits["tuned"] < bits["base"] and 0 < bits["unigram"] < bits["base"]
    assert (evaluation.comparisons[0].against, evaluation.comparisons[0].lead) == ("unigram", "bits_per_masked_byte")
    assert "word frequency" in evaluation.verdict
    assert evaluation.num_rows == 6


def test_texts_that_came_later_are_scored(port: tuple[Kind, Path, Run], tmp_path: Path) -> None:
    _, folder, run = port
    lines = [json.loads(line) for line in (folder / "stories.jsonl").read_text("utf-8").splitlines()[:12]]
    rows = [{"text": line["text"].replace("The ", f"The {number} ")} for number, line in enumerate(lines)]
    (tmp_path / "later.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    made = evaluate_run(run.path, data=str(tmp_path / "later.jsonl"), against=run.path)
    found = read_evaluation(made.file("evaluation.json"))
    assert list(found.systems) == ["tuned", "base", "unigram", "other"]
    assert found.systems["other"] == found.systems["tuned"] and found.comparisons[0].against == "other"


def test_the_saved_folder_has_the_trainers_loss_in_plain_transformers(port: tuple[Kind, Path, Run]) -> None:
    """Validation after the last step, computed again by transformers alone, a row at a time."""
    kind, folder, run = port
    merged, recipe = run.artifact("merged"), voyage_of(folder, kind).recipe
    tokenizer = load(merged.path)
    lesson = lesson_of(recipe, kind, tokenizer)
    rows = examples_of(read_parts(run.artifact("data")).validation, tokenizer, recipe, lesson)
    ours = sum(nats_of(load_model(merged.path, dtype=torch.float32), rows.examples, lesson))
    plain = (AutoModelForMaskedLM if kind == "encoder" else AutoModelForSeq2SeqLM).from_pretrained(merged.path)
    plain = plain.float().eval()
    theirs = sum(loss_of(kind, plain, lesson.collate([each])) for each in lesson.drawn(rows.examples, "scoring"))
    assert ours == pytest.approx(theirs, rel=1e-5)
    bits = ours / math.log(2) / sum(rows.num_bytes)
    assert best_bits(run) == pytest.approx(bits, rel=0.02)  # that one in bf16


def best_bits(run: Run) -> float:
    return min(point["bits_per_masked_byte"] for point in run.artifact("pretrain").metrics["validation"])


@torch.no_grad()
def loss_of(kind: str, model: Any, batch: Any) -> float:
    labels = torch.tensor(batch.targets).reshape(1, -1)
    inputs = torch.tensor(batch.input_ids).reshape(1, -1)
    return model(input_ids=inputs, labels=labels).loss.item() * batch.num_supervised


def test_plain_transformers_fills_in(port: tuple[Kind, Path, Run]) -> None:
    kind, _, run = port
    folder = run.artifact("merged").path
    if kind == "encoder":
        filled = transformers.pipeline("fill-mask", str(folder))("The cat likes the [MASK] 3.")
        assert len(filled) == 5 and all(guess["sequence"].startswith("The cat likes the") for guess in filled)
    else:
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
        written = model.generate(**tokenizer("The cat<extra_id_0> the mat 3.", return_tensors="pt"), max_new_tokens=8)
        assert written[0, 0] == tokenizer.pad_token_id and len(written[0]) > 1


def test_the_report_says_it_and_how_to_go_on(port: tuple[Kind, Path, Run]) -> None:
    kind, _, run = port
    text = run.artifact("report").file("report.md").read_text("utf-8")
    assert "Validation, bits per masked byte" in text and "Word frequency" in text
    assert ("fill-mask" if kind == "encoder" else "AutoModelForSeq2SeqLM") in text
    assert "setsail serve" not in text


def test_there_is_nothing_to_export_to_serve_or_to_chat_with(port: tuple[Kind, Path, Run]) -> None:
    kind, folder, run = port
    words = "nothing to export for a server, to serve or to chat with"
    with pytest.raises(ModelError, match=words):
        sail(folder / "new.yaml", settings_of(kind), folder / "runs", until="export", log=Log(quiet=True))
    for verb in (serve_run, chat_in_terminal, serve_after_voyage):
        with pytest.raises(ModelError, match=words):
            verb(run.path)


def test_a_weight_changed_after_training_is_found(port: tuple[Kind, Path, Run]) -> None:
    """Another model's record of what the trainer restored refuses."""
    kind, folder, run = port
    reference = run.artifact("pretrain").file("reference.json")
    said = json.loads(reference.read_text())
    for answer in said["trainer"]["answers"]:
        answer["first"] = dict(zip(reversed(answer["first"]), answer["first"].values(), strict=True))
        answer["nats"] *= 1.5
    kept, changed = reference.read_text(), json.dumps(said)
    reference.write_text(changed)
    try:
        trained, merged = (Run(run.path).artifact(stage, verify=False) for stage in ("pretrain", "merged"))
        verdict = restoration._check(voyage_of(folder, kind), kind, trained, merged)
        failed = {finding.check for finding in verdict.findings if not finding.passed}
        assert failed == {"first-token KL, mean", "first-token KL, worst", "bits per masked byte, difference"}
        with pytest.raises(CheckRefused, match='"saved" is not what was trained'):
            verdict.refuse_on_breach()
    finally:
        reference.write_text(kept)


def voyage_of(folder: Path, kind: str) -> Any:
    return Voyage(load_recipe(folder / "new.yaml", settings_of(kind)), Run(folder / "runs" / "new"), Log(quiet=True))


def test_the_run_that_was_checked_is_named_as_a_base(port: tuple[Kind, Path, Run]) -> None:
    assert finished_model(port[2]).path == port[2].artifact("merged").path


def test_it_is_the_base_of_more_pretraining_but_not_of_fine_tuning(port: tuple[Kind, Path, Run]) -> None:
    kind, folder, run = port
    data = "task: text\nbase: BASE\ndata: {source: stories.jsonl, near_duplicates: 1.0, redact: none}\n"
    data = data.replace("BASE", str(run.artifact("merged").path))
    (folder / "more.yaml").write_text(data + "pretrain: {epochs: 0.1, batch_tokens: 512, context: 128}\n")
    settings = ["data.split.test=0.2", *ROWS[kind]]
    sail(folder / "more.yaml", settings, folder / "runs", until="pretrain", log=Log(quiet=True))
    curve = Run(folder / "runs" / "more").artifact("pretrain").metrics["validation"]
    assert curve[0]["bits_per_masked_byte"] == pytest.approx(best_bits(run), rel=0.001)
    (folder / "tune.yaml").write_text(data + "finetune: {method: full, context: 128}\n")
    with pytest.raises(RecipeError, match="fine-tuning is for decoders"):
        sail(folder / "tune.yaml", [], folder / "runs", until="finetune", log=Log(quiet=True))


def test_a_sample_in_which_nothing_is_hidden_is_refused(tmp_path: Path) -> None:
    settings = [*settings_of("encoder"), 'pretrain.watch.samples=["The cat"]']
    with pytest.raises(RecipeError, match=r'in the sample "The cat" nothing is hidden'):
        sail(write_stories(tmp_path), settings, tmp_path / "runs", until="pretrain", log=Log(quiet=True))


def test_too_few_sentinels_are_said_with_what_would_do(tmp_path: Path) -> None:
    settings = [*settings_of("seq2seq"), "pretrain.context=2048", "pretrain.spans.mean_length=1"]
    with pytest.raises(RecipeError, match="a row of 2,048 tokens has 307 spans, the tokenizer has 100 sentinels"):
        sail(write_stories(tmp_path), settings, tmp_path / "runs", until="pretrain", log=Log(quiet=True))
