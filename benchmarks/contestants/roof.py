"""How fast this machine multiplies the matrices of one training step, in the layouts in which training needs them."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import AutoConfig, PreTrainedConfig

from setsail.models.words import register

TOKENS = 2048
REPEATS = 9


def main() -> None:
    torch.set_num_threads(1)
    register()
    shape = AutoConfig.from_pretrained(sys.argv[1])
    is_full = sys.argv[2] == "full"
    layer = gates(shape) if shape.model_type == "setsail-words" else block(shape)
    supervised = int(TOKENS * float(sys.argv[3]))  # logits stand only where a token is supervised
    seconds = shape.num_hidden_layers * sum(products(TOKENS, *size, is_full) for size in layer)
    if supervised:
        seconds += products(supervised, shape.hidden_size, shape.vocab_size, is_full)
    weights = shape.num_hidden_layers * sum(inside * outside for inside, outside in layer)
    per_token = 2 * (weights + shape.hidden_size * shape.vocab_size * supervised / TOKENS) * (3 if is_full else 2)
    outcome = {
        "tokens_per_cpu_second": round(TOKENS / seconds, 1),
        "bf16_matmul_gflops": round(per_token * TOKENS / seconds / 1e9, 1),
        "mflop_per_token": round(per_token / 1e6, 1),
    }
    print(json.dumps(outcome))


def gates(shape: PreTrainedConfig) -> list[tuple[int, int]]:
    """Those of an LSTM in both directions, as if all steps could be computed at once."""
    half = shape.hidden_size // 2
    return [(shape.embedding_size, 4 * half), (half, 4 * half)] * 2


def block(shape: PreTrainedConfig) -> list[tuple[int, int]]:
    """Those of a transformer's block."""
    head = shape.hidden_size // shape.num_attention_heads
    groups = getattr(shape, "num_key_value_heads", shape.num_attention_heads)
    states = (shape.num_attention_heads + 2 * groups) * head
    gated = 1 if shape.model_type == "bert" else 2  # matrices before the activation
    return [
        (shape.hidden_size, states),
        (shape.num_attention_heads * head, shape.hidden_size),
        (shape.hidden_size, gated * shape.intermediate_size),
        (shape.intermediate_size, shape.hidden_size),
    ]


def products(tokens: int, inside: int, outside: int, is_full: bool) -> float:
    """CPU-seconds of one linear layer: forward, gradient of the input, and of the weight where it is trained."""
    inputs = torch.randn(tokens, inside).bfloat16()
    weight, grad = torch.randn(outside, inside).bfloat16(), torch.randn(tokens, outside).bfloat16()
    spent = timed(lambda: inputs @ weight.t()) + timed(lambda: grad @ weight)
    return spent + timed(lambda: grad.t() @ inputs) if is_full else spent


def timed(product: Callable[[], torch.Tensor]) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        product()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
