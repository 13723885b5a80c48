"""A tiny llama with random weights, written as GGUF here, and the real engines that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from setsail.engine import EngineProcess, Watch

CONTEXT, SLOTS, NUM_TOKENS = 256, 4, 272
HIDDEN, LAYERS, HEADS, GROUPS, INNER = 64, 2, 4, 2, 128
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\\n' }}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Byte-level, so that any id may come out of a model, half characters too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_TOKENS,
        special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 4, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    write_header(writer, tokenizer)
    write_tensors(writer, tokenizer.get_vocab_size())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_header(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word.startswith("<|") else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def write_tensors(writer: gguf.GGUFWriter, num_tokens: int) -> None:
    random = np.random.default_rng(7)

    def matrix(name: str, rows: int, columns: int, scale: float) -> None:
        writer.add_tensor(f"{name}.weight", (random.standard_normal((rows, columns)) * scale).astype(np.float16))

    # Large embeddings make the likeliest token stand out, so that rounding does not decide it.
    matrix("token_embd", num_tokens, HIDDEN, 1.0)
    matrix("output", num_tokens, HIDDEN, 0.5)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for block in (f"blk.{layer}" for layer in range(LAYERS)):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for name, rows in (("q", HIDDEN), ("k", HIDDEN * GROUPS // HEADS), ("v", HIDDEN * GROUPS // HEADS)):
            matrix(f"{block}.attn_{name}", rows, HIDDEN, 0.2)
        matrix(f"{block}.attn_output", HIDDEN, HIDDEN, 0.2)
        for name in ("ffn_gate", "ffn_up"):
            matrix(f"{block}.{name}", INNER, HIDDEN, 0.2)
        matrix(f"{block}.ffn_down", HIDDEN, INNER, 0.2)


@pytest.fixture(scope="session")
def openvino_engine(tiny_gguf: Path) -> Iterator[EngineProcess]:
    with EngineProcess("openvino", tiny_gguf, CONTEXT, SLOTS, threads=1) as engine:
        yield engine


@pytest.fixture(scope="session")
def llamacpp_engine(tiny_gguf: Path) -> Iterator[EngineProcess]:
    with EngineProcess("llamacpp", tiny_gguf, CONTEXT, SLOTS, threads=1) as engine:
        yield engine


@pytest.fixture(params=["openvino", "llamacpp"])
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    return request.getfixturevalue(f"{request.param}_engine")


OpenEcho = Callable[..., EngineProcess]


@pytest.fixture
def open_echo(tmp_path: Path) -> Iterator[OpenEcho]:
    """Starts echo engines that are closed after the test; what they say is kept in `said`."""
    engines: list[EngineProcess] = []

    def start(
        *, watch: Watch | None = None, say: Callable[[str], None] = lambda _: None, **settings: float
    ) -> EngineProcess:
        model = tmp_path / f"echo{len(engines)}.json"
        model.write_text(json.dumps(settings))
        engine = EngineProcess("echo", model, CONTEXT, SLOTS, watch=watch or Watch(backoff_seconds=0.05), say=say)
        engines.append(engine)
        return engine.start()

    yield start
    for engine in engines:
        engine.close()
