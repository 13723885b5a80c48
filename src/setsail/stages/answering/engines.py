"""Opening an engine on an artefact: which file, which engine, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError, SystemRefusal, UserError
from setsail.base.log import Log, size
from setsail.base.recipe import Recipe
from setsail.base.recipe_data import Server
from setsail.base.run import Run
from setsail.engine.batch import Completion, generate_all
from setsail.engine.cache import OWN, cache_bytes
from setsail.engine.contract import PLAIN as NOTHING_SPECIAL
from setsail.engine.contract import GenerationRequest, Special
from setsail.engine.gguf_limits import read_limits
from setsail.engine.process import EngineProcess, Watch
from setsail.engine.registry import FAR_ENGINES, TAKE_ADAPTERS
from setsail.stages.answering.engine_speeds import chosen_by_speed
from setsail.stages.kinds import ADAPTER, base_name, tokenizer_of
from setsail.tokens.render import Rendered

PLAIN = "q8_0"  # of a base whose tuned model has a precision of its own
SLOTS = 32  # answers at once where nobody waits for a single one
_VLLM_LOADS_SECONDS = 2000.0
_FAR_STALL_SECONDS = 1200.0  # each request to a server has a deadline of its own, shorter than this


@dataclass(frozen=True)
class ModelFile:
    """A model file or folder, the engine that reads it and why, and what only some engines take.

    For a far engine it is the folder with the tokenizer, and the server is whom to ask.
    """

    path: Path
    engine: str
    why: str
    special: Special = NOTHING_SPECIAL

    @property
    def server(self) -> Server | None:
        return self.special.server

    @property
    def where(self) -> str:
        """What answers, for a person."""
        return self.server.url if self.server is not None and self.engine == "remote" else str(self.path)

    @property
    def description(self) -> str:
        """What answers, for clients, who need not know where."""
        return "another server" if self.engine == "remote" else f"{self.path.name} by {self.engine}"


def with_engine(
    recipe: Recipe, engine: str | None, *, model: str | None = None, key_env: str | None = None
) -> tuple[Recipe, str | None]:
    """The recipe as the command line would have it, and the name of the engine that was asked for.

    The address of a server is an engine too: `remote`. Its model is called `model`, else as in the recipe, else like
    the run.

    Raises: UserError for words that say nothing beside this engine.
    """
    known = recipe.serve.server
    if engine is not None and engine.startswith(("http://", "https://")):
        name = model or (known.model if known else recipe.name)
        try:
            server = Server(url=engine, model=name, key_env=key_env or (known.key_env if known else None))
        except ValueError as error:
            raise UserError(f"this is no address of a server: {error}", place="--engine") from None
        engine = "remote"
    elif (engine or recipe.serve.engine) == "remote":
        if known is None:
            hint = "say its address: --engine http://HOST:PORT, or serve.server in the recipe"
            raise UserError("the engine remote wants a server to ask", place="--engine", hint=hint)
        server = Server(url=known.url, model=model or known.model, key_env=key_env or known.key_env)
    elif model or key_env:
        told = f"the engine {engine or recipe.serve.engine} asks no other server"
        raise UserError(told, place="--model" if model else "--key-env", hint="say --engine http://HOST:PORT")
    else:
        return recipe, engine
    serve = recipe.serve.model_copy(update={"engine": "remote", "server": server})
    return recipe.model_copy(update={"serve": serve}), engine


def how_served(recipe: Recipe) -> dict[str, Any]:
    """What of the engine decides what it answers, for the identity of stages; what was never said is not there."""
    cache = {} if recipe.serve.cache == "auto" else {"cache": recipe.serve.cache}
    return {"engine": engine_mark(recipe), **cache}


def engine_mark(recipe: Recipe) -> Any:
    """The engine, and where another computes whose."""
    server = recipe.serve.server
    if recipe.serve.engine != "remote" or server is None:
        return recipe.serve.engine
    return {"engine": "remote", "url": server.url, "model": server.model}


def file_to_serve(artifact: Artifact, recipe: Recipe, engine: str | None = None) -> ModelFile:
    """What is served of an artefact: its first GGUF file, or the folder itself; by the engine named or chosen.

    A far server holds the tuned model alone: its base is answered by an engine of this machine.

    Raises: UserError for an adapter and an engine that takes none.
    """
    if ADAPTER in artifact.manifest.files:
        return _with_adapter(artifact, recipe, engine or recipe.serve.engine)
    files = [f"model-{weights}.gguf" for weights in (recipe.export.weights[0], PLAIN)]
    path = next((artifact.path / name for name in files if name in artifact.manifest.files), artifact.path)
    wanted = engine or recipe.serve.engine
    if wanted == "remote" and artifact.manifest.kind in ("base", "base_gguf"):
        chosen = file_to_serve(artifact, recipe, "auto")
        return replace(chosen, why=f"the server has the tuned model alone; {chosen.why}")
    if wanted == "remote":
        return ModelFile(artifact.path, wanted, "you named it", Special(server=recipe.serve.server))
    if wanted == "vllm":
        here = Server(url="http://127.0.0.1", model=recipe.name)
        return ModelFile(_folder_of(artifact), wanted, "you named it", Special(server=here))
    if wanted != "auto":
        return ModelFile(path, wanted, "you named it", Special(cache=recipe.serve.cache))
    choice = chosen_by_speed(artifact, path, slots=recipe.serve.slots)
    return ModelFile(path, choice.name, choice.reason, Special(cache=recipe.serve.cache))


def _with_adapter(artifact: Artifact, recipe: Recipe, wanted: str) -> ModelFile:
    if wanted not in ("auto", *TAKE_ADAPTERS):
        hint = "leave --engine out, or export the model merged: export.adapter: false"
        raise UserError(f"the engine {wanted} takes no adapter file", place=str(artifact.path), hint=hint)
    base = artifact.file(base_name(recipe.export.weights[0]))
    special = Special(recipe.serve.cache, (artifact.file(ADAPTER),), adapter=0)
    return ModelFile(base, TAKE_ADAPTERS[0], "it puts an adapter on its base", special)


def cache_told(file: ModelFile, recipe: Recipe) -> str:
    """A line on the memory that full slots take; nothing where it is not known."""
    if file.path.is_dir():
        return ""
    context, slots, cache = context_of(recipe), recipe.serve.slots, file.special.cache
    most = cache_bytes(read_limits(file.path), file.engine, cache, context=context, slots=slots)
    fineness = OWN.get(file.engine, "") if cache == "auto" else cache
    return "" if most is None else f"cache in {fineness}: at most {size(most)}, {slots} slots of {context:,} tokens"


def say_what_answers(name: str, file: ModelFile, log: Log) -> None:
    """What answers for a model, and why, before it is loaded."""
    log.say(f"  {name}: {file.where} by {file.engine} ({file.why})")
    if file.engine == "vllm":
        log.say("  vLLM loads the model, which takes a minute or more")


def _folder_of(artifact: Artifact) -> Path:
    """The Hugging Face folder that an artefact's GGUF files were made of; the artefact's own where it is one.

    Raises: ArtifactError when the run no longer has that folder.
    """
    wanted = artifact.manifest.parents.get("model")
    if artifact.manifest.kind not in ("gguf", "base_gguf"):
        return artifact.path
    run = Run(artifact.path.parent)
    for kind in run.current():
        if run.artifact(kind, verify=False).id == wanted:
            return run.artifact(kind).path
    raise ArtifactError(
        f"the folder that {artifact.path.name} was made of is no longer in this run",
        place=str(run.path),
        hint="setsail run RECIPE makes both",
    )


def context_of(recipe: Recipe) -> int:
    """The tokens that a prompt and its answer may have together when served."""
    return recipe.serve.context or max(2048, recipe.training.context + recipe.serve.max_tokens)


def open_process(file: ModelFile, recipe: Recipe, *, slots: int | None = None, grammars: bool = False) -> EngineProcess:
    """A watched child process with the model, not yet started."""
    assert (file.server is not None) == (file.engine in FAR_ENGINES)
    load_seconds = _VLLM_LOADS_SECONDS if file.engine == "vllm" else Watch.load_seconds
    watch = Watch(load_seconds, _FAR_STALL_SECONDS) if file.server is not None else None
    num_slots, context = slots or recipe.serve.slots, context_of(recipe)
    options = {"grammars": grammars, "special": file.special, "watch": watch}
    return EngineProcess(file.engine, file.path, context, num_slots, **options)


def answer_all(
    served: Artifact,
    recipe: Recipe,
    prompts: Sequence[Rendered],
    *,
    max_tokens: Sequence[int],
    progress: tuple[Log, str],
) -> list[Completion]:
    """Greedy answers by the engine that will serve the artefact, many at once; `progress` is shown by its name."""
    ends = tokenizer_of(served).eos_ids
    requests = [
        GenerationRequest(tuple(prompt.ids), most, stop_ids=tuple(sorted({prompt.stop_id, *ends})))
        for prompt, most in zip(prompts, max_tokens, strict=True)
    ]
    log, name = progress
    file = file_to_serve(served, recipe)
    with open_process(file, recipe, slots=SLOTS) as process, log.progress(name, len(requests)) as shown:
        if file.server is not None:
            log.say(f"  answers come from {file.where}: {process.note}")
        done = generate_all(process, requests, on_progress=lambda done, total: shown.advance())
    return all_answered(done)


def all_answered(completions: list[Completion]) -> list[Completion]:
    """The completions. Raises: SystemRefusal when some are none: an answer that never came is not an empty one."""
    failed = [each.message or each.reason for each in completions if each.reason not in ("stop", "length")]
    if failed:
        raise SystemRefusal(
            f"{len(failed)} of {len(completions)} answers did not come; the first: {failed[0]}",
            hint="type the same command again once the engine answers",
        )
    return completions
