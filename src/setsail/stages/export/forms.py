"""The stage that holds the forms of a model beside one another, on one frozen test.

What a form is worth is measured by the same evaluation as anything else; what it takes, in a process of its own. The
invariant: every form answers the same rows, which none of them was trained on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.errors import CheckRefused
from setsail.base.files import write_atomically
from setsail.base.recipe import READING_TASKS, Recipe
from setsail.compress.export import Weights, export_gguf, has_room_for, verify_single_rounding
from setsail.compress.forms import Figure, Form, Forms
from setsail.data.row import Message, Row
from setsail.engine.batch import generate_all
from setsail.engine.contract import GenerationRequest, Special
from setsail.engine.process import EngineProcess
from setsail.engine.registry import FAR_ENGINES
from setsail.engine.registry import choose as choose_engine
from setsail.evaluate.classify import evaluate_classes
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.interval import Interval
from setsail.evaluate.metrics import METRICS
from setsail.evaluate.question import choose_rows
from setsail.evaluate.read_scores import evaluate_said
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.system import Answer, System
from setsail.models.load import load_gguf_model
from setsail.models.sources import NOT_STATED
from setsail.stages.answering.engines import context_of, how_served
from setsail.stages.answering.predictors import predictor_of
from setsail.stages.export.forms_page import build
from setsail.stages.export.measured import Measured, held_at_most, measure_apart
from setsail.stages.kinds import gguf_name, tokenizer_of
from setsail.stages.learn.precision import MIXED, PLAIN
from setsail.stages.lessons.examples import row_nats
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.rows.data import read_parts
from setsail.stages.scores.classes import as_read, classify_with, fitting
from setsail.stages.scores.reader import ONE_LABEL, as_text, said_with
from setsail.stages.scores.writer import that_fit
from setsail.stages.spent import core_seconds_of
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.render import render, render_text
from setsail.tokens.tokenizer import Tokenizer

FILE = "forms.json"
MOST_MEASURED = 256  # texts that are read for the time
SLOTS = 8  # answers that are written at once
PRECISIONS: tuple[Weights, ...] = ("f16", "q8_0", "q4_k", "q4_0")  # the first is the original
Prompt = tuple[tuple[int, ...], int]  # token ids, and the token that ends an answer
BEGINNING = 16  # tokens of a text with which a model goes on, where nothing is asked


def make_forms(voyage: Voyage, data: Artifact, models: Mapping[str, Artifact]) -> Artifact:
    """forms.json and a page: the model of this run first, then the other runs' models under their names."""
    recipe = voyage.recipe

    def build_forms(draft: Path) -> Mapping[str, Any]:
        prepare_device(recipe.seed)
        compare = _readers if recipe.task in READING_TASKS else _writers
        compared = compare(voyage, data, models, draft)
        write_atomically(draft / FILE, json.dumps(asdict(compared), indent=1) + "\n")
        build(draft, compared, name=recipe.name, language=recipe.language)
        return {"num_forms": len(compared.forms), "metric": compared.metric}

    settings: dict[str, Any] = {
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        **how_served(recipe),
        "seed": recipe.seed,
        "names": list(models),
        "weights": list(recipe.export.weights),
        "mixed": recipe.compress.model_dump(mode="json") if MIXED in recipe.export.weights else None,
    }
    if recipe.task not in READING_TASKS:
        settings["precisions"] = _precisions(recipe, next(iter(models.values())))
    return make(voyage, StageSpec("forms", settings, {"data": data, **models}, {}, version=2), build_forms)


def read_forms(made: Artifact) -> Forms:
    """What a stage has measured; paths of files that it wrote itself are whole."""
    compared = TypeAdapter(Forms).validate_json(made.file(FILE).read_bytes())
    forms = tuple(Form(**{**vars(form), "path": str(made.path / form.path)}) for form in compared.forms)
    return Forms(**{**vars(compared), "forms": forms})


def _readers(voyage: Voyage, data: Artifact, models: Mapping[str, Artifact], draft: Path) -> Forms:
    recipe = voyage.recipe
    predictors = {name: predictor_of(model) for name, model in models.items()}
    first = next(iter(predictors.values()))
    parts = read_parts(data)
    if first.task in ONE_LABEL:
        parts = as_read(parts, first.task)
    elif first.task == "grade":
        parts = as_text(parts)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    chosen = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    texts = [(row.text,) if first.task in ONE_LABEL else first.reading.texts(row) for row in chosen]
    rows = fitting(voyage, first.reader, chosen, texts)
    making = {name: core_seconds_of(model) for name, model in models.items()}
    common = {"making": making, "core_hour": recipe.evaluate.core_hour, "contamination": contamination}
    if first.task in ONE_LABEL:
        labels = first.reader.labels
        systems = {
            name: classify_with(each.reader, [each.reader.labels.index(label) for label in labels])
            for name, each in predictors.items()
        }
        evaluation = evaluate_classes(systems, rows, labels, draft, plan=_plan(recipe, list(models)), **common)
    else:
        said = {name: partial(said_with, voyage, each) for name, each in predictors.items()}
        evaluation = evaluate_said(first.task, said, rows, draft, plan=_plan(recipe, list(models)), **common)
    beside = draft / "texts.json"
    write_atomically(beside, json.dumps(texts[:MOST_MEASURED], ensure_ascii=False))
    measured = {}
    with voyage.log.progress("forms measured", len(models)) as progress:
        for name, model in models.items():
            measured[name] = measure_apart(model.path, beside)
            progress.advance(last=name)
    beside.unlink()
    sizes = {name: _weights_bytes(model) for name, model in models.items()}
    paths = {name: str(model.path.resolve()) for name, model in models.items()}
    return _forms(evaluation, measured, sizes=sizes, paths=paths, unit="texts")


def _plan(recipe: Recipe, names: Sequence[str]) -> Plan:
    pairs = tuple((name, names[0]) for name in names[1:])
    return Plan(pairs, num_samples=0, resamples=recipe.evaluate.resamples, seed=recipe.seed)


def _weights_bytes(model: Artifact) -> int:
    """What others must carry: the weights, the configuration and the tokenizer."""
    kept = (".safetensors", "config.json", "tokenizer.json")
    return sum(entry["bytes"] for name, entry in model.manifest.files.items() if name.endswith(kept))


def _writers(voyage: Voyage, data: Artifact, models: Mapping[str, Artifact], draft: Path) -> Forms:
    """Of this run every precision, of the others the one that they serve first: all by the engine that serves them."""
    recipe, own = voyage.recipe, next(iter(models))
    files: dict[str, tuple[Artifact, Path]] = {}
    for name, model in models.items():
        for weights in _precisions(recipe, model) if name == own else (_served_as(recipe),):
            title = f"{name} {weights}"
            file = draft / (gguf_name(weights) if name == own else f"{name}-{gguf_name(weights)}")
            export_gguf(model.path, file, weights, name=title, licence=NOT_STATED, log=voyage.log)
            off = verify_single_rounding(model.path, file)
            if off:
                raise CheckRefused(f"{len(off)} tensors of {file.name} are not one rounding, first {off[0]}")
            files[title] = model, file
    own_files = voyage.run.artifact("gguf") if "gguf" in voyage.run.current() else None
    if own_files is not None and gguf_name(MIXED) in own_files.manifest.files:
        files[f"{own} {MIXED}"] = models[own], own_files.file(gguf_name(MIXED)).resolve()
    parts = read_parts(data)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    chosen = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    rows = that_fit(chosen, tokenizer_of(models[own]), recipe, voyage.log)
    measured: dict[str, Measured] = {}
    systems = {
        title: System(
            answers=partial(_answers, voyage, model, file, partial(measured.__setitem__, title)),
            nats=partial(_nats, recipe, model, file),
        )
        for title, (model, file) in files.items()
    }
    if not recipe.writes_answers:
        for title, (model, file) in files.items():
            prompts = [_beginning(tokenizer_of(model), row) for row in rows]
            _written(voyage, model, file, prompts, partial(measured.__setitem__, title))
        systems = {title: System(nats=system.nats) for title, system in systems.items()}
    plan = _plan(recipe, list(files))
    evaluation = evaluate(systems, rows, draft, plan=plan, contamination=contamination)
    sizes = {title: file.stat().st_size for title, (_, file) in files.items()}
    paths = {title: file.name if file.parent == draft else str(file) for title, (_, file) in files.items()}
    return _forms(evaluation, measured, sizes=sizes, paths=paths, unit="tokens")


def _precisions(recipe: Recipe, model: Artifact) -> list[Weights]:
    """Those that the model's rows allow and the engine that serves it computes."""
    unfit = {"q4_k"} if recipe.serve.engine == "openvino" else set[str]()
    return [weights for weights in PRECISIONS if weights not in unfit and has_room_for(model.path, weights)]


def _served_as(recipe: Recipe) -> Weights:
    first = cast(Weights, recipe.export.weights[0])
    return PLAIN if first == MIXED else first


def _beginning(tokenizer: Tokenizer, row: Row) -> Prompt:
    whole = render_text(tokenizer, row.text, generation_prompt=True)
    return tuple(whole.ids[:BEGINNING]), whole.stop_id


def _answers(
    voyage: Voyage,
    model: Artifact,
    file: Path,
    note: Callable[[Measured], None],
    prompts: Sequence[tuple[Message, ...]],
) -> list[Answer]:
    """Greedy answers of one file; what it took is noted."""
    tokenizer = tokenizer_of(model)
    rendered = [render(tokenizer, prompt, generation_prompt=True) for prompt in prompts]
    return _written(voyage, model, file, [(tuple(each.ids), each.stop_id) for each in rendered], note)


def _written(
    voyage: Voyage, model: Artifact, file: Path, prompts: Sequence[Prompt], note: Callable[[Measured], None]
) -> list[Answer]:
    recipe, tokenizer = voyage.recipe, tokenizer_of(model)
    named = recipe.serve.engine
    engine = choose_engine(file).name if named in ("auto", *FAR_ENGINES) else named  # the files are measured here
    requests = [
        GenerationRequest(ids, recipe.evaluate.max_new_tokens, stop_ids=tuple(sorted({stop_id, *tokenizer.eos_ids})))
        for ids, stop_id in prompts
    ]
    with (
        EngineProcess(engine, file, context_of(recipe), SLOTS, special=Special(cache=recipe.serve.cache)) as process,
        voyage.log.progress(f"answers of {file.name}", len(requests)) as shown,
    ):
        generate_all(process, requests[:1])
        began = time.perf_counter()
        done = generate_all(process, requests, on_progress=lambda done, total: shown.advance())
        seconds = time.perf_counter() - began
        note(Measured(sum(len(each.token_ids) for each in done) / seconds, held_at_most(process.pid)))
    return [
        Answer(tokenizer.decode(each.token_ids), each.reason == "stop", len(each.token_ids), each.seconds)
        for each in done
    ]


def _nats(recipe: Recipe, model: Artifact, file: Path, rows: Sequence[Row]) -> list[float]:
    """What the weights as the file rounds them pay for the held-out rows."""
    tokenizer = tokenizer_of(model)
    weights = load_gguf_model(file, compute_dtype())
    move(weights, device())
    lesson = lesson_of(recipe, "decoder", tokenizer)
    return row_nats(weights, rows, tokenizer, recipe, lesson)


def _forms(
    evaluation: Evaluation,
    measured: Mapping[str, Measured],
    *,
    sizes: Mapping[str, int],
    paths: Mapping[str, str],
    unit: str,
) -> Forms:
    original = next(iter(measured))
    gaps: dict[str, Figure] = {}
    lead = ""
    for pair in evaluation.comparisons:
        gap = _figure(pair.differences[pair.lead].gap)
        is_turned = pair.system == original  # some evaluations compare the first with each of the others
        form = pair.against if is_turned else pair.system
        gaps[form] = Figure(-gap.value, -gap.high, -gap.low) if is_turned else gap
        lead = pair.lead
    forms = tuple(
        Form(
            name=name,
            path=paths[name],
            size_bytes=sizes[name],
            peak_bytes=each.peak_bytes,
            per_second=each.per_second,
            score=_figure(evaluation.systems[name].metrics[lead]),
            gap=gaps.get(name),
        )
        for name, each in measured.items()
    )
    higher = next(metric.better for metric in METRICS if metric.name == lead) == "higher"
    return Forms(lead, higher, "texts" if unit == "texts" else "tokens", evaluation.num_rows, forms)


def _figure(interval: Interval) -> Figure:
    return Figure(interval.value, interval.low, interval.high)
