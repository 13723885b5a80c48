"""The report stage: what the artefacts hold, gathered into one page that a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.machine import memory_bytes, num_cores, processor_name, versions
from setsail.base.recipe import Finetune
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.yaml_file import dump_yaml
from setsail.data.page.build import PAGE
from setsail.data.page.build import build as build_data_page
from setsail.data.page.figures import FIGURES, read_figures
from setsail.data.row import iterate_rows
from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.report import facts
from setsail.evaluate.report.build import build as build_report
from setsail.stages.checks.writer import RESULT
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.learn.training import SAMPLES
from setsail.stages.lessons.examples import SCORING, examples_of, runs_of
from setsail.stages.lessons.reading import lesson_on
from setsail.stages.rows.mixing import ACCOUNT, MixAccount, explain
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.train.journal import read_journal

NUM_SHOWN = 3
SEARCH_COMMANDS = {
    "embed": ('"text"', "the vector of a text, or --file with many"),
    "rank": ('--query "what is asked" --file texts.txt', "order texts by how well they answer"),
}


def make_report(voyage: Voyage, made: Mapping[str, Artifact]) -> Artifact:
    """report.html and report.md, and beside them the page about the data in the same language."""
    language = voyage.recipe.language

    def build(draft: Path) -> Mapping[str, Any]:
        build_report(draft, gather(voyage, made), language=language)
        build_data_page(draft, read_figures(made["data"].file(FIGURES)), language=language)
        return {}

    return make(voyage, StageSpec("report", {"language": language}, dict(made), {}, version=3), build)


def gather(voyage: Voyage, made: Mapping[str, Artifact]) -> facts.ReportFacts:
    """Everything that the report says, from the artefacts alone."""
    recipe, trained = voyage.recipe, made[voyage.recipe.training_key]
    return facts.ReportFacts(
        name=recipe.name,
        created=made["check"].manifest.created,
        base=recipe.base_name,
        recipe=dump_yaml(recipe.resolved()),
        data=_data(voyage, made),
        training=_training(voyage, trained),
        evaluation=read_evaluation(made["evaluate"].file("evaluation.json")),
        faithfulness=_faithfulness(made["check"]),
        files=tuple(
            facts.FileFact(f"{artifact.path.name}/{name}", entry["bytes"], entry["sha256"])
            for artifact in (trained, *(made[stage] for stage in ("merged", "gguf", "onnx") if stage in made))
            for name, entry in artifact.manifest.files.items()
        ),
        origins=_origins(voyage, made),
        commands=_commands(voyage, made),
    )


def _commands(voyage: Voyage, made: Mapping[str, Artifact]) -> tuple[facts.Command, ...]:
    again = facts.Command(f"setsail run {voyage.loaded.path}", "sail again; what has not changed is skipped")
    serve = facts.Command(f"setsail serve {voyage.run.path}", "the same over HTTP: POST /predict")
    if voyage.recipe.task in SEARCH_COMMANDS:
        options, meaning = SEARCH_COMMANDS[voyage.recipe.task]
        return facts.Command(f"setsail predict {voyage.run.path} {options}", meaning), serve, again
    if voyage.recipe.is_reading:
        predict = facts.Command(f'setsail predict {voyage.run.path} "text"', "label a text, or --file with many")
        return predict, serve, again
    if voyage.recipe.task in WRITING_TASKS and kind_of_base(made["base"]) == "seq2seq":
        predict = facts.Command(f'setsail predict {voyage.run.path} "text"', "write for a text, or --file with many")
        load = facts.Command(how_to_load(made), "in Python: load it with plain transformers")
        return predict, serve, load, again
    if kind_of_base(made["base"]) != "decoder":
        return (facts.Command(how_to_load(made), "in Python: load it with plain transformers"), again)
    return (
        facts.Command(f"setsail serve {voyage.run.path}", "answer over HTTP, with a chat page"),
        facts.Command(f"setsail chat {voyage.run.path}", "talk to it in the terminal"),
        again,
    )


def how_to_load(made: Mapping[str, Artifact]) -> str:
    """A line of Python that loads a model which restores hidden text."""
    folder = made["merged"].path
    if kind_of_base(made["base"]) == "encoder":
        return f'transformers.pipeline("fill-mask", "{folder}")'
    return f'transformers.AutoModelForSeq2SeqLM.from_pretrained("{folder}")'


def _data(voyage: Voyage, made: Mapping[str, Artifact]) -> facts.DataFacts:
    summary = made["data"].metrics
    tokenizer = tokenizer_of(made["base"])
    learned = made.get("candidates", made["data"])
    rows = list(islice(iterate_rows(learned.file("train.parquet")), NUM_SHOWN * 4))
    origin = {row.id: row.origin for row in rows}
    lesson = lesson_on(voyage.recipe, made["base"], learned, tokenizer)
    fitting = examples_of(rows, tokenizer, voyage.recipe, lesson).examples
    shown = [lesson.shown(example) for example in lesson.drawn(fitting[:NUM_SHOWN], SCORING)]
    return facts.DataFacts(
        source=voyage.recipe.data.source,
        page=PAGE,
        waterfall=tuple(facts.WaterfallStep(step["name"], step["num_rows"]) for step in summary["steps"]),
        dropped=summary["dropped"],
        changed=summary["changed"],
        redacted=summary["redacted"],
        findings=(*summary["findings"], *_mixed_in(voyage, made)),
        split=summary["sizes"],
        rendered=tuple(
            facts.RenderedRow(example.row_id, origin[example.row_id], tuple(runs_of(example, tokenizer, lesson)))
            for example in shown
        ),
    )


def _mixed_in(voyage: Voyage, made: Mapping[str, Artifact]) -> tuple[str, ...]:
    mix = voyage.recipe.training.mix
    if mix is None:
        return ()
    return (explain(MixAccount(**json.loads(made["mix"].file(ACCOUNT).read_text("utf-8"))), mix.source),)


def _training(voyage: Voyage, trained: Artifact) -> facts.TrainingFacts:
    metrics, recipe = trained.metrics, voyage.recipe.training
    measure = next((name for point in metrics["validation"] for name in point if name != "step"), "bits_per_byte")
    plan = metrics["plan"]
    num_tokens = 0
    points = []
    for step in read_journal(trained.file("steps.jsonl")):
        num_tokens += step["num_tokens"]
        points.append(facts.CurvePoint(step["step"], num_tokens, step["loss_nats"], step["learning_rate"]))
    adapter = "all weights"
    if isinstance(recipe, Finetune) and recipe.method == "lora":
        adapter = f"LoRA of rank {recipe.lora.rank}"
    return facts.TrainingFacts(
        method=f"{adapter}, {plan['num_trained_weights']:,} weights trained, {recipe.epochs:g} epochs, packed rows",
        plan=facts.PlanFacts(
            num_rows=plan["num_rows"],
            num_tokens=plan["num_tokens"],
            num_supervised=plan["num_supervised"],
            num_truncated=plan.get("num_truncated", len(plan["truncated"])),
            num_steps=plan["num_steps"],
            predicted_seconds=plan["predicted_seconds"],
            actual_seconds=metrics["actual_seconds"],
            predicted_memory_bytes=plan["predicted_memory_bytes"],
            actual_memory_bytes=metrics["actual_memory_bytes"],
            core_hours=metrics.get("core_hours"),
        ),
        steps=tuple(points),
        validation=tuple(facts.ValidationPoint(v["step"], v[measure]) for v in metrics["validation"]),
        measure=measure,
        samples=_sampled(trained),
        truncated=tuple(plan["truncated"]),
    )


def _sampled(trained: Artifact) -> tuple[facts.SampledTexts, ...]:
    return tuple(
        facts.SampledTexts(each["step"], tuple(each["texts"])) for each in read_journal(trained.path / SAMPLES)
    )


def _faithfulness(check: Artifact) -> tuple[facts.Check, ...]:
    findings = json.loads(check.file(RESULT).read_text("utf-8"))["findings"]
    return tuple(
        facts.Check(f["stage"], f["check"], f["value"], f"{f['bound']} {f['limit']:g}", f["passed"]) for f in findings
    )


def _origins(voyage: Voyage, made: Mapping[str, Artifact]) -> facts.Origins:
    base = made["base"].metrics
    licences = [
        facts.Licence(f"base model {voyage.recipe.base_name}", base["licence"], base["source"]["origin"]),
        facts.Licence(f"data {voyage.recipe.data.source}", made["data"].metrics.get("licence", "not stated"), ""),
    ]
    return facts.Origins(
        times=tuple(facts.StageTime(kind, artifact.metrics.get("seconds", 0.0)) for kind, artifact in made.items()),
        versions=versions(),
        machine={
            "processor": processor_name(),
            "cores": str(num_cores()),
            "memory": f"{memory_bytes() / 2**30:.0f} GiB",
        },
        licences=tuple(licences),
    )
