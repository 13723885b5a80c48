from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from setsail.base.errors import ModelError
from setsail.tokens.shape import shape_of, with_chosen_template
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import Tokenizer, load
from tokens import toy

CLOSING = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "plain": "<|endoftext|>",
}


@pytest.mark.parametrize("name", CLOSING)
def test_the_stop_token_is_found_by_rendering(templated: Callable[[str], Tokenizer], name: str) -> None:
    shape = shape_of(templated(name))
    assert (shape.closing, shape.stop_text, shape.appends_eos) == (CLOSING[name], CLOSING[name], False)
    assert shape.stop_id == templated(name).token_id(CLOSING[name])
    assert shape.system == "kept"


def test_text_before_the_stop_token_belongs_to_the_closing(chatml: Tokenizer) -> None:
    source = read_template("chatml").replace("'<|im_end|>\\n'", "'\\n<|im_end|>\\n'")
    assert shape_of(chatml.with_template(source)).closing == "\n<|im_end|>"


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("chatml", r"<\|im_start\|>, <\|im_end\|>"),
        ("llama3", r"<\|start_header_id\|>, .*bos_token"),
        ("gemma", "<start_of_turn>, <end_of_turn>, bos_token"),
        ("mistral", r"\[INST\], \[/INST\], bos_token"),
    ],
)
def test_tokens_that_the_tokenizer_lacks_are_named(tmp_path: Path, name: str, missing: str) -> None:
    bare = toy.byte_level()
    for token in toy.SPECIAL[1:]:
        bare = bare.replace(token, "x" + token.strip("<>[]|/") + ("y" if "/" in token else ""))
    tokenizer = load(toy.write_folder(tmp_path, bare, eos="<|endoftext|>"))
    with pytest.raises(ModelError, match=missing):
        with_chosen_template(tokenizer, read_template(name))
    assert with_chosen_template(tokenizer, read_template("plain")).template == read_template("plain")


def test_a_chosen_template_must_fit(chatml: Tokenizer) -> None:
    with pytest.raises(ModelError, match="does not fit training"):
        with_chosen_template(chatml, "{{ messages[0].content }}")
