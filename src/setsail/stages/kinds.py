"""What a run's model is and how it is asked, told from its folder without loading a weight or torch."""

from __future__ import annotations

from setsail.base.artifact import Artifact
from setsail.base.errors import ModelError
from setsail.base.recipe import ENCODER_TASKS, Kind, Recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.tokens.tokenizer import Tokenizer, load

ADAPTER = "adapter.gguf"


def kind_of_base(artifact: Artifact) -> Kind:
    """Which kind of language model a base is; runs that are older than the other kinds have decoders only."""
    return artifact.metrics.get("kind", "decoder")


def refuse_to_write_text(base: Artifact) -> None:
    """Raises: ModelError for a model that restores hidden text: it answers nobody."""
    kind = kind_of_base(base)
    if kind != "decoder":
        what = (
            "an encoder reads texts and fills in"
            if kind == "encoder"
            else "a seq2seq model restores what is cut, or writes for `setsail predict`"
        )
        raise ModelError(
            f"{what}: there is nothing to export for a server, to serve or to chat with",
            place=f"base of kind {kind}",
            hint="setsail run scores and checks it; its folder is an ordinary one for transformers, to be fine-tuned",
        )


def tokenizer_of(artifact: Artifact) -> Tokenizer:
    """The tokenizer, with its chat template, of a model folder."""
    return load(artifact.path)


def predicts(run: Run, recipe: Recipe) -> bool:
    """Whether a run's model answers with a label, a vector, a score or a text for a text, and not by going on."""
    writes = recipe.task in WRITING_TASKS and kind_of_base(run.artifact("base", verify=False)) == "seq2seq"
    return writes or recipe.task in ENCODER_TASKS


def gguf_name(weights: str) -> str:
    """The file name of one precision."""
    return f"model-{weights}.gguf"


def base_name(weights: str) -> str:
    """The file name of a base that an adapter lies beside."""
    return f"base-{weights}.gguf"
