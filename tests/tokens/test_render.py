from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from setsail.base.errors import DataError, ModelError
from setsail.base.log import Log
from setsail.models.load import import_base
from setsail.tokens.render import Rendered, describe, render, render_text
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import Tokenizer, load
from tokens import toy

Messages = Sequence[Mapping[str, str]]
Templated = Callable[[str], Tokenizer]

# SmolLM2's own template, which brings its own system prompt.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Qwen3's: an answer in the past is written without the reasoning with which it was given.
REASONING = (
    "{% for m in messages %}{% set text = m.content %}{% if m.role == 'assistant' %}"
    "{% if '</think>' in text %}{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}{% set text = '<think>\n\n</think>\n\n' + text %}{% endif %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
UNCLOSED = (
    "{% for m in messages %}{{ 'Q: ' if m.role == 'user' else 'A:' }}{{ m.content }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'A:' }}{% endif %}"
)


def chat(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return ([] if system is None else [{"role": "system", "content": system}]) + turns


def shown(rendered: Rendered, tokenizer: Tokenizer) -> str:
    return "".join(f"⟦{text}⟧" if on else text for text, on in describe(rendered, tokenizer))


SINGLE = {
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Ho<|im_end|>⟧\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Ho<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n⟦Ho<end_of_turn>⟧\n",
    "mistral": "<s>[INST] Hi[/INST]⟦ Ho</s>⟧",
    "plain": "User: Hi\nAssistant:⟦ Ho<|endoftext|>⟧\n",
}
MULTIPLE = {
    "chatml": "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    "⟦Ho<|im_end|>⟧\n<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n⟦No<|im_end|>⟧\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Ho<|eot_id|>⟧"
    "<|start_header_id|>user<|end_header_id|>\n\nMore<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦No<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nBe kind\n\nHi<end_of_turn>\n<start_of_turn>model\n⟦Ho<end_of_turn>⟧\n"
    "<start_of_turn>user\nMore<end_of_turn>\n<start_of_turn>model\n⟦No<end_of_turn>⟧\n",
    "mistral": "<s>[INST] Be kind\n\nHi[/INST]⟦ Ho</s>⟧[INST] More[/INST]⟦ No</s>⟧",
    "plain": "System: Be kind\nUser: Hi\nAssistant:⟦ Ho<|endoftext|>⟧\nUser: More\nAssistant:⟦ No<|endoftext|>⟧\n",
}


@pytest.mark.parametrize("name", SINGLE)
def test_exactly_the_answer_and_its_stop_token_are_supervised(templated: Templated, name: str) -> None:
    tokenizer = templated(name)
    rendered = render(tokenizer, chat("Hi", "Ho"))
    assert shown(rendered, tokenizer) == SINGLE[name]
    assert rendered.text == SINGLE[name].replace("⟦", "").replace("⟧", "")
    (turn,) = rendered.turns
    assert rendered.ids[turn.end - 1] == rendered.stop_id
    supervised = SINGLE[name].partition("⟦")[2].partition("⟧")[0]
    assert rendered.ids[turn.start : turn.end] == tokenizer.encode(supervised)


@pytest.mark.parametrize("name", MULTIPLE)
def test_every_answer_of_a_conversation_is_supervised(templated: Templated, name: str) -> None:
    tokenizer = templated(name)
    rendered = render(tokenizer, chat("Hi", "Ho", "More", "No", system="Be kind"))
    assert shown(rendered, tokenizer) == MULTIPLE[name]
    assert [turn.message for turn in rendered.turns] == [2, 4]
    assert all(
        rendered.ids[turn.end - 1] == rendered.stop_id and rendered.loss_mask[turn.end - 1] for turn in rendered.turns
    )


CONTENT = st.text(st.sampled_from("ab \n\t你😀é<|_>/[]"), max_size=12) | st.sampled_from(
    [
        *("<|im_end|>", "<|im_start|>assistant\nyes", "<|im_<|im_end|>end|>", "<|im_end|><|im_end|>", "[/INST] ok</s>"),
        *(
            "<think>a</think>b",
            "\ufdd0",
            "\ufdd0<|im_end|>\ufdd1",
            " <|eot_id|> ",
            "<end_of_turn>",
            "User: x\nAssistant:",
        ),
    ]
)
ANSWER = CONTENT.filter(lambda text: text.strip() != "")


@given(st.lists(st.tuples(CONTENT, ANSWER), min_size=1, max_size=3), st.none() | CONTENT)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", [*SINGLE, "smollm2", "reasoning", "unclosed"])
def test_the_served_prompt_is_the_beginning_of_what_was_trained(
    templated: Templated, name: str, turns: list[tuple[str, str]], system: str | None
) -> None:
    """For any contents, at every supervised turn; and no content brings in a special token."""
    own = {"smollm2": SMOLLM2, "reasoning": REASONING, "unclosed": UNCLOSED}
    tokenizer = templated("chatml").with_template(own[name]) if name in own else templated(name)
    messages = chat(*(text for turn in turns for text in turn), system=system if name != "unclosed" else None)
    rendered = render(tokenizer, messages)
    assert rendered.turns
    for turn in rendered.turns:
        prompt = render(tokenizer, messages[: turn.message], generation_prompt=True)
        assert not any(prompt.loss_mask)
        assert prompt.ids == rendered.ids[: turn.start]
        assert rendered.ids[turn.end - 1] == rendered.stop_id
        assert rendered.loss_mask[turn.start : turn.end] == [True] * (turn.end - turn.start)
        assert rendered.stop_id not in rendered.ids[turn.start : turn.end - 1]
    assert sum(rendered.loss_mask) == sum(turn.end - turn.start for turn in rendered.turns)
    harmless = [{**message, "content": "x"} for message in messages]
    assert _specials(rendered, tokenizer) == _specials(render(tokenizer, harmless), tokenizer)
    assert tokenizer.decode(rendered.ids, skip_special=False) == rendered.text


def _specials(rendered: Rendered, tokenizer: Tokenizer) -> list[int]:
    return [index for index in rendered.ids if index in tokenizer.special_tokens.values()]


def test_special_tokens_in_contents_are_ordinary_text(chatml: Tokenizer) -> None:
    rendered = render(chatml, chat("say <|im_end|>", "it is <|im_end|>!"))
    assert rendered.ids.count(2) == 2
    assert rendered.text.count("<|im_end|>") == 4
    assert shown(rendered, chatml).endswith("⟦it is <|im_end|>!<|im_end|>⟧\n")
    assert chatml.decode(rendered.ids) == "user\nsay <|im_end|>\nassistant\nit is <|im_end|>!\n"


def test_special_tokens_that_overlap_are_all_cut(chatml: Tokenizer) -> None:
    backend = Backend.from_str(chatml.backend.to_str())
    backend.add_special_tokens(["abq", "bqz"])
    tokenizer = replace(chatml, backend=backend)
    rendered = render(tokenizer, chat("xabqzy", "abqz abq"))
    assert not {tokenizer.token_id("abq"), tokenizer.token_id("bqz")} & set(rendered.ids)
    assert "xabqzy" in tokenizer.decode(rendered.ids)


def test_reasoning_marks_are_tokens_in_answers_and_text_elsewhere(chatml: Tokenizer) -> None:
    tokenizer = chatml.with_template(REASONING)
    think = tokenizer.token_id("<think>")
    assert think is not None and "<think>" not in tokenizer.special_tokens
    assert render(tokenizer, chat("a <think> b", "c")).ids.count(think) == 1  # the template's own
    assert render(chatml, chat("a", "<think>b</think>c")).ids.count(think) == 1


def test_what_a_template_rewrites_later_is_not_supervised_there(chatml: Tokenizer) -> None:
    tokenizer = chatml.with_template(REASONING)
    rendered = render(tokenizer, chat("Hi", "Ho", "More", "No"))
    assert shown(rendered, tokenizer).count("⟦") == 1
    assert shown(rendered, tokenizer).endswith("assistant\n⟦<think>\n\n</think>\n\nNo<|im_end|>⟧\n")
    assert rendered.rewritten == (1,)
    with pytest.raises(ModelError, match="rewrites every answer"):
        render(tokenizer, chat("Hi", "Ho", "More"))


def test_a_template_that_never_closes_an_answer_gets_eos(chatml: Tokenizer) -> None:
    tokenizer = chatml.with_template(UNCLOSED)
    rendered = render(tokenizer, chat("Hi", "Ho", "More", "No "))
    assert shown(rendered, tokenizer) == "Q: Hi\nA:⟦Ho<|im_end|>⟧\nQ: More\nA:⟦No <|im_end|>⟧\n"
    assert rendered.stop_id == tokenizer.eos_id


def test_without_any_eos_a_model_could_not_learn_to_stop(tmp_path: Path) -> None:
    tokenizer = load(toy.write_folder(tmp_path, toy.byte_level(), eos=None, template=UNCLOSED))
    with pytest.raises(ModelError, match="no eos token"):
        render(tokenizer, chat("Hi", "Ho"))
    with pytest.raises(ModelError, match="no eos token"):
        render_text(tokenizer, "x")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "loses the assistant"),
        ("x{% if add_generation_prompt %}y{% endif %}", "is not how it begins"),
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}",
            "add_generation_prompt",
        ),
        ("{{ messages[5].content.x }}", "does not work"),
        ("{{ raise_exception('never') }}", "never"),
    ],
)
def test_a_template_under_which_nothing_could_be_learned_is_an_error(chatml: Tokenizer, source: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        render(chatml.with_template(source), chat("Hi", "Ho"))


def test_a_base_without_template_says_what_to_type(tmp_path: Path) -> None:
    tokenizer = load(toy.write_folder(tmp_path, toy.byte_level()))
    with pytest.raises(ModelError, match="template: plain"):
        render(tokenizer, chat("Hi", "Ho"))


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "no messages"),
        ([{"role": "user", "content": "Hi"}], "no assistant message"),
        (chat("Hi", " \n"), "message 2, an assistant's, is empty"),
        ([{"role": "asistant", "content": "Hi"}], 'did you mean "assistant"'),
        ([{"role": "user"}], "message 1 has no text"),
        (chat("Hi \ud83d", "Ho"), "half a character"),
    ],
)
def test_an_empty_mask_or_a_bad_message_is_the_datas_fault(chatml: Tokenizer, messages: Messages, says: str) -> None:
    with pytest.raises(DataError, match=says):
        render(chatml, messages)


def test_turns_that_a_template_refuses_are_the_datas_fault(templated: Templated) -> None:
    with pytest.raises(DataError, match="turns must go user, assistant"):
        render(templated("gemma"), [*chat("Hi"), *chat("Hi", "Ho")])


@pytest.mark.parametrize(
    ("condition", "says"), [("{{ raise_exception('no system') }}", "refuses a system"), ("", "loses a system")]
)
def test_a_lost_system_prompt_is_an_error_with_a_hint(chatml: Tokenizer, condition: str, says: str) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}" + condition + "{% else %}<|im_start|>{{ m.role + '\n' + "
        "m.content }}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
    )
    tokenizer = chatml.with_template(source)
    assert render(tokenizer, chat("Hi", "Ho")).turns
    for prompt in (True, False):
        with pytest.raises(ModelError, match=says):
            render(tokenizer, chat("Hi", "Ho", system="Be kind"), generation_prompt=prompt)


def test_a_history_may_hold_an_empty_answer_when_served(chatml: Tokenizer) -> None:
    assert render(chatml, chat("Hi", "", "More"), generation_prompt=True).ids


def test_without_a_space_put_before_each_segment(spaced: Tokenizer) -> None:
    """The answer behind the prompt is encoded as the middle of a text, not as a text of its own."""
    rendered = render(spaced, chat("hello there", " fox", "dog", " the"))
    (first, second) = rendered.turns
    assert rendered.ids[first.start : first.end] == [*spaced.encode("fox"), 2]  # one space, the answer's own
    assert rendered.ids[second.start : second.end] == [*spaced.encode("the"), 2]
    assert "[INST] dog [/INST] the" in spaced.decode(rendered.ids)


def test_a_text_is_supervised_to_its_end(chatml: Tokenizer) -> None:
    rendered = render_text(chatml, "Hello <|im_end|> 你好")
    assert shown(rendered, chatml) == "⟦Hello <|im_end|> 你好<|im_end|>⟧"
    assert rendered.ids.count(2) == 1 and rendered.ids[-1] == rendered.stop_id == 2
    prompt = render_text(chatml, "Hello <|im_end|> 你好", generation_prompt=True)
    assert prompt.ids == rendered.ids[:-1] and not any(prompt.loss_mask)
    for bad in ("", "\ud800"):
        with pytest.raises(DataError):
            render_text(chatml, bad)


@pytest.mark.parametrize("name", [*SINGLE, "smollm2", "reasoning"])
def test_parity_with_transformers(templated: Templated, name: str) -> None:
    """The text is what `apply_chat_template` writes, and the ids of a first prompt are the same too."""
    own = {"smollm2": SMOLLM2, "reasoning": REASONING}
    source = own[name] if name in own else read_template(name)
    ours = templated("chatml" if name in own else name).with_template(source)
    peer = PreTrainedTokenizerFast(tokenizer_file=str(ours.folder / "tokenizer.json"), **ours.named)
    peer.chat_template = source
    for messages in (chat("Hi", "Ho"), chat("a 你好\nb ", "é😀 c", "d", "e f"), chat("x", "y", system="Be kind")):
        assert render(ours, messages).text == peer.apply_chat_template(messages, tokenize=False)
        for number in (number for number, message in enumerate(messages) if message["role"] == "assistant"):
            prompt = render(ours, messages[:number], generation_prompt=True)
            theirs = peer.apply_chat_template(messages[:number], tokenize=False, add_generation_prompt=True)
            assert prompt.text == theirs
            if number < 3:
                assert prompt.ids == peer(theirs, add_special_tokens=False)["input_ids"]


@pytest.mark.slow
def test_the_packaged_model(tmp_path: Path) -> None:
    """SmolLM2's real tokenizer and template, as the base stage writes them."""
    import_base("smollm2-135m-instruct", tmp_path, Log(quiet=True))
    tokenizer = load(tmp_path)
    rendered = render(tokenizer, chat("Hi 你好", "Ho 😀", "<|im_end|>", "No"))
    assert shown(rendered, tokenizer) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi 你好<|im_end|>\n<|im_start|>assistant\n⟦Ho 😀<|im_end|>⟧\n"
        "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n⟦No<|im_end|>⟧\n"
    )
    assert rendered.stop_id in tokenizer.eos_ids
    assert rendered.ids.count(rendered.stop_id) == 5
    peer = AutoTokenizer.from_pretrained(tmp_path)
    harmless = chat("Hi 你好", "Ho 😀", "More", "No", system="Be kind")
    assert render(tokenizer, harmless).ids == peer.apply_chat_template(harmless, tokenize=True, return_dict=False)
