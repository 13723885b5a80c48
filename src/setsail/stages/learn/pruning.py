"""A base with parts taken out: what does least on training rows goes, and the rest is an ordinary folder.

What is taken out and how lives in `compress/prune.py`; learning again what was lost is the voyage that follows. The
invariant: plain transformers makes of the saved folder what the model in memory says, or nothing is saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.errors import DataError, ModelError
from setsail.base.files import write_atomically
from setsail.base.recipe import ENCODER_TASKS
from setsail.base.recipe_compress import Prune
from setsail.compress.prune import TakenOut, layers_of, sizes_to_keep, take_out, watched
from setsail.data.row import iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.kinds import AUTO_CLASSES
from setsail.models.load import save_model
from setsail.models.weights import SIDE_FILES
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.lessons.examples import examples_of, nats_of
from setsail.stages.lessons.reading import lesson_on
from setsail.stages.stage import StageSpec, Voyage, make

RECORD = "pruning.json"
TOLERANCE = 1e-5  # of the largest state: the same weights in the same format, computed by the same code


def pruned(voyage: Voyage, base: Artifact, data: Artifact) -> Artifact:
    """The base of the recipe: as it is, or where the recipe prunes it, with what did least on its rows taken out.

    Raises:
        ModelError: a model that cannot be pruned so, or sizes that it cannot have.
        DataError: no training row fits the context.
    """
    recipe, wanted = voyage.recipe, voyage.recipe.base
    if not isinstance(wanted, Prune):
        return base

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(recipe.seed)
        model, taken = _smaller(voyage, wanted, base, data)
        _save(model, base, draft)
        text = json.dumps({"rows": wanted.rows, **asdict(taken)}, indent=1)
        write_atomically(draft / RECORD, text + "\n")
        for line in taken.lines():
            voyage.log.say(f"  {line}")
        return {**base.metrics, "num_parameters": taken.num_parameters[1], "pruned": asdict(taken)}

    settings = {
        "base": wanted.model_dump(mode="json"),
        "task": recipe.task,
        "seed": recipe.seed,
        "context": recipe.training.context,
        "overlong": recipe.data.overlong,
    }
    return make(voyage, StageSpec("base", settings, {"whole": base, "data": data}, {}), build)


def _smaller(voyage: Voyage, wanted: Prune, base: Artifact, data: Artifact) -> tuple[PreTrainedModel, TakenOut]:
    """The model with parts taken out, in the number format of its folder."""
    recipe, tokenizer = voyage.recipe, tokenizer_of(base)
    if kind_of_base(base) == "seq2seq":
        raise ModelError("an encoder-decoder cannot be pruned yet", place=voyage.loaded.place("base"))
    lesson = lesson_on(recipe, base, data, tokenizer)
    rows = choose_rows(iterate_rows(data.file("train.parquet")), wanted.rows, seed=recipe.seed)
    examples = examples_of(rows, tokenizer, recipe, lesson).examples
    if not examples:
        raise DataError("no training row fits the context, so that nothing can be measured on them")
    model: Any = lesson.load(base.path)
    whole = layers_of(model)
    sizes = sizes_to_keep(model, whole, wanted)
    move(model, device())
    with watched(whole) as seen:
        nats_of(model, examples, lesson)
    voyage.log.say(f"  measured    on {len(examples)} training rows, {seen.num_tokens:,} tokens")
    model.cpu()
    for weight in model.parameters():  # and no buffer: angles of positions stay as exact as they are
        weight.data = weight.data.to(torch.bfloat16)
    body = model.base_model if recipe.task in ENCODER_TASKS else model
    return body, take_out(body, layers_of(body), seen, sizes)


def _save(model: PreTrainedModel, base: Artifact, draft: Path) -> None:
    """The folder with all that stands beside the weights, proved to load as what it is."""
    save_model(model, draft)
    for name in SIDE_FILES:
        if name != "config.json" and (base.path / name).is_file():
            (draft / name).write_bytes((base.path / name).read_bytes())
    _refuse_other_model(model, draft)


@torch.no_grad()
def _refuse_other_model(model: PreTrainedModel, folder: Path) -> None:
    """Raises:
    ModelError: where plain transformers does not make of the folder what the model in memory says.
    """
    ours = deepcopy(model).float().eval()
    names = (model.config.architectures or [""])[0]
    classes = [AutoModel, *AUTO_CLASSES.values()]
    made_by = next((auto for auto in classes if _makes(auto, model)), AutoModel)
    loaded: Any = made_by.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    plain, report = loaded
    ours.set_attn_implementation("eager")
    ids = torch.arange(3, 3 + min(16, model.config.get_text_config().vocab_size - 3))[None]
    said, expected = (each.eval()(input_ids=ids)[0] for each in (plain, ours))
    off = float((said - expected).abs().max() / expected.abs().max())
    # What reads tokens has no pooler, and a head that wants one draws it anew.
    lacking = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    if lacking or report["mismatched_keys"] or not off <= TOLERANCE:
        raise ModelError(
            f"a {names} with these parts taken out is no longer what its configuration says: plain transformers is "
            f"off by {off:.2g}",
            place="base.prune",
            hint="take out something else: feed_forward can be smaller in most families",
        )


def _makes(auto: Any, model: PreTrainedModel) -> bool:
    return auto._model_mapping.get(type(model.config), None) is type(model)
