"""Our model as lm-evaluation-harness asks one: log-likelihoods by its weights, texts by the engine contract.

Needs the extra `harness`; only `harness.py` imports this. The class inherits because the harness takes nothing else.
Where a text is cut, what stands before an empty one and how windows roll is as in the harness's own `hf` backend, so
that the figures are the same (a test holds them against it).
Legend: B requests, T tokens padded on the right, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from transformers import PreTrainedModel

from setsail.base.errors import UserError
from setsail.engine.contract import Finished, GenerationRequest
from setsail.engine.torch import TorchEngine
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer

MOST_NEW_TOKENS = 256  # where a task does not say
_UNKNOWN_CONTEXT = 2048
_TOKENS_AT_ONCE = 2048
_SLOTS = 8
_UNDERSTOOD = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}

Request = tuple[Any, list[int], list[int]]  # what it is called, the context's ids, the continuation's


class HarnessModel(TemplateLM):
    """A decoder with its tokenizer, answering the three requests of the harness."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        if tokenizer.eos_id is None:
            raise UserError("the tokenizer has no eos token, which the harness needs")
        self._model, self._ours, self._eos_id = model, tokenizer, tokenizer.eos_id
        self.max_length = int(getattr(model.config, "max_position_embeddings", 0)) or _UNKNOWN_CONTEXT

    @property
    def eot_token_id(self) -> int:
        return self._eos_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before the first token of a text: bos where the tokenizer has one, else eos."""
        bos = self._ours.named.get("bos_token")
        found = self._ours.token_id(bos) if bos else None
        return self._eos_id if found is None else found

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids, with what the tokenizer itself puts around a text unless told not to or there already."""
        prefix = self._ours.token(self.prefix_token_id)
        if add_special_tokens is False or (add_special_tokens is None and prefix and string.startswith(prefix)):
            return self._ours.encode(string)
        return self._ours.encode_whole(string)

    @property
    def tokenizer_name(self) -> str:
        return str(self._ours.folder).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as training and serving render it."""
        if not add_generation_prompt:
            raise UserError("this task begins the answer itself, which our templates do not", hint="leave --chat out")
        return render(self._ours, chat_history, generation_prompt=True).text

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests: list[Request], **kwargs: Any) -> list[tuple[float, bool]]:
        order = sorted(range(len(requests)), key=lambda index: -sum(map(len, requests[index][1:])))
        found: dict[int, tuple[float, bool]] = {}
        for members in self._batches(requests, order):
            inputs = [self._input(requests[index]) for index in members]
            logits_BTV = self._model(input_ids=_padded(inputs).to(self._model.device)).logits
            for row, index in enumerate(members):
                continuation = requests[index][2]
                end = len(inputs[row])
                log_probabilities_TV = logits_BTV[row, end - len(continuation) : end].float().log_softmax(-1)
                found[index] = _score(log_probabilities_TV, torch.tensor(continuation, device=logits_BTV.device))
        return [found[index] for index in range(len(requests))]

    def _input(self, request: Request) -> list[int]:
        """What is read: all but the last token, the beginning cut where it does not fit."""
        return [*request[1], *request[2]][-(self.max_length + 1) :][:-1]

    def _batches(self, requests: list[Request], order: Sequence[int]) -> Iterator[list[int]]:
        """The longest first, so many at once that padding them stays below a bound."""
        start = 0
        while start < len(order):
            width = max(1, len(self._input(requests[order[start]])))
            stop = start + max(1, _TOKENS_AT_ONCE // width)
            yield list(order[start:stop])
            start = stop

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """What each text costs whole, in windows of the context where it is longer."""
        windows: list[list[Request]] = []
        for request in requests:
            rolling = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows.append([(None, *make_disjoint_window(window)) for window in rolling])
        scores = iter(self._loglikelihood_tokens([window for each in windows for window in each]))
        return [sum(next(scores)[0] for _ in each) for each in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A text for each request, ended by the model, by one of the task's stops, or by its limit."""
        asked = [self._generation(*request.args, seed=index) for index, request in enumerate(requests)]
        engine = TorchEngine(self._model, context=self.max_length, slots=_SLOTS)
        for index, (request, _) in enumerate(asked):
            engine.submit(index, request)
        written: list[list[int]] = [[] for _ in asked]
        num_running = len(asked)
        while num_running:
            for index, event in engine.poll(0.1):
                if isinstance(event, Finished):
                    num_running -= 1
                    continue
                written[index].append(event.token_id)
                text = self._ours.decode(written[index])
                if any(stop in text for stop in asked[index][1]):
                    engine.cancel(index)
        engine.close()
        return [
            postprocess_generated_text(self._ours.decode(ids), stops, None)
            for ids, (_, stops) in zip(written, asked, strict=True)
        ]

    def _generation(self, context: str, settings: dict[str, Any], *, seed: int) -> tuple[GenerationRequest, list[str]]:
        """The request, and the texts that end it. The prompt's beginning is cut where it leaves no room to answer."""
        wanted: dict[str, Any] = {**normalize_gen_kwargs(settings, MOST_NEW_TOKENS)}
        strange = {name for name, value in wanted.items() if value is not None} - _UNDERSTOOD
        if strange:
            raise UserError(f"the task asks to generate with {', '.join(sorted(strange))}, which our engines do not do")
        most = int(wanted["max_gen_toks"])
        room = self.max_length - most
        if room < 1:
            raise UserError(f"the task asks for {most:,} new tokens, the model has room for {self.max_length:,} in all")
        ids = self.tok_encode(context)[-room:] or [self.prefix_token_id]
        request = GenerationRequest(
            tuple(ids),
            most,
            temperature=float(wanted.get("temperature") or 0.0),
            top_p=float(wanted.get("top_p") or 1.0),
            seed=seed,
            stop_ids=tuple(sorted({self._eos_id, *self._ours.eos_ids})),
        )
        return request, [stop for stop in handle_stop_sequences(wanted.get("until"), eos=None) if stop]


def _padded(inputs: Sequence[Sequence[int]]) -> Tensor:
    """[B, T]; what is read from left to right does not see what stands behind it, so that any token will do."""
    longest = max(map(len, inputs))
    return torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in inputs])


def _score(log_probabilities_TV: Tensor, continuation_T: Tensor) -> tuple[float, bool]:
    chosen_T = log_probabilities_TV.gather(-1, continuation_T[:, None])[:, 0]
    return float(chosen_T.sum()), bool((log_probabilities_TV.argmax(-1) == continuation_T).all())
