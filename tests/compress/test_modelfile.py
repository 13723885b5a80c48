from __future__ import annotations

import re
from pathlib import Path

import pytest
from models import toy_model

from setsail.compress.modelfile import find_pieces, modelfile, probes, write_modelfile
from setsail.tokens.template import read_template, run_template
from setsail.tokens.tokenizer import Tokenizer, load

DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}{% endif %}"
    + toy_model.TEMPLATE
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load(toy_model.write_folder(tmp_path_factory.mktemp("toy")))


def go(template: str, messages: list[dict[str, str]]) -> str:
    """What Go's text/template writes, for the few actions that a Modelfile of ours uses."""
    head, body, tail = re.fullmatch(
        r"(.*)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", template, re.S
    ).groups()
    branches = re.findall(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', body, re.S)
    turns = [dict(branches)[message["role"]].replace("{{ .Content }}", message["content"]) for message in messages]
    return head + "".join(turns) + tail


def quoted(text: str, word: str) -> str | None:
    found = re.search(rf'^{word} """(.*?)"""$', text, re.S | re.M)
    return found[1] if found else None


SOURCES = {"chatml": None, "llama3": None, "plain": None, "default system": DEFAULT_SYSTEM}


@pytest.mark.parametrize("name", SOURCES)
def test_the_go_template_writes_what_the_jinja_template_writes(tokenizer: Tokenizer, name: str) -> None:
    templated = tokenizer.with_template(SOURCES[name] or read_template(name))
    text = modelfile(gguf="model.gguf", tokenizer=templated)
    template, system = quoted(text, "TEMPLATE"), quoted(text, "SYSTEM")
    assert template is not None and templated.template is not None
    for messages in probes():
        expected = run_template(templated.template, messages, templated.named, add_generation_prompt=True)
        has_system = messages[0]["role"] == "system"
        sent = messages if has_system or system is None else [{"role": "system", "content": system}, *messages]
        assert go(template, sent) == expected


def test_a_default_system_prompt_becomes_system(tokenizer: Tokenizer) -> None:
    assert quoted(modelfile(gguf="m", tokenizer=tokenizer.with_template(DEFAULT_SYSTEM)), "SYSTEM") == "You are kind."
    assert quoted(modelfile(gguf="m", tokenizer=tokenizer), "SYSTEM") is None


UNEQUAL = {
    "merges system into user": read_template("gemma"),
    "counts turns": "{% for m in messages %}{{ loop.index ~ m.role ~ m.content }}{% endfor %}",
    "counts all": "{% for m in messages %}{{ m.role ~ m.content ~ '.' }}{% endfor %}{{ '!' if messages|length > 4 }}",
    "changes contents": "{% for m in messages %}{{ m.role ~ (m.content | upper) }}{% endfor %}",
    "drops the system": "{% for m in messages if m.role != 'system' %}{{ m.role ~ m.content }}{% endfor %}",
    "refuses a system": "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}",
    "go in it": "{% for m in messages %}{{ '{' ~ '{' ~ m.role ~ m.content ~ '.' }}{% endfor %}",
}


@pytest.mark.parametrize("template", UNEQUAL.values(), ids=UNEQUAL)
def test_a_template_that_cannot_be_said_exactly_is_left_out_and_it_is_said(tokenizer: Tokenizer, template: str) -> None:
    templated = tokenizer.with_template(template)
    text = modelfile(gguf="model.gguf", tokenizer=templated)
    assert find_pieces(templated) is None and 'TEMPLATE "' not in text and "# No TEMPLATE" in text


def test_a_template_that_trims_is_told(tokenizer: Tokenizer) -> None:
    assert "spaces around" in modelfile(gguf="m", tokenizer=tokenizer.with_template(read_template("llama3")))
    assert "spaces around" not in modelfile(gguf="m", tokenizer=tokenizer)


def test_the_whole_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_modelfile(tmp_path / "Modelfile", gguf="model-q8_0.gguf", tokenizer=tokenizer, licence="apache-2.0")
    assert (tmp_path / "Modelfile").read_text() == (
        "FROM ./model-q8_0.gguf\n"
        'TEMPLATE """{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        '{{ end }}{{ end }}<|im_start|>assistant\n"""\n'
        'PARAMETER stop "<|im_end|>"\n'
        "PARAMETER temperature 0\n"
        'LICENSE """apache-2.0"""\n'
    )
