"""The reference engine: transformers' own model, any architecture, exact log-probabilities. Simple before fast.

Reads a Hugging Face folder, or a GGUF file with its weights as the file rounds them. The invariant: each request has a
cache and a random generator of its own, so its tokens do not depend on who else is served.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from setsail.base import device as base_device
from setsail.engine.contract import Event, GenerationRequest, Token, fit_to_context, refuse_grammar
from setsail.engine.grammar import Grammars, Matcher, open_grammars
from setsail.engine.slots import Slots
from setsail.models.load import load_gguf_model, load_model

# V: vocabulary, T: tokens of a prompt.


@dataclass
class _Running:
    request: GenerationRequest
    cache: DynamicCache
    generator: torch.Generator
    matcher: Matcher | None
    next_ids: tuple[int, ...]
    num_emitted: int = 0


class TorchEngine:
    """A model that makes one token of each running request a poll, one after the other."""

    name = "torch"

    def __init__(self, model: PreTrainedModel, *, context: int, slots: int, grammars: Grammars | None = None) -> None:
        self.context = min(context, getattr(model.config, "max_position_embeddings", context))
        self._model = model
        self._grammars = grammars
        self.takes_grammars = grammars is not None
        self._slots = Slots(slots, self._start)

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        if self._grammars is None:
            refuse_grammar(self.name, request)
        else:
            self._grammars.check(request)
        self._slots.add(request_id, fit_to_context(request, self.context, self._model.config.vocab_size))

    def cancel(self, request_id: int) -> None:
        self._slots.drop(request_id)

    def poll(self, timeout_seconds: float) -> list[Event]:
        events = self._slots.take_cancelled()
        self._slots.fill()
        if not self._slots.running and not events:
            time.sleep(timeout_seconds)
        for request_id, running in list(self._slots.running.items()):
            events += self._step(request_id, running)
        return events

    def close(self) -> None:
        """Forget what runs; the memory goes with the process."""
        self._slots.running.clear()
        self._slots.waiting.clear()

    def _start(self, _: int, request: GenerationRequest) -> _Running:
        generator = torch.Generator().manual_seed(secrets.randbits(32) if request.seed is None else request.seed)
        matcher = self._grammars.matcher(request) if self._grammars and request.grammar else None
        return _Running(request, DynamicCache(config=self._model.config), generator, matcher, request.prompt_ids)

    @torch.inference_mode()
    def _step(self, request_id: int, running: _Running) -> list[Event]:
        request = running.request
        input_ids_1T = torch.tensor([running.next_ids], device=self._model.device)
        output = self._model(input_ids_1T, past_key_values=running.cache, use_cache=True, logits_to_keep=1)
        logits_V = output.logits[0, -1].float().cpu()
        allowed_V = logits_V if running.matcher is None else logits_V + running.matcher.bias(len(logits_V))
        token_id = choose(allowed_V, request, running.generator)
        if token_id in request.stop_ids:
            return [self._slots.end(request_id, "stop")]
        if running.matcher is not None:
            running.matcher.take(token_id)
        running.next_ids = (token_id,)
        running.num_emitted += 1
        events: list[Event] = [(request_id, _token(token_id, logits_V, request.num_logprobs))]
        if running.num_emitted == request.max_tokens:
            events.append(self._slots.end(request_id, "length"))
        return events


def open_engine(model: Path, *, context: int, slots: int, threads: int | None, grammars: bool = False) -> TorchEngine:
    """An engine with a Hugging Face folder or a GGUF file, in the format that this machine computes best.

    Raises: ModelError when it cannot be read.
    """
    if threads:
        torch.set_num_threads(threads)
    dtype = base_device.compute_dtype()
    loaded = load_gguf_model(model, dtype) if model.is_file() else load_model(model, dtype=dtype)
    nn.Module.to(loaded, base_device.device())
    masks = open_grammars(model, loaded.config.vocab_size) if grammars else None
    return TorchEngine(loaded, context=context, slots=slots, grammars=masks)


def choose(logits_V: torch.Tensor, request: GenerationRequest, generator: torch.Generator) -> int:
    """The next token: the likeliest at temperature 0, else drawn from the smallest set that holds `top_p`."""
    if request.temperature == 0.0:
        return int(logits_V.argmax())
    probabilities_V = (logits_V / request.temperature).softmax(-1)
    ranked_V, order_V = probabilities_V.sort(descending=True, stable=True)
    # A token stays when those before it do not yet hold top_p; the first always stays.
    ranked_V[ranked_V.cumsum(-1) - ranked_V >= request.top_p] = 0.0
    return int(order_V[torch.multinomial(ranked_V, 1, generator=generator)])


def _token(token_id: int, logits_V: torch.Tensor, num_logprobs: int) -> Token:
    if not num_logprobs:
        return Token(token_id)
    logprobs_V = logits_V.log_softmax(-1)
    top = logprobs_V.topk(min(num_logprobs, len(logprobs_V)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Token(token_id, float(logprobs_V[token_id]), tuple(pairs))
