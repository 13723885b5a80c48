"""The faithfulness stage: the trainer's own answers against every form of the model, up to the one that is served."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.base.errors import CheckRefused
from setsail.base.files import write_atomically
from setsail.compress.check import Answer, Finding, Observation, Probe, Verdict, compare
from setsail.compress.export import verify_single_rounding
from setsail.compress.reference import FILE as REFERENCE
from setsail.compress.reference import Reference
from setsail.engine.process import EngineProcess
from setsail.models.load import load_gguf_model, load_model
from setsail.models.lora import load_adapter
from setsail.models.weights import weights_sha256
from setsail.serve.client import Client
from setsail.stages.answering.engines import ModelFile, file_to_serve, how_served, open_process
from setsail.stages.answering.first_look import observe_engine
from setsail.stages.answering.serving import served_apart
from setsail.stages.kinds import gguf_name, tokenizer_of
from setsail.stages.lessons.probes import observe_torch
from setsail.stages.stage import StageSpec, Voyage, make

RESULT = "faithfulness.json"
REFUSED = "faithfulness-refused.json"


@dataclass(frozen=True)
class Forms:
    """Every form of the tuned model, in the order in which one was made from the other."""

    base: Artifact
    trained: Artifact
    merged: Artifact
    served: Artifact


def make_check(voyage: Voyage, forms: Forms) -> Artifact:
    """The verdict over every stage; a breach refuses and leaves its figures in faithfulness-refused.json.

    Raises:
        CheckRefused: naming the first stage that differs.
    """
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        return refuse_or_write(voyage, _check(voyage, forms), draft)

    parents = {"base": forms.base, "trained": forms.trained, "merged": forms.merged, "served": forms.served}
    settings = {
        "check": recipe.check.model_dump(mode="json"),
        **how_served(recipe),
        "weights": list(recipe.export.weights),
        "by": file_to_serve(forms.served, recipe).engine,
    }
    return make(voyage, StageSpec("check", settings, parents, {}), build)


def refuse_or_write(voyage: Voyage, verdict: Verdict, draft: Path) -> dict[str, Any]:
    """Says every comparison and writes the verdict into the draft; the metrics of its manifest.

    Raises:
        CheckRefused: on a breach, whose figures are left in faithfulness-refused.json.
    """
    refused = voyage.run.path / REFUSED
    text = json.dumps(verdict.as_json(), ensure_ascii=False, indent=1) + "\n"
    for line in table(verdict):
        voyage.log.say(f"  {line}")
    if verdict.breach is not None:
        write_atomically(refused, text)
    verdict.refuse_on_breach()
    refused.unlink(missing_ok=True)
    write_atomically(draft / RESULT, text)
    return {"passed": True, "num_comparisons": len(verdict.findings)}


def _check(voyage: Voyage, forms: Forms) -> Verdict:
    recipe = voyage.recipe
    prepare_device(recipe.seed)
    reference = Reference.read(forms.trained.file(REFERENCE))
    probes = reference.probes
    if not probes:
        raise CheckRefused(
            "no held-out row fits the context whole, so that nothing can be asked of trainer and export alike",
            place=voyage.loaded.place(f"{recipe.training_key}.context"),
            hint=f"raise {recipe.training_key}.context, or shorten the rows",
        )
    stages: list[Observation] = []
    with voyage.log.progress("stages", 4 + len(_gguf_files(forms.served))) as progress:
        for observe in (_adapter, _merged, _files, _in_llamacpp, _served):
            for observation in observe(voyage, forms, probes):
                stages.append(observation)
                progress.advance(1, last=observation.stage)
    return compare(probes, reference.trainer, stages)


def _adapter(voyage: Voyage, forms: Forms, probes: Sequence[Probe]) -> list[Observation]:
    """The saved adapter on a freshly loaded base."""
    if voyage.recipe.training.method != "lora":
        return []
    model = load_model(forms.base.path, dtype=torch.float32)
    load_adapter(model, forms.trained.path, base_sha256=weights_sha256(forms.base.path))
    tokenizer = tokenizer_of(forms.base)
    return [observe_torch(model, probes, voyage.recipe, stage="adapter", precision="same", tokenizer=tokenizer)]


def _merged(voyage: Voyage, forms: Forms, probes: Sequence[Probe]) -> list[Observation]:
    """The merged folder."""
    model = load_model(forms.merged.path, dtype=torch.float32)
    tokenizer = tokenizer_of(forms.merged)
    return [observe_torch(model, probes, voyage.recipe, stage="merged", precision="bf16", tokenizer=tokenizer)]


def _files(voyage: Voyage, forms: Forms, probes: Sequence[Probe]) -> list[Observation]:
    """Each GGUF file, read back and computed exactly; its bytes are held against the merged weights too."""
    observations = []
    for weights, file in _gguf_files(forms.served).items():
        seen = observe_torch(
            load_gguf_model(file, torch.float32),
            probes,
            voyage.recipe,
            stage=f"gguf {weights}",
            precision=weights,
            tokenizer=tokenizer_of(forms.served),
        )
        off = tuple(verify_single_rounding(forms.merged.path, file))
        observations.append(Observation(seen.stage, seen.precision, seen.answers, off))
    return observations


def _in_llamacpp(voyage: Voyage, forms: Forms, probes: Sequence[Probe]) -> list[Observation]:
    """The file as llama.cpp reads it alone: its tokenizer, the template inside the file, its arithmetic."""
    files = _gguf_files(forms.served)
    if not voyage.recipe.writes_answers or not (files or voyage.recipe.export.adapter):
        return []
    if files:
        weights, file = next(iter(files.items()))
        reader = ModelFile(file, "llamacpp", "the reader that other tools share")
    else:
        weights, reader = voyage.recipe.export.weights[0], file_to_serve(forms.served, voyage.recipe, "llamacpp")
    with open_process(reader, voyage.recipe, slots=4) as process:
        prompts = [_as_others_would(process, probe) for probe in probes]
        answers = observe_engine(process, prompts, probes, voyage.recipe, tokenizer_of(forms.served))
    return [Observation("gguf in llama.cpp", weights, answers)]


def _as_others_would(process: EngineProcess, probe: Probe) -> tuple[int, ...]:
    text = process.apply_template([dict(message) for message in probe.messages])
    return tuple(process.tokenize(text))


def _served(voyage: Voyage, forms: Forms, probes: Sequence[Probe]) -> list[Observation]:
    """Over HTTP, as a client would ask: one request at a time, then eight at once."""
    recipe = voyage.recipe
    file = file_to_serve(forms.served, recipe)
    precision = recipe.export.weights[0] if _gguf_files(forms.served) and file.engine != "vllm" else "bf16"
    where = f" at {file.where}" if file.engine == "remote" else ""
    voyage.log.say(f"  served by {file.engine}{where}: {file.why}")
    observations = []
    with served_apart(voyage.run.path, before_check=True) as address, Client(address) as client:
        client.wait_until_ready()
        ask = partial(_ask, client, model=recipe.name, max_tokens=recipe.check.max_new_tokens)
        for at_once in (1, 8):
            with ThreadPoolExecutor(at_once) as pool:
                answers = tuple(pool.map(ask, probes))
            observations.append(Observation(f"served, {at_once} at once", precision, answers))
    return observations


def _ask(client: Client, probe: Probe, *, model: str, max_tokens: int) -> Answer:
    options = {"temperature": 0, "max_tokens": max_tokens, "return_token_ids": True}
    if probe.messages:
        result = client.chat(probe.messages, model=model, logprobs=True, top_logprobs=5, **options)
    else:
        result = client.complete(probe.text, model=model, logprobs=5, **options)
    stopped = result.finish_reason == "stop"
    ids = result.token_ids + ((probe.stop_id,) if stopped else ())
    first = {result.token_ids[0]: result.logprobs[0].logprob} if result.token_ids and result.logprobs else {}
    known = {token: value for token, value in first.items() if value is not None}
    return Answer(result.prompt_ids, ids, result.text, stopped, known)


def _gguf_files(served: Artifact) -> dict[str, Path]:
    """The precisions of an export, in the recipe's order of names, and their files."""
    names = ("q8_0", "q4_k", "q4_0", "bf16", "f16", "mixed")
    return {name: served.path / gguf_name(name) for name in names if gguf_name(name) in served.manifest.files}


def table(verdict: Verdict) -> list[str]:
    """The comparisons as lines of a terminal."""
    return [_line(finding) for finding in verdict.findings]


def _line(finding: Finding) -> str:
    mark = "✓" if finding.passed else "✗"
    return f"{mark} {finding.stage:<20} {finding.check:<28} {finding.value:>10.4g}   {finding.bound} {finding.limit:g}"
