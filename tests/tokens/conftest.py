from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from setsail.tokens.shape import with_chosen_template
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import Tokenizer, load
from tokens import toy


@pytest.fixture(scope="session")
def templated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokenizer]:
    """The toy byte-level tokenizer with a packaged template and the bos and eos of that template's family."""

    @lru_cache
    def make(name: str) -> Tokenizer:
        bos, eos = toy.NAMED[name]
        folder = toy.write_folder(tmp_path_factory.mktemp(name), toy.byte_level(), bos=bos, eos=eos)
        return with_chosen_template(load(folder), read_template(name))

    return make


@pytest.fixture(scope="session")
def chatml(templated: Callable[[str], Tokenizer]) -> Tokenizer:
    return templated("chatml")


@pytest.fixture(scope="session")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer that begins every text with a space, with an instruction template without control tokens."""
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
    )
    folder: Path = tmp_path_factory.mktemp("spaced")
    return load(
        toy.write_folder(folder, toy.sentencepiece_like(), bos="<s>", eos="</s>", template=template, generation_eos=2)
    )
