"""How large each part of a model made new is, and how it wants to be trained, from one word for its size.

Arithmetic alone: nothing here imports torch, transformers' classes stand in new.py. Every rule names its source in the
line that a person reads. The invariant: whatever `fit` returns is within 5 % of the parameters that were asked for.

Legend: a layer's balance is 12·width² parameters, of which attention takes what it needs and the MLP the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast, get_args

from setsail.base.errors import RecipeError, did_you_mean
from setsail.base.recipe import Kind

Value = int | float | bool | str
KINDS: tuple[Kind, ...] = get_args(Kind)

SMALLEST, LARGEST = 10**6, 7 * 10**9  # parameters
SHORTEST_CONTEXT = 16
TOLERANCE = 0.05  # of the parameters asked for

NARROWEST, WIDEST = 64, 8192
DEPTHS: dict[Kind, tuple[int, int]] = {"decoder": (4, 32), "encoder": (4, 32), "seq2seq": (2, 24)}
DEEPEST = 96
MULTIPLE = 32  # what the kernels' vectors and the matrix tiles like
HEAD_SIZES = (64, 32)
MOST_SHARING = 4  # query heads of one key-value head
MLP_RATIOS = (2.0, 4.0)  # narrowest and widest MLP, in widths
UNTIED_FROM = 5 * 10**9
RELATIVE_BUCKETS = 32  # T5's distances, learned for each head

TOKENS_PER_PARAMETER = 20
MOST_EPOCHS = 4
FLOPS_PER_WEIGHT = 6  # of one token, forward and backward
CORE_FLOPS_PER_SECOND = 1e11
MUON_SPECTRAL_RATE = 0.02
MUON_RMS = 0.2  # of an update's entries before the rate

LEVINE = "Levine et al. 2020 (arXiv 2006.12467)"
DEEPSEEK = "DeepSeek LLM (arXiv 2401.02954)"


@dataclass(frozen=True)
class Derived:
    """One value and, in a line, why it is what it is."""

    name: str
    value: Value
    because: str


@dataclass(frozen=True)
class Dimensions:
    """A model's sizes. `num_layers` are those of each stack where there are two; `context` is in tokens."""

    kind: Kind
    vocabulary: int
    context: int
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_size: int
    intermediate_size: int
    tied: bool

    @property
    def rope_theta(self) -> float:
        """The base of the rotary angles.

        Source: Men et al. 2024 (arXiv 2405.14591), figure 1: at least 0.0424·context^1.628, here rounded up to one
        digit and never below the usual 10,000. That gives SmolLM2's 1e5 at 8,192 and Qwen2.5's 1e6 at 32,768.
        """
        bound = 0.0424 * self.context**1.628
        digit = 10.0 ** math.floor(math.log10(bound))
        return max(10_000.0, math.ceil(bound / digit) * digit)

    @property
    def initializer_range(self) -> float:
        """The standard deviation of weights at the start: one over the root of the inputs of a matrix."""
        return self.width**-0.5


@dataclass(frozen=True)
class Training:
    """What a first training run should use. `flops` are those of all `num_tokens`."""

    num_tokens: int
    num_corpus_tokens: int
    core_day_tokens: int
    batch_tokens: int
    num_steps: int
    learning_rate: float
    muon_learning_rate: float
    flops: float


def parse_kind(word: str) -> Kind:
    """The kind that a word names.

    Raises: RecipeError for any other word.
    """
    if word not in KINDS:
        raise RecipeError(f'kind "{word}" is none that can be made new', hint=did_you_mean(word, KINDS))
    return cast(Kind, word)


def parse_size(word: str) -> int:
    """The number of parameters that a size word means, from 1m to 7b.

    >>> parse_size("17m"), parse_size("1.5B")
    (17000000, 1500000000)

    Raises: RecipeError for anything else.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([mb])", word.lower())
    number = round(float(found[1]) * (10**6 if found[2] == "m" else 10**9)) if found else 0
    if not SMALLEST <= number <= LARGEST:
        hint = "write millions or billions of parameters from 1m to 7b, such as 17m, 350m or 1.5b"
        raise RecipeError(f'size "{word}" is no size that can be made', hint=hint)
    return number


def size_word(number: int) -> str:
    """A number of parameters as a size word, rounded up to two digits.

    >>> size_word(1_234_000), size_word(2_000_000_000)
    ('1.3m', '2b')
    """
    digit = 10 ** max(0, len(str(number)) - 2)
    rounded = -(-number // digit) * digit
    return f"{rounded / 1e9:g}b" if rounded >= 10**9 else f"{rounded / 1e6:g}m"


def count(dimensions: Dimensions) -> int:
    """All parameters of the transformers model with these dimensions; a tied embedding counts once."""
    d = dimensions
    key_value = d.num_key_value_heads * d.head_size
    attention = 2 * d.width**2 + 2 * d.width * key_value
    mlp = 3 * d.width * d.intermediate_size
    embedding = d.vocabulary * d.width * (1 if d.tied else 2)
    if d.kind == "decoder":
        return embedding + d.num_layers * (attention + mlp + 2 * d.width) + d.width
    if d.kind == "encoder":
        # The first layer has no norm before its attention; a norm stands after the embedding instead. The head is a
        # matrix, a norm and a bias for each word.
        head = d.width**2 + d.width + d.vocabulary
        return embedding + d.num_layers * (attention + mlp + 2 * d.width) + d.width + head
    norms_and_distances = 2 * d.width + 2 * RELATIVE_BUCKETS * d.num_heads
    return embedding + d.num_layers * (3 * attention + 2 * mlp + 5 * d.width) + norms_and_distances


def fit(kind: Kind, num_asked: int, *, vocabulary: int, context: int) -> Dimensions:
    """The dimensions of a model of `num_asked` parameters that strain the rules for depth and MLP the least.

    Raises: RecipeError where the vocabulary leaves nothing for layers, or the vocabulary or context is none.
    """
    if vocabulary < 2 or context < SHORTEST_CONTEXT:
        what = f"a vocabulary of {vocabulary:,}" if vocabulary < 2 else f"a context of {context:,} tokens"
        raise RecipeError(f"{what} is too small", hint=f"at least 2 words and {SHORTEST_CONTEXT} tokens")
    bare = _bare(kind, num_asked, vocabulary=vocabulary, context=context)
    candidates = [found for found in _candidates(bare, num_asked) if _miss(found, num_asked) <= TOLERANCE]
    if not candidates:
        raise _too_many_words(bare, num_asked)
    return min(candidates, key=lambda found: _strain(found) + _miss(found, num_asked))


def best_depth(kind: Kind, width: int) -> int:
    """The layers that a width can use; of each stack where there are two.

    Source: Levine et al. 2020 (arXiv 2006.12467), ln(width) = 5.039 + 0.0555·layers. We differ at the ends: never fewer
    than 4 layers, never more than the 32 of Llama-2-7B, and T5's 2 to 24 a stack, which share the depth.
    """
    layers = (math.log(width) - 5.039) / 0.0555
    least, most = DEPTHS[kind]
    return round(min(most, max(least, layers / 2 if kind == "seq2seq" else layers)))


def train_with(d: Dimensions, num_parameters: int, *, num_tokens: int | None = None) -> Training:
    """Training values for a run over `num_tokens`, by default as many as are optimal for the compute they cost.

    Source: Hoffmann et al. 2022 (arXiv 2203.15556) for 20 tokens a parameter; DeepSeek LLM (arXiv 2401.02954) for batch
    and AdamW's rate, with compute 6·parameters·tokens; Muennighoff et al. 2023 (arXiv 2305.16264) for four epochs.
    Jordan et al. 2024 for Muon's 0.02 at any width, here in the scale of Liu et al. 2025 (arXiv 2502.16982), where an
    update's entries are as large as AdamW's: divided by 0.2·√width.
    """
    tokens = TOKENS_PER_PARAMETER * num_parameters if num_tokens is None else num_tokens
    assert tokens > 0, "there is nothing to train on"
    flops = float(FLOPS_PER_WEIGHT * num_parameters * tokens)
    batch = max(d.context, 2 ** round(math.log2(0.2920 * flops**0.3271)))
    return Training(
        num_tokens=tokens,
        num_corpus_tokens=-(-tokens // MOST_EPOCHS),
        core_day_tokens=round(86_400 * CORE_FLOPS_PER_SECOND / (FLOPS_PER_WEIGHT * num_parameters)),
        batch_tokens=batch,
        num_steps=-(-tokens // batch),
        learning_rate=float(f"{0.3118 * flops**-0.1250:.2g}"),
        muon_learning_rate=float(f"{MUON_SPECTRAL_RATE / (MUON_RMS * d.width**0.5):.2g}"),
        flops=flops,
    )


def explain(d: Dimensions, num_asked: int) -> Iterator[Derived]:
    """Why the dimensions are what they are, a line each."""
    stack = " a stack" if d.kind == "seq2seq" else ""
    best = best_depth(d.kind, d.width)
    moved = "" if best == d.num_layers else f", {d.num_layers} to meet the size with this vocabulary"
    balanced = _balanced_mlp(d)
    yield Derived("width", d.width, f"at its best depth it comes nearest to {num_asked:,} parameters")
    yield Derived("num_layers", d.num_layers, f"{LEVINE}, ln(width) = 5.039 + 0.0555·layers: {best}{stack}{moved}")
    yield Derived("head_size", d.head_size, f"{HEAD_SIZES[0]}, or {HEAD_SIZES[1]} where that leaves fewer than 4 heads")
    yield Derived("num_heads", d.num_heads, f"width / head size = {d.width} / {d.head_size}")
    yield Derived("num_key_value_heads", d.num_key_value_heads, _why_grouped(d))
    yield Derived(
        "intermediate_size",
        d.intermediate_size,
        f"{balanced:,} makes 12·width² a layer, Kaplan et al. 2020 (arXiv 2001.08361); moved to meet the size",
    )
    yield Derived("tied", d.tied, _why_tied(d))
    if d.kind == "seq2seq":
        yield Derived("positions", RELATIVE_BUCKETS, "learned distances as in T5: no length is built in")
    else:
        because = "at least 0.0424·context^1.628, Men et al. 2024 (arXiv 2405.14591); never below 10,000"
        yield Derived("rope_theta", d.rope_theta, because)


def explain_training(t: Training, num_parameters: int) -> Iterator[Derived]:
    """Why the training values are what they are, a line each."""
    per_parameter = t.num_tokens / num_parameters
    days = t.num_tokens / t.core_day_tokens
    shown_days = f"{days:,.0f}" if days >= 10 else f"{days:.2g}"
    yield Derived(
        "num_tokens",
        t.num_tokens,
        f"{per_parameter:.3g} a parameter; 20 are optimal for the compute, Hoffmann et al. 2022 (arXiv 2203.15556)",
    )
    yield Derived(
        "num_corpus_tokens",
        t.num_corpus_tokens,
        f"{MOST_EPOCHS} epochs are nearly as good as new text, Muennighoff et al. 2023 (arXiv 2305.16264)",
    )
    yield Derived(
        "core_day_tokens",
        t.core_day_tokens,
        f"realistic: a day of one core at 100 GFLOP/s, 6 FLOPs a parameter; all tokens take {shown_days} such days",
    )
    yield Derived("batch_tokens", t.batch_tokens, f"0.292·FLOPs^0.3271, {DEEPSEEK}; a power of two, at least one row")
    yield Derived("num_steps", t.num_steps, "tokens / batch")
    yield Derived("learning_rate", t.learning_rate, f"AdamW's peak: 0.3118·FLOPs^-0.125, {DEEPSEEK}")
    yield Derived(
        "muon_learning_rate",
        t.muon_learning_rate,
        "Muon's peak: 0.02 of Jordan et al. 2024 / (0.2·√width), the scale of Liu et al. 2025 (arXiv 2502.16982)",
    )


def _bare(kind: Kind, num_asked: int, *, vocabulary: int, context: int) -> Dimensions:
    """The narrowest and shallowest model of the kind, without MLP."""
    tied = kind != "decoder" or num_asked < UNTIED_FROM
    return _at_width(Dimensions(kind, vocabulary, context, 0, DEPTHS[kind][0], 0, 0, 0, 0, tied), NARROWEST)


def _at_width(bare: Dimensions, width: int) -> Dimensions:
    large, small = HEAD_SIZES
    head_size = large if width % large == 0 and width >= 4 * large else small
    heads = width // head_size
    fits = (sharing for sharing in range(MOST_SHARING, 1, -1) if heads % sharing == 0 and heads // sharing >= 2)
    groups = heads // next(fits, 1) if bare.kind == "decoder" else heads
    return replace(bare, width=width, num_heads=heads, num_key_value_heads=groups, head_size=head_size)


def _widths() -> Iterator[int]:
    """Multiples of 32, in steps that grow with the width, so that large models divide well among tiles and devices."""
    width = NARROWEST
    while width <= WIDEST:
        yield width
        width += next(step for below, step in ((256, 32), (1024, 64), (2048, 128), (math.inf, 256)) if width < below)


def _candidates(bare: Dimensions, num_asked: int) -> Iterator[Dimensions]:
    """Every width and depth whose MLP can take up what is left of the parameters asked for."""
    least, _ = DEPTHS[bare.kind]
    num_stacks = 2 if bare.kind == "seq2seq" else 1
    for width in _widths():
        empty = _at_width(bare, width)
        none, one = (count(replace(empty, num_layers=depth)) for depth in (0, 1))
        for depth in range(least, DEEPEST + 1):
            left = num_asked - none - depth * (one - none)
            intermediate = MULTIPLE * round(left / (3 * width * depth * num_stacks * MULTIPLE))
            if MLP_RATIOS[0] * width <= intermediate <= MLP_RATIOS[1] * width:
                yield replace(empty, num_layers=depth, intermediate_size=intermediate)


def _miss(found: Dimensions, num_asked: int) -> float:
    return abs(count(found) / num_asked - 1)


def _strain(found: Dimensions) -> float:
    """How far depth and MLP are from what the rules say, in logarithms of their ratios; depth matters twice as much."""
    depth = math.log(found.num_layers / best_depth(found.kind, found.width))
    return 2 * abs(depth) + abs(math.log(found.intermediate_size / _balanced_mlp(found)))


def _balanced_mlp(d: Dimensions) -> int:
    """The intermediate size with which attention and MLP have 12·width² parameters, as in GPT-2 and Llama-2.

    >>> _balanced_mlp(Dimensions("encoder", 2048, 512, 768, 12, 12, 12, 64, 0, True))
    2048
    """
    attention = 2 * d.width**2 + 2 * d.width * d.num_key_value_heads * d.head_size
    return MULTIPLE * round((12 * d.width**2 - attention) / (3 * d.width * MULTIPLE))


def _too_many_words(bare: Dimensions, num_asked: int) -> RecipeError:
    """What the smallest layers and one word cost tells which vocabulary would do, and which size."""
    least = replace(bare, intermediate_size=int(MLP_RATIOS[0] * bare.width))
    layers = count(replace(least, vocabulary=0))
    per_word = count(replace(least, vocabulary=1)) - layers
    most_words, embedding = (num_asked - layers) // per_word, per_word * bare.vocabulary
    return RecipeError(
        f"{num_asked:,} parameters are too few for {bare.vocabulary:,} words: at the least width of {bare.width} "
        f"they take {embedding:,}, and the fewest layers {layers:,}",
        hint=f"take at most {most_words:,} words, or a size of at least {size_word(embedding + layers)}",
    )


def _why_grouped(d: Dimensions) -> str:
    sharing = d.num_heads // d.num_key_value_heads
    if d.kind != "decoder":
        return "as many as heads: transformers' encoder and T5 know no sharing"
    if sharing == 1:
        return f"{d.num_heads} heads cannot share and leave two"
    return f"{sharing} heads share one, the cache is {sharing} times smaller; Ainslie et al. 2023 (arXiv 2305.13245)"


def _why_tied(d: Dimensions) -> str:
    saved = f"saves {d.vocabulary * d.width:,} parameters"
    if d.kind == "encoder":
        return f"as in BERT; {saved}"
    if d.kind == "seq2seq":
        return f"transformers' T5 keeps one matrix for both stacks and the output; {saved} for each"
    if d.tied:
        return f"{saved}; so are Llama-3.2-3B and Qwen3-4B, MobileLLM (arXiv 2402.14905) for small ones"
    return "from 5b the output has a matrix of its own, as in Llama-2-7B and Qwen3-8B"
