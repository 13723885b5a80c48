"""What an engine does with the probes of the check; and the first look at a server of somebody else's.

A server elsewhere may have been given other weights since it was checked. So a few of the trainer's own prompts are
asked when serving begins: by the widest limits, since its precision is its own affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from setsail.base.errors import CheckRefused
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.run import Run
from setsail.compress.check import NUM_FIRST, Answer, Observation, Probe, Verdict, compare_roughly
from setsail.compress.reference import FILE, Reference
from setsail.engine.batch import Completion, generate_all
from setsail.engine.contract import GenerationRequest
from setsail.engine.process import EngineProcess
from setsail.stages.answering.engines import all_answered
from setsail.tokens.tokenizer import Tokenizer

MOST_PROMPTS = 4
FEW_FIRST = 5  # as many as any server tells


def look_first(
    run: Run, recipe: Recipe, process: EngineProcess, tokenizer: Tokenizer, log: Log, *, known: bool
) -> None:
    """Holds a server's answers against the trainer's own; where it was checked (`known`) they must be alike.

    Raises:
        CheckRefused: the server that was checked answers as another model now.
        SystemRefusal: an answer did not come.
    """
    reference = Reference.read(run.artifact(recipe.training_key).file(FILE))
    probes = reference.probes[:MOST_PROMPTS]
    if not probes:
        return
    trainer = Observation("trainer", "same", reference.trainer.answers[: len(probes)])
    prompts = [probe.prompt_ids for probe in probes]
    answers = observe_engine(process, prompts, probes, recipe, tokenizer, num_first=FEW_FIRST)
    verdict = Verdict(tuple(compare_roughly(trainer, Observation("server", "", answers))))
    off = verdict.breach
    if off is None:
        figures = ", ".join(f"{each.check} {each.value:.2g}" for each in verdict.findings)
        log.say(f"  {recipe.name}: a first look at {len(probes)} held-out prompts: {figures}")
        return
    told = f"{off.check} is {off.value:.3g} over {len(probes)} held-out prompts, allowed is {off.bound} {off.limit:g}"
    if known:
        raise CheckRefused(
            f"the server no longer answers as this run was trained: {told}",
            place=str(run.path),
            hint="give it this run's weights again, or check it anew: setsail check RECIPE",
        )
    log.say(f"! {recipe.name}: the server answers as another model would: {told}")


def observe_engine(
    process: EngineProcess,
    prompts: Sequence[tuple[int, ...]],
    probes: Sequence[Probe],
    recipe: Recipe,
    tokenizer: Tokenizer,
    *,
    num_first: int = NUM_FIRST,
) -> tuple[Answer, ...]:
    """Greedy answers to rendered prompts, with what the engine thought of the first token."""
    requests = [
        GenerationRequest(prompt, recipe.check.max_new_tokens, stop_ids=(probe.stop_id,), num_logprobs=num_first)
        for prompt, probe in zip(prompts, probes, strict=True)
    ]
    completions = all_answered(generate_all(process, requests))
    return tuple(
        _answer(prompt, completion, probe, tokenizer)
        for prompt, completion, probe in zip(prompts, completions, probes, strict=True)
    )


def _answer(prompt: tuple[int, ...], completion: Completion, probe: Probe, tokenizer: Tokenizer) -> Answer:
    stopped = completion.reason == "stop"
    ids = completion.token_ids + ((probe.stop_id,) if stopped else ())
    own = dict(zip(completion.token_ids[:1], completion.logprobs, strict=False))  # some tell no others
    first = dict(completion.top_logprobs[0]) if completion.top_logprobs else own
    return Answer(prompt, ids, tokenizer.decode(completion.token_ids), stopped, first)
