"""Grammars for the torch engine: which tokens may come next, by llguidance and the model's own tokenizer file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

from setsail.base.errors import UserError
from setsail.engine.contract import GenerationRequest


class Matcher:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: LLMatcher, stop_ids: tuple[int, ...]) -> None:
        self._matcher = matcher
        self._stop_ids = list(stop_ids)

    def bias(self, num_tokens: int) -> torch.Tensor:
        """[V] what is to be added to logits: 0 where a token may come, minus infinity elsewhere."""
        bias_V = torch.full((num_tokens,), -torch.inf)
        if not self._matcher.is_stopped():
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            allowed_V = torch.from_numpy(np.unpackbits(bits, bitorder="little")[:num_tokens].astype(bool))
            bias_V[: len(allowed_V)][allowed_V] = 0.0
        # The token that ends an answer is the caller's to say, and not always the tokenizer's own.
        bias_V[self._stop_ids] = 0.0 if self._matcher.is_accepting() else -torch.inf
        return bias_V

    def take(self, token_id: int) -> None:
        """Goes on by a token."""
        self._matcher.consume_token(token_id)


class Grammars:
    """Makes matchers for one vocabulary."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer

    def check(self, request: GenerationRequest) -> None:
        """Raises: UserError for a text that is no grammar."""
        if request.grammar is not None:
            self.matcher(request)

    def matcher(self, request: GenerationRequest) -> Matcher:
        """A new answer. Raises: UserError for a text that is no grammar."""
        assert request.grammar is not None
        try:
            matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(gbnf_to_lark(request.grammar)))
        except (GbnfToLarkError, ValueError) as error:
            raise UserError(f"the grammar cannot be read: {error}") from None
        if matcher.is_error():
            raise UserError(f"the grammar cannot be used: {matcher.get_error()}")
        return Matcher(matcher, request.stop_ids)


def open_grammars(model: Path, num_tokens: int) -> Grammars | None:
    """For the model in a folder or file with its tokenizer.json beside it; None where there is no such file."""
    file = (model.parent if model.is_file() else model) / "tokenizer.json"
    return Grammars(LLTokenizer(str(file.resolve()), n_vocab=num_tokens)) if file.exists() else None
