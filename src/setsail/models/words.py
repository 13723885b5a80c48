"""The small readers: a bag of words, which is the mean of their vectors, and an LSTM, which reads in both directions.

Classes of our own, in transformers' terms: `register` makes its Auto classes know them, and what is saved loads
wherever setsail is installed. The invariant: a document gives the same states alone, padded and in a packed row.

Source: Joulin et al. 2017, Bag of Tricks (arXiv 1607.01759); Hochreiter and Schmidhuber 1997; Graves and Schmidhuber
2005 (both directions).

Legend: B rows, T tokens, E width of the embedding, H width of the states, C figures of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput, TokenClassifierOutput

from setsail.base.errors import RecipeError

_ALIKE = 0.7  # of the longest document's tokens
_LEAST_TOGETHER = 8  # documents


class WordsConfig(PreTrainedConfig):
    """`num_hidden_layers` of an LSTM, or 0 for a bag of words; `hidden_size` is that of the states."""

    model_type = "setsail-words"

    def __init__(
        self,
        vocab_size: int = 8192,
        embedding_size: int = 128,
        hidden_size: int = 128,
        num_hidden_layers: int = 0,
        max_position_embeddings: int = 2048,
        hidden_dropout_prob: float = 0.3,
        pad_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.pad_token_id = pad_token_id
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.max_position_embeddings = max_position_embeddings
        self.hidden_dropout_prob = hidden_dropout_prob
        self.classifier_pooling = "mean"
        super().__init__(**kwargs)


class _Words(PreTrainedModel):
    config_class = WordsConfig
    base_model_prefix = "model"
    _supports_attention_backend = True  # it has none to replace

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            for name, weight in module.named_parameters():
                nn.init.zeros_(weight) if "bias" in name else nn.init.xavier_uniform_(weight)


class WordsModel(_Words):
    """States of tokens: their vectors, or what an LSTM makes of those from both sides."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.lstm = None
        if config.num_hidden_layers:
            self.lstm = nn.LSTM(
                config.embedding_size,
                config.hidden_size // 2,
                num_layers=config.num_hidden_layers,
                batch_first=True,
                bidirectional=True,
            )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_starts: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        """`last_hidden_state` [B, T, H]. A packed row has `document_starts`, a padded batch a mask."""
        vectors_BTE = self.dropout(self.word_embeddings(input_ids))
        if self.lstm is None:
            return BaseModelOutput(last_hidden_state=vectors_BTE)
        if document_starts is not None:
            documents = vectors_BTE[0].split(document_starts.diff().tolist())
            return BaseModelOutput(last_hidden_state=torch.cat(_states_of(self.lstm, documents))[None])
        if attention_mask is None:
            return BaseModelOutput(last_hidden_state=self.lstm(vectors_BTE)[0])
        return BaseModelOutput(last_hidden_state=_both_ways(self.lstm, vectors_BTE, attention_mask.sum(dim=1)))


def _states_of(lstm: nn.LSTM, documents: Sequence[Tensor]) -> list[Tensor]:
    """The states [T, H] of each document [T, E]; those of similar length are read together, padded.

    torch's own way with packed sequences makes a gradient as large as all documents for every step in time.
    """
    order = sorted(range(len(documents)), key=lambda place: -len(documents[place]))
    found: dict[int, Tensor] = {}
    for members in _alike(order, [len(document) for document in documents]):
        lengths_B = torch.tensor([len(documents[place]) for place in members], device=documents[0].device)
        padded_BTE = pad_sequence([documents[place] for place in members], batch_first=True)
        states_BTH = _both_ways(lstm, padded_BTE, lengths_B)
        found |= {place: states[: len(documents[place])] for place, states in zip(members, states_BTH, strict=True)}
    return [found[place] for place in range(len(documents))]


def _alike(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Groups of documents, the longest first; the shortest of a group is not much shorter than the longest."""
    groups: list[list[int]] = []
    for place in order:
        if groups and (lengths[place] >= _ALIKE * lengths[groups[-1][0]] or len(groups[-1]) < _LEAST_TOGETHER):
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _both_ways(lstm: nn.LSTM, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
    """The states [B, T, H] of a padded batch, each row read to its own end and back from there; 0 behind it.

    Padding stands behind a row, where what reads forwards does not see it; what reads backwards is given each row in
    reverse up to its end. So both are plain LSTMs, for which a CPU and a GPU have fused kernels.
    """
    place_T = torch.arange(vectors_BTE.shape[1], device=vectors_BTE.device)
    is_inside_BT = place_T < lengths_B[:, None]
    mirror_BT1 = torch.where(is_inside_BT, lengths_B[:, None] - 1 - place_T, place_T)[..., None]
    half = lstm.hidden_size
    zeros_1BH = vectors_BTE.new_zeros(1, len(vectors_BTE), half)
    states = vectors_BTE

    def read(states: Tensor, layer: str) -> Tensor:
        weights = [getattr(lstm, f"{name}_{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        return torch.lstm(states, (zeros_1BH, zeros_1BH), weights, True, 1, 0.0, lstm.training, False, True)[0]

    for layer in range(lstm.num_layers):
        mirrored = states.gather(1, mirror_BT1.expand_as(states))
        backwards = read(mirrored, f"l{layer}_reverse").gather(1, mirror_BT1.expand(-1, -1, half))
        states = torch.cat([read(states, f"l{layer}"), backwards], dim=-1)
    return states * is_inside_BT[..., None].to(states.dtype)


class _Head(nn.Module):
    """A layer on each document's mean, or each token's state."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        return torch.relu(self.dense(states))


class _Reader(_Words):
    def __init__(self, config: WordsConfig) -> None:
        super().__init__(config)
        self.model = WordsModel(config)
        self.head = _Head(config)
        self.drop = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, int(config.num_labels or 0))
        self.post_init()


class WordsForSequenceClassification(_Reader):
    """Figures of a text from the mean of its states."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """`logits` [B, C]."""
        states_BTH = self.model(input_ids, attention_mask).last_hidden_state
        mask_BT1 = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask_BT1 = mask_BT1[..., None].to(states_BTH.dtype)
        means_BH = (states_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
        return SequenceClassifierOutput(logits=self.classifier(self.drop(self.head(means_BH))))


class WordsForTokenClassification(_Reader):
    """Figures of each token."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> TokenClassifierOutput:
        """`logits` [B, T, C]."""
        states_BTH = self.model(input_ids, attention_mask).last_hidden_state
        return TokenClassifierOutput(logits=self.classifier(self.drop(self.head(states_BTH))))


def register() -> None:
    """Makes transformers' Auto classes know these; calling it again changes nothing."""
    AutoConfig.register(WordsConfig.model_type, WordsConfig, exist_ok=True)
    AutoModel.register(WordsConfig, WordsModel, exist_ok=True)
    AutoModelForSequenceClassification.register(WordsConfig, WordsForSequenceClassification, exist_ok=True)
    AutoModelForTokenClassification.register(WordsConfig, WordsForTokenClassification, exist_ok=True)


def words_config(kind: str, num_parameters: int, *, vocabulary: int, context: int) -> WordsConfig:
    """The widest bag or LSTM of at most `num_parameters` weights, its words' vectors as wide as its states.

    Raises: RecipeError where not even the narrowest one fits.
    """
    best = None
    for width in range(16, 1025, 16):
        layers = 0 if kind == "bag" else 1
        config = WordsConfig(vocabulary, width, width, layers, context)
        if num_weights(config) > num_parameters:
            break
        best = config
    if best is None:
        raise RecipeError(
            f"{vocabulary:,} words leave nothing of {num_parameters:,} weights",
            place="base.new",
            hint="say fewer words in base.vocabulary, or more weights",
        )
    return best


def build_words(
    kind: str, num_parameters: int, *, vocabulary: int, context: int, pad: int | None, seed: int
) -> PreTrainedModel:
    """A bag or an LSTM without a head, its weights drawn from the seed.

    Raises: RecipeError where so many words leave nothing of so many weights.
    """
    config = words_config(kind, num_parameters, vocabulary=vocabulary, context=context)
    config.pad_token_id = pad
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WordsModel(config).eval()


def num_weights(config: WordsConfig) -> int:
    """How many weights a model of this configuration has, without a head."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in WordsModel(config).parameters())
