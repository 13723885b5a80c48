"""The export stages: merged weights as a Hugging Face folder, and GGUF files with their Modelfile."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from setsail.base.artifact import Artifact
from setsail.base.errors import CheckRefused
from setsail.base.files import link_or_copy
from setsail.base.log import size
from setsail.compress.adapter_file import changed_tensors, export_adapter
from setsail.compress.export import (
    Weights,
    export_gguf,
    has_room_for,
    no_room_for,
    verify_single_rounding,
    weight_error,
)
from setsail.compress.merge import merge
from setsail.compress.modelfile import write_modelfile
from setsail.models.weights import SIDE_FILES, weights_sha256
from setsail.stages.kinds import ADAPTER, base_name, gguf_name, kind_of_base, tokenizer_of
from setsail.stages.learn.precision import MIXED, PLAIN, coarser_layers
from setsail.stages.stage import StageSpec, Voyage, make


def make_merged(voyage: Voyage, base: Artifact, trained: Artifact) -> Artifact:
    """The tuned model as one Hugging Face folder, with the base's tokenizer and template."""

    def build(draft: Path) -> Mapping[str, Any]:
        if voyage.recipe.training.method == "lora":
            merge(base.path, trained.path, draft, log=voyage.log)
        else:
            there = [name for name in SIDE_FILES if (trained.path / name).is_file()]
            for name in ("model.safetensors", *there):
                shutil.copyfile(trained.path / name, draft / name)
        return {"weights_sha256": weights_sha256(draft)}

    return make(voyage, StageSpec("merged", {}, {"base": base, "trained": trained}, {}), build)


def make_gguf(
    voyage: Voyage, model: Artifact, *, kind: str, licence: str, precision: Artifact | None = None
) -> Artifact:
    """A model's GGUF files, one for each entry of `export.weights`; each is proved to be one rounding of the model.

    `precision` says which layers of a mixed file are coarser; without one, as of a base, its place is taken by q8_0.
    """
    exported = cast(tuple[Weights, ...], voyage.recipe.export.weights)
    asked = exported if kind == "gguf" else exported[:1]
    weights: list[Weights] = [PLAIN if name == MIXED and precision is None else name for name in asked]
    coarser = frozenset[int]() if precision is None else coarser_layers(precision)

    called = Path(voyage.recipe.base_name).name if kind == "base_gguf" else voyage.recipe.name

    def build(draft: Path) -> Mapping[str, Any]:
        metrics: dict[str, Any] = {}
        for name in weights:
            file = draft / gguf_name(name)
            title = f"{called} {name}"
            layers = coarser if name == MIXED else frozenset[int]()
            export_gguf(model.path, file, name, name=title, licence=licence, log=voyage.log, coarser=layers)
            off = verify_single_rounding(model.path, file)
            if off:
                raise CheckRefused(
                    f"{len(off)} tensors of {file.name} are not one rounding of the merged weights, first {off[0]}",
                    place="stage gguf",
                    hint="nothing was exported; this is a fault of setsail or of the disk",
                )
            metrics[name] = {"bytes": file.stat().st_size, "weight_error": weight_error(model.path, file)}
            voyage.log.say(
                f"  {file.name}  {size(file.stat().st_size)}, weights off by {metrics[name]['weight_error']:.2%}"
            )
        tokenizer_of(model).save(draft)
        write_modelfile(draft / "Modelfile", gguf=gguf_name(weights[0]), tokenizer=tokenizer_of(model), licence=licence)
        return metrics

    parents = {"model": model, **({} if precision is None else {"precision": precision})}
    return make(voyage, StageSpec(kind, {"weights": list(weights)}, parents, {}), build)


def refuse_unfit_weights(voyage: Voyage, base: Artifact) -> None:
    """Before training: a precision that no matrix of the base could have.

    Raises: ModelError, naming it.
    """
    export = voyage.recipe.export
    if export.format == "gguf" and kind_of_base(base) == "decoder":
        for weights in cast(tuple[Weights, ...], export.weights):
            if not has_room_for(base.path, weights):
                raise no_room_for(base.path, weights)


def make_adapter(voyage: Voyage, base: Artifact, trained: Artifact, base_gguf: Artifact, *, licence: str) -> Artifact:
    """What was trained as a GGUF adapter, bit for bit, with the base's file that it is put on (no second copy)."""
    [weights] = voyage.recipe.export.weights

    def build(draft: Path) -> Mapping[str, Any]:
        file = draft / ADAPTER
        export_adapter(base.path, trained.path, file, name=voyage.recipe.name)
        if off := changed_tensors(base.path, trained.path, file):
            raise CheckRefused(
                f"{len(off)} tensors of {ADAPTER} are not what was trained, first {off[0]}",
                place="stage gguf",
                hint="nothing was exported; this is a fault of setsail or of the disk",
            )
        link_or_copy(base_gguf.file(gguf_name(weights)), draft / base_name(weights))
        num_bytes = file.stat().st_size
        voyage.log.say(f"  {ADAPTER}  {size(num_bytes)}, on the base's {gguf_name(weights)}")
        tokenizer = tokenizer_of(base)
        tokenizer.save(draft)
        settings = {"gguf": base_name(weights), "tokenizer": tokenizer, "licence": licence}
        write_modelfile(draft / "Modelfile", **settings, adapter=ADAPTER)
        return {"adapter": {"bytes": num_bytes}}

    parents = {"base": base, "trained": trained, "base_gguf": base_gguf}
    return make(voyage, StageSpec("gguf", {"weights": [weights], "adapter": True}, parents, {}), build)
