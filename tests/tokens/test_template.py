from __future__ import annotations

import threading
from pathlib import Path

import pytest

from setsail.base.errors import ModelError
from setsail.tokens import template as template_module
from setsail.tokens.template import TemplateRefusal, packaged, read_template, run_template

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
NAMED = {"bos_token": "<s>", "eos_token": "</s>"}


def run(source: str, **flags: bool) -> str:
    return run_template(source, MESSAGES, NAMED, **flags)


def test_the_packaged_templates() -> None:
    assert packaged() == ("chatml", "gemma", "llama3", "mistral", "plain")
    for name in packaged():
        assert "Hi" in run(read_template(name), add_generation_prompt=True)


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='did you mean "chatml"'):
        read_template("chatlm")
    with pytest.raises(ModelError, match=r"own\.jinja.* does not exist"):
        read_template("own.jinja", folder=tmp_path)


def test_a_file_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages[0].content }}")
    assert run(read_template("own.jinja", folder=tmp_path)) == "Hi"
    (tmp_path / "bad.jinja").write_text("{% for %}")
    with pytest.raises(ModelError, match="does not work"):
        read_template("bad.jinja", folder=tmp_path)
    (tmp_path / "raw.jinja").write_bytes(b"\xff")
    with pytest.raises(ModelError, match="cannot be read"):
        read_template("raw.jinja", folder=tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ eos_token }}{{ pad_token }}", "<s></s>"),
        ("{% for m in messages %}\n  {% if loop.last %}\n{{ m.content }}{% endif %}\n{% endfor %}\n", "Ho"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ [1, 2] | tojson(indent=1) }}", "[\n 1,\n 2\n]"),
        ("{{ strftime_now('%Y-%m-%d') }}", "2026-01-01"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.length }}{% endfor %}", "2"),
        ("{% generation %}{{ 'a' | upper }}{% endgeneration %}", "A"),
        ("{{ messages | map(attribute='content') | join(', ') }}", "Hi, Ho"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{{ 'a-b'.split('-')[-1] ~ ' x '.strip() ~ 'aXa'.replace('X', '') }}", "bxaa"),
        ("{{ 'a' if tools is none and documents is none and custom is not defined }}", "a"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('a') }}", "[a]"),
        ("{% for a in messages recursive %}{{ a.content }}{% endfor %}{{ '%' }}", "HiHo%"),
    ],
)
def test_what_chat_templates_of_the_field_use_works(source: str, expected: str) -> None:
    assert run(source) == expected


def test_a_template_may_refuse_a_conversation() -> None:
    with pytest.raises(TemplateRefusal, match="turns must alternate"):
        run("{{ raise_exception('turns must alternate') }}")


ATTACKS = {
    "globals": "{{ lipsum.__globals__ }}",
    "class": "{{ ''.__class__ }}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "item": "{{ ''['__class__'] }}",
    "attr filter": "{{ ''|attr('__class__') }}",
    "attribute of map": "{{ ['']|map(attribute='__class__')|list }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "own function": "{{ raise_exception.__globals__ }}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "self": "{{ self.__init__ }}",
    "mutation": "{{ messages.append(1) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
}
EXCESSES = {
    "big range": "{% for i in range(10**9) %}x{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over a list": "{% set r = range(99999)|list %}{% for i in r %}{{ r|sum }}{% endfor %}",
    "search in a list": "{% set r = range(99999)|list %}{% for i in r %}{{ -1 in r }}{% endfor %}",
    "times": "{{ 'x' * 10**9 }}",
    "power": "{{ 9**9**9 }}",
    "power chain": "{% set ns=namespace(x=7) %}{% for i in range(99) %}{% set ns.x=ns.x*ns.x %}{% endfor %}",
    "recursion": "{% macro f(n) %}{{ f(n+1) }}{{ f(n+1) }}{% endmacro %}{{ f(0) }}",
    "shallow recursion": "{% macro f(n) %}{% if n < 99 %}{{ f(n+1) }}{{ f(n+1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    "doubling by ~": "{% set ns=namespace(x='a') %}{% for i in range(99) %}{% set ns.x=ns.x~ns.x %}{% endfor %}",
    "doubling by +": "{% set ns=namespace(x='a') %}{% for i in range(99) %}{% set ns.x=ns.x+ns.x %}{% endfor %}",
    "doubling by block": (
        "{% set ns=namespace(x='a') %}{% for i in range(99) %}{% set ns.x %}{{ns.x}}{{ns.x}}{% endset %}{% endfor %}"
    ),
    "doubling lists": (
        "{% set ns=namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x=[ns.x,ns.x] %}{% endfor %}{{ ns.x }}"
    ),
    "percent": "{{ '%1000000000d' % 3 }}",
    "wide format": "{{ '{:>1000000000}'.format(1) }}",
    "centre": "{{ 'a'.center(10**9) }}",
    "centre filter": "{{ 'a'|center(1000000000) }}",
    "join": "{{ ('a'*4000).join(('b'*1000000)|list) }}",
    "join a text": "{{ ('a'*4000).join('b'*1000000) }}",
    "replace": "{{ ('a'*4000).replace('a','b'*1000000) }}",
    "replace filter": "{{ ('a'*4000)|replace('a','b'*1000000) }}",
    "indented json": "{{ [1]|tojson(indent=1000000000) }}",
    "deep brackets": "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "long output": "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
}


@pytest.mark.parametrize("source", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused(source: str) -> None:
    with pytest.raises(ModelError, match="chat template"):
        run(source)


@pytest.mark.parametrize("source", EXCESSES.values(), ids=EXCESSES)
def test_what_does_not_end_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_module, "MAX_CPU_SECONDS", 0.5)
    with pytest.raises(ModelError, match="chat template") as caught:
        run(source)
    assert "MemoryError" not in str(caught.value)  # it is stopped before the machine is full


@pytest.mark.parametrize("name", [name for name in EXCESSES if name.startswith("doubling")])
def test_growing_texts_are_stopped_by_their_size(name: str) -> None:
    with pytest.raises(ModelError, match="more than 500,000 steps"):
        run(EXCESSES[name])


@pytest.mark.parametrize(
    "source", ["{{ 1/0 }}", "{{ {}.x.y }}", "{{ 'a' + 1 }}", "{{ nothing.x }}", "{{ 'a'|int(1, 2, 3) }}"]
)
def test_a_broken_template_is_the_templates_fault(source: str) -> None:
    with pytest.raises(ModelError, match="does not work"):
        run(source)


def test_a_huge_source_is_refused() -> None:
    with pytest.raises(ModelError, match="300,000 characters"):
        run("a" * 300_000)


def test_threads_are_metered_apart() -> None:
    source = (
        "{% for i in range(5000) %}{% for j in range(30) %}{% endfor %}{% endfor %}x"  # over half of what is allowed
    )
    written: list[str] = []
    threads = [threading.Thread(target=lambda: written.append(run(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == ["x"] * 4
