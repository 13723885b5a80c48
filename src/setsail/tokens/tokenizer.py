"""Loading and using a tokenizer: text to ids and back, and what its folder says about special tokens and stopping.

Rendering a conversation is in `render.py`, incremental decoding in `stream.py`. Invariant: nothing is added, cut or
padded in silence (truncation and padding stored in a tokenizer file are switched off), and nothing here imports torch
or transformers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from setsail.base.errors import ModelError
from setsail.tokens.fast import fast_encoder
from setsail.tokens.read import Encoded

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation_config.json"
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer folder in memory. Two loads of one folder are two tokenizers: equality is identity."""

    folder: Path
    backend: tokenizers.Tokenizer
    named: Mapping[str, str]  # "eos_token" → "<|im_end|>"
    eos_ids: frozenset[int]
    template: str | None
    fast: Callable[[str], list[int]] | None = None  # proved to give the backend's ids

    def encode(self, text: str, *, continued: bool = False) -> list[int]:
        """Token ids of the text; special tokens in it are recognised, none is added.

        `continued` says that other text stands before this one, so that a tokenizer that begins every text with a space
        does not put one here.
        """
        if not continued or self._continuing is None:
            return self._ids(text)
        special = min((at for at in map(text.find, self.special_tokens) if at >= 0), default=len(text))
        head = self._continuing.encode(text[:special], add_special_tokens=False).ids
        return head + self._ids(text[special:])

    def _ids(self, text: str) -> list[int]:
        return self.fast(text) if self.fast else self.backend.encode(text, add_special_tokens=False).ids

    def quickened(self) -> tuple[Tokenizer, str]:
        """This tokenizer with a faster encoder where one is proved equal here and now, else itself and the reason."""
        found = fast_encoder(self.backend)
        return replace(self, fast=found.encode), found.reason

    def encode_whole(self, text: str) -> list[int]:
        """Token ids of a text with what the tokenizer itself puts around it ([CLS] … [SEP]), as other tools read it."""
        return self.backend.encode(text, add_special_tokens=True).ids

    def read(self, text: str, second: str | None = None) -> Encoded:
        """One or two texts with the special tokens that the tokenizer itself puts around and between them."""
        return Encoded.of(self.backend.encode(text, second, add_special_tokens=True))

    @cached_property
    def second_type(self) -> int:
        """The segment that the second of two texts is said to be of."""
        return max(self.read("a", "a").types)

    def encode_pair(self, first: str, second: str, *, most: int | None = None) -> tuple[list[int], list[int]]:
        """Token ids and token types of two texts as one sequence, by the tokenizer's own template for pairs.

        Of more than `most` tokens those at the end of the longer text go, one by one.
        """
        encoded = self.backend.encode(first, second, add_special_tokens=True)
        if most is not None and len(encoded.ids) > most:
            encoded = self._cutting_at(most).encode(first, second, add_special_tokens=True)
        return encoded.ids, encoded.type_ids

    @cached_property
    def _cutting_at(self) -> Callable[[int], tokenizers.Tokenizer]:
        return lru_cache(maxsize=1)(self._cutting)

    def _cutting(self, most: int) -> tokenizers.Tokenizer:
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        backend.enable_truncation(most, strategy="longest_first")
        return backend

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of the ids, exactly as the tokenizer's own decoder writes it."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special)

    def token_id(self, token: str) -> int | None:
        """The id of one token, by its name in the vocabulary."""
        return self.backend.token_to_id(token)

    def token(self, token_id: int) -> str | None:
        """The name of one token in the vocabulary."""
        return self.backend.id_to_token(token_id)

    @cached_property
    def num_tokens(self) -> int:
        """How many tokens there are, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def num_ids(self) -> int:
        """One more than the largest id, which may leave gaps below it."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def added_tokens(self) -> Mapping[str, int]:
        """Tokens that are matched in the text before anything else, by name; special or not."""
        return {token.content: index for index, token in self.backend.get_added_tokens_decoder().items()}

    @cached_property
    def special_tokens(self) -> Mapping[str, int]:
        """The added tokens that steer the model and are left out of decoded text, by name."""
        added = self.backend.get_added_tokens_decoder()
        return {token.content: index for index, token in added.items() if token.special}

    @cached_property
    def eos_id(self) -> int | None:
        """The token that ends a text in training, or None where the tokenizer has none."""
        named = self.token_id(self.named["eos_token"]) if "eos_token" in self.named else None
        return named if named is not None else min(self.eos_ids, default=None)

    @cached_property
    def mask_id(self) -> int | None:
        """The token that stands for a hidden one, or None where the tokenizer has none."""
        return self.token_id(self.named["mask_token"]) if "mask_token" in self.named else None

    @cached_property
    def sentinel_ids(self) -> list[int]:
        """The tokens that stand for spans cut out of a text, in order: `<extra_id_0>`, `<extra_id_1>` and so on."""
        ids: list[int] = []
        while (found := self.token_id(f"<extra_id_{len(ids)}>")) is not None:
            ids.append(found)
        return ids

    @cached_property
    def text_start_ids(self) -> list[int]:
        """What the tokenizer itself puts before a text (a bos token, mostly nothing)."""
        return self._around_text[0]

    @cached_property
    def text_end_ids(self) -> list[int]:
        """What the tokenizer itself puts behind a text (an encoder's sep, T5's eos, mostly nothing)."""
        return self._around_text[1]

    @cached_property
    def _around_text(self) -> tuple[list[int], list[int]]:
        whole = self.backend.encode("a", add_special_tokens=True).ids
        bare = self.backend.encode("a", add_special_tokens=False).ids
        if not bare or bare[0] not in whole:
            return [], []
        start = whole.index(bare[0])
        return whole[:start], whole[start + len(bare) :]

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether the text of a sequence of tokens is the UTF-8 text of their joined bytes."""
        decoder = json.loads(self.backend.to_str()).get("decoder") or {}
        return decoder.get("type") == "ByteLevel"

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer | None:
        return _without_leading_space(self.backend)

    def token_bytes(self, token_id: int, skip_special: bool = True) -> bytes:
        """The bytes that one token of a byte-level tokenizer stands for; b"" for special and unknown ids."""
        assert self.is_byte_level, "only a byte-level tokenizer has bytes per token"
        token = self.token(token_id)
        if token is None or (skip_special and token in self.special_tokens):
            return b""
        if all(character in BYTE_OF for character in token):
            return bytes(BYTE_OF[character] for character in token)
        return token.encode("utf-8")

    @cached_property
    def token_sizes(self) -> npt.NDArray[np.int32]:
        """How many bytes each token of a byte-level tokenizer stands for, by id; 0 for special ones."""
        return np.array([len(self.token_bytes(index)) for index in range(self.num_ids)], dtype=np.int32)

    def with_template(self, source: str) -> Tokenizer:
        """This tokenizer with another chat template."""
        return replace(self, template=source)

    def save(self, folder: Path) -> None:
        """Write the files into a folder, so that `load` gives this tokenizer again and other tools read it too."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (TOKENIZER_FILE, "special_tokens_map.json", GENERATION_FILE):
            source, target = self.folder / name, folder / name
            belongs_to_model = name == GENERATION_FILE and target.exists()
            if source.is_file() and source.resolve() != target.resolve() and not belongs_to_model:
                shutil.copyfile(source, target)
        config = {key: value for key, value in _read_json(self.folder, CONFIG_FILE).items() if key != "chat_template"}
        text = json.dumps(config, ensure_ascii=False, indent=2)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        if self.template is not None:
            (folder / TEMPLATE_FILE).write_text(self.template, encoding="utf-8", newline="")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder in Hugging Face's layout.

    Raises: ModelError where a file is missing or damaged.
    """
    folder = Path(folder)
    backend = _read_backend(folder / TOKENIZER_FILE)
    config = _read_json(folder, "special_tokens_map.json") | _read_json(folder, CONFIG_FILE)
    named = {name: text for name in _NAMED_TOKENS if (text := _token_text(config.get(name)))}
    extra = [text for text in map(_token_text, _extra_tokens(config)) if text]
    # Words that the configuration calls special must be matched whole, as transformers does on loading.
    special = [text for text in (*named.values(), *extra) if backend.token_to_id(text) is not None]
    known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([tokenizers.AddedToken(t, normalized=False) for t in special if t not in known])
    eos_ids = {backend.token_to_id(named["eos_token"])} if "eos_token" in named else set()
    eos_ids |= set(_eos_of_generation(folder, backend.get_vocab_size()))
    return Tokenizer(
        folder=folder,
        backend=backend,
        named={name: text for name, text in named.items() if backend.token_to_id(text) is not None},
        eos_ids=frozenset(index for index in eos_ids if index is not None),
        template=_read_template(folder, config),
    )


def _read_backend(path: Path) -> tokenizers.Tokenizer:
    text = _read_text(path)
    if text is None:
        raise ModelError(
            "there is no tokenizer.json",
            place=str(path.parent),
            hint="a model folder needs config.json, model.safetensors and tokenizer.json; "
            "AutoTokenizer.from_pretrained(…).save_pretrained(folder) writes the last",
        )
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises the bare class for every kind of damage
        raise ModelError(
            f"tokenizer.json cannot be read: {error}", place=str(path), hint="copy the file again from where it came"
        ) from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _read_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", place=str(path)) from error


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    text = _read_text(folder / name)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is not JSON: {error}", place=str(folder / name)) from error
    if not isinstance(value, dict):
        raise ModelError(f"{name} must hold an object, it holds a {type(value).__name__}", place=str(folder / name))
    return value


def _token_text(value: object) -> str | None:
    """A token's name: configurations write it as a string or as an object with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _extra_tokens(config: Mapping[str, Any]) -> list[object]:
    found: list[object] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(key) or []
        found.extend(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [])
    return found


def _eos_of_generation(folder: Path, num_tokens: int) -> list[int]:
    value = _read_json(folder, GENERATION_FILE).get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    wrong = [index for index in ids if type(index) is not int or not 0 <= index < num_tokens]
    if wrong:
        raise ModelError(
            f"eos_token_id {wrong[0]!r} is not a token of this tokenizer, which has {num_tokens}",
            place=str(folder / GENERATION_FILE),
        )
    return ids


def _read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The chat template: a file of its own wins over the configuration, which may hold one or several by name."""
    source = _read_text(folder / TEMPLATE_FILE)
    value = source if source is not None else config.get("chat_template")
    if isinstance(value, list):
        by_name = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, Mapping)}
        value = by_name.get("default") if len(by_name) != 1 else next(iter(by_name.values()))
    if value is not None and not isinstance(value, str):
        raise ModelError("chat_template is neither a text nor a list with a default", place=str(folder / CONFIG_FILE))
    return value


def _without_leading_space(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer | None:
    """A copy that does not begin a text with a space, or None where the tokenizer does not do so anyway."""
    config = json.loads(backend.to_str())
    before = json.dumps(config)
    for key in ("normalizer", "pre_tokenizer"):
        part = config.get(key) or {}
        steps = part.get("normalizers", part.get("pretokenizers", [part]))
        for step in steps:
            if step.get("type") == "Metaspace":
                step["prepend_scheme"] = "never"
            if step.get("type") == "ByteLevel":
                step["add_prefix_space"] = False
        kept = [step for step in steps if step.get("type") != "Prepend"]
        if len(kept) < len(steps):
            config[key] = {"type": "Sequence", "normalizers": kept}
    if json.dumps(config) == before:
        return None
    return tokenizers.Tokenizer.from_str(json.dumps(config))


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes.

    Source: the byte-level alphabet of GPT-2, kept by every byte-level BPE since: printable Latin-1 stands for itself,
    the rest follows in order from U+0100.
    """
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    return {chr(byte): byte for byte in itself} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


BYTE_OF = _byte_characters()
