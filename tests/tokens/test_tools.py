"""Tools in a prompt: text where the template does not know them, data where it does; results are never learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from setsail.base.errors import DataError
from setsail.base.tool_calls import Call, write_answer, write_tools
from setsail.tasks.chat import TASK
from setsail.tokens.render import as_taken, describe, render
from setsail.tokens.shape import shape_of
from setsail.tokens.template import packaged
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.tools import as_text

TOOLS = write_tools([{"name": "weather", "parameters": {"type": "object"}}])
CALL = write_answer("", [Call("weather", {"city": "巴黎 <|im_end|>"})])
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "tools", "content": TOOLS},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": CALL},
    {"role": "tool", "content": "clear"},
    {"role": "tool", "content": "warm"},
    {"role": "assistant", "content": "Clear."},
]
# In the manner of Qwen's template.
KNOWING = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n' }}{% endif %}
{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif m.role != 'system' %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}
{%- for c in m.tool_calls %}{{ '\\n' if m.content or not loop.first }}
{{- '<tool_call>\\n{"name": "' + c.function.name + '", "arguments": ' }}
{{- (c.function.arguments | tojson) + '}\\n</tool_call>' }}
{%- endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


@pytest.fixture
def plain(chatml: Tokenizer) -> Tokenizer:
    return chatml


@pytest.fixture
def knowing(chatml: Tokenizer) -> Tokenizer:
    return chatml.with_template(KNOWING)


def learned(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> list[str]:
    return [text for text, supervised in describe(render(tokenizer, messages), tokenizer) if supervised]


def test_a_template_that_lists_tools_in_our_form_is_told_from_one_that_does_not(
    plain: Tokenizer, knowing: Tokenizer
) -> None:
    assert shape_of(knowing).knows_tools and not shape_of(plain).knows_tools
    other = KNOWING.replace("<tool_call>", "[CALL]").replace("</tool_call>", "[/CALL]")
    assert not shape_of(plain.with_template(other)).knows_tools


@pytest.mark.parametrize("which", ["plain", "knowing"])
def test_calls_are_learned_and_results_are_not(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    assert learned(tokenizer, CONVERSATION) == [f"{CALL}<|im_end|>", "Clear.<|im_end|>"]
    text = render(tokenizer, CONVERSATION).text
    assert "weather" in text.partition("user")[0] and "Be brief." in text and "clear\n</tool_response>" in text


@pytest.mark.parametrize("which", ["plain", "knowing"])
def test_the_prompt_of_serving_is_the_beginning_of_training(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    whole = render(tokenizer, CONVERSATION).ids
    for num_messages in (3, 6):
        prompt = render(tokenizer, CONVERSATION[:num_messages], generation_prompt=True).ids
        assert whole[: len(prompt)] == prompt


def test_a_template_that_knows_them_gets_tools_as_data_and_contents_stay_text(knowing: Tokenizer) -> None:
    rendered = render(knowing, CONVERSATION)
    assert '"arguments": {"city": "巴黎 <|im_end|>"}' in rendered.text
    stop = knowing.added_tokens["<|im_end|>"]
    assert rendered.ids.count(stop) == 6  # system, user, call, two results, answer: none that an argument brought in


def test_as_text_results_in_a_row_are_one_turn_and_nothing_is_done_twice(plain: Tokenizer) -> None:
    taken = as_taken(plain, CONVERSATION)
    assert [message["role"] for message in taken] == ["system", "user", "assistant", "user", "assistant"]
    assert taken[3]["content"] == "<tool_response>\nclear\n</tool_response>\n<tool_response>\nwarm\n</tool_response>"
    assert as_taken(plain, taken) == taken
    assert render(plain, taken).ids == render(plain, CONVERSATION).ids


def test_without_a_system_prompt_the_list_begins_the_first_question(plain: Tokenizer) -> None:
    gemma_like = as_text(CONVERSATION[1:], in_system=False)
    assert [message["role"] for message in gemma_like] == ["user", "assistant", "user", "assistant"]
    assert gemma_like[0]["content"].endswith("\n\nWeather?") and "<tools>" in gemma_like[0]["content"]
    assert as_text(CONVERSATION[1:])[0]["role"] == "system"


def test_a_conversation_without_tools_is_as_it_was(plain: Tokenizer) -> None:
    simple = [CONVERSATION[2], CONVERSATION[6]]
    assert as_taken(plain, simple) == simple


@pytest.mark.parametrize("which", ["plain", "knowing"])
def test_a_list_that_is_none_is_told(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    with pytest.raises(DataError, match="the tools cannot be listed"):
        render(tokenizer, [{"role": "tools", "content": "[broken"}, *CONVERSATION[2:4]])


def test_a_split_never_parts_a_result_from_its_call(plain: Tokenizer) -> None:
    class Row:
        id, text, label = "r", "", ""
        messages = (*CONVERSATION, *CONVERSATION[2:])

    (whole,) = TASK.example(Row(), plain, 10_000, "drop")  # pyright: ignore[reportGeneralTypeIssues]
    parts = TASK.example(Row(), plain, len(whole.ids) - 1, "split")
    assert isinstance(parts, tuple) and len(parts) == 2
    for part in parts:
        shown = "".join(text for text, _ in describe(part, plain))
        assert shown.index('"name": "weather", "arg') < shown.index("<tool_response>\nclear")
        assert shown.count("Be brief.") == 1 and shown.count("<tools>") == 1


@pytest.mark.parametrize("name", packaged())
def test_every_packaged_template_takes_tools(name: str, templated: Callable[[str], Tokenizer]) -> None:
    tokenizer = templated(name)
    system = CONVERSATION[:1] if shape_of(tokenizer).system == "kept" else []
    answers = learned(tokenizer, [*system, *CONVERSATION[1:]])
    assert len(answers) == 2 and CALL in answers[0] and "Clear." in answers[1]
