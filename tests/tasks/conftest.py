from __future__ import annotations

from pathlib import Path

import pytest
from tokens import toy

from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import Tokenizer, load


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The toy byte-level tokenizer with the packaged ChatML template."""
    folder: Path = tmp_path_factory.mktemp("toy")
    return load(toy.write_folder(folder, toy.byte_level(), template=read_template("chatml")))
