from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from setsail.base.errors import ModelError
from setsail.tokens.tokenizer import Tokenizer, load
from tokens import toy


def folder_of(path: Path, **options: object) -> Path:
    return toy.write_folder(path, toy.byte_level(), **options)  # pyright: ignore[reportArgumentType]


def test_text_comes_back(chatml: Tokenizer) -> None:
    text = " café 你好 😀\n\n  x"
    assert chatml.decode(chatml.encode(text)) == text


def test_special_tokens_are_recognised_and_none_is_added(chatml: Tokenizer) -> None:
    ids = chatml.encode("<|im_start|>user")
    assert ids[0] == chatml.token_id("<|im_start|>")
    assert chatml.decode(ids) == "user"
    assert chatml.decode(ids, skip_special=False) == "<|im_start|>user"
    assert chatml.encode("") == []


def test_eos_ids_are_those_of_the_configuration_and_of_generation(tmp_path: Path) -> None:
    one = load(folder_of(tmp_path / "one", eos="<|im_end|>", generation_eos=0))
    assert one.eos_ids == {0, 2}
    assert one.eos_id == 2
    many = load(folder_of(tmp_path / "many", eos=None, generation_eos=[6, 2]))
    assert many.eos_ids == {2, 6}
    assert many.eos_id == 2
    none = load(folder_of(tmp_path / "none", eos=None))
    assert none.eos_ids == frozenset() and none.eos_id is None


def test_an_eos_outside_of_the_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="99999"):
        load(folder_of(tmp_path, generation_eos=[99999]))


def test_truncation_and_padding_stored_in_the_file_are_switched_off(tmp_path: Path) -> None:
    backend = Backend.from_str(toy.byte_level())
    backend.enable_truncation(max_length=3)
    backend.enable_padding(length=50)
    tokenizer = load(toy.write_folder(tmp_path, backend.to_str()))
    assert tokenizer.decode(tokenizer.encode("a text that is longer than three")) == "a text that is longer than three"


def test_a_word_that_only_the_configuration_calls_special_is_matched_whole(tmp_path: Path) -> None:
    config = json.loads(toy.byte_level())
    config["added_tokens"] = [token for token in config["added_tokens"] if token["content"] != "<|im_end|>"]
    tokenizer = load(toy.write_folder(tmp_path, json.dumps(config), eos="<|im_end|>"))
    assert tokenizer.encode("a<|im_end|>")[-1] == 2
    assert "<|im_end|>" in tokenizer.special_tokens


@pytest.mark.parametrize("value", ["TEMPLATE", [{"name": "default", "template": "TEMPLATE"}, {"name": "b"}]])
def test_the_template_may_stand_in_the_configuration(tmp_path: Path, value: object) -> None:
    folder_of(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
    assert load(tmp_path).template == "TEMPLATE"
    (tmp_path / "chat_template.jinja").write_text("OWN FILE\n")
    assert load(tmp_path).template == "OWN FILE\n"


def test_saved_and_loaded_again_it_is_the_same(tmp_path: Path) -> None:
    first = load(folder_of(tmp_path / "a", template="A", generation_eos=[0, 2])).with_template("B\r\n")
    first.save(tmp_path / "b")
    again = load(tmp_path / "b")
    assert (again.template, again.eos_ids, again.named) == ("B\r\n", {0, 2}, first.named)
    assert (tmp_path / "b" / "tokenizer.json").read_bytes() == (tmp_path / "a" / "tokenizer.json").read_bytes()
    first.save(tmp_path / "a")
    assert load(tmp_path / "a").template == "B\r\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b'{"model": 3}'),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b'{"chat_template": 3}'),
        ("generation_config.json", b"["),
        ("generation_config.json", b'{"eos_token_id": "2"}'),
        ("chat_template.jinja", b"\xff"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    folder_of(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    assert name in str(caught.value)


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load(tmp_path)


def test_the_bytes_of_tokens_are_those_of_the_text(chatml: Tokenizer) -> None:
    text = "你好 😀 café"
    assert b"".join(chatml.token_bytes(index) for index in chatml.encode(text)) == text.encode()
    assert chatml.token_bytes(2) == b""
    assert chatml.token_bytes(2, skip_special=False) == b"<|im_end|>"
    assert chatml.token_bytes(10**6) == b""


def test_a_continued_text_gets_no_space_before_it(spaced: Tokenizer) -> None:
    assert not spaced.is_byte_level
    whole = spaced.encode("hello there")
    parts = spaced.encode("hello") + spaced.encode(" there", continued=True)
    assert spaced.decode(parts) == spaced.decode(whole) == "hello there"
    assert spaced.token(spaced.encode("there", continued=True)[0]) != spaced.token(spaced.encode("there")[0])
    assert spaced.encode("a</s>", continued=True)[-1] == 2


def test_what_the_tokenizer_puts_before_a_text(tmp_path: Path, chatml: Tokenizer) -> None:
    assert chatml.text_start_ids == []
    backend = Backend.from_str(toy.byte_level())
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 11)])
    assert load(toy.write_folder(tmp_path, backend.to_str())).text_start_ids == [11]
