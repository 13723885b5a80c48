from __future__ import annotations

from setsail.tokens.survey import script_of, survey, usage
from setsail.tokens.tokenizer import Tokenizer


def test_what_is_counted_adds_up(chatml: Tokenizer) -> None:
    texts = ["The fox 月光 42。", "dog 启航 🚀"]
    found = survey(chatml, texts)
    assert found.num_bytes == sum(len(text.encode()) for text in texts)
    assert found.num_characters == sum(map(len, texts)) == sum(each.characters for each in found.scripts.values())
    assert found.num_tokens == sum(len(chatml.encode(text)) for text in texts)
    assert found.num_tokens == sum(each.tokens for each in found.scripts.values())
    assert found.scripts["Han"].characters == 4 and found.scripts["Latin"].characters == 9
    assert found.num_unknown == 0


def test_words_that_are_cut_smallest_come_first(chatml: Tokenizer) -> None:
    worst = survey(chatml, ["zqxj zqxj zqxj", "quick quick quick", "rare"]).worst
    assert [word.text for word in worst] == ["zqxj", "quick"]
    assert worst[0].count == 3 and worst[0].tokens == 4


def test_usage_counts_different_tokens(chatml: Tokenizer) -> None:
    assert usage(chatml, ["dog dog", "dog"]) == (10, len(set(chatml.encode("dog dog"))))


def test_scripts() -> None:
    assert [script_of(character) for character in "Aé月三のカ한7½,☃я"] == [
        *("Latin", "Latin", "Han", "Han", "kana", "kana", "Hangul", "digits", "digits", "rest", "rest", "other letters")
    ]
