"""Made rows: only from training rows, marked, the same every time, and never an answer changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.errors import DataError
from setsail.base.recipe_data import Augment, Data
from setsail.data.augment import MARK, Augmenter
from setsail.data.lexicon import read_lexicon
from setsail.data.row import Message, Row, read_rows
from setsail.data.sources import fingerprint
from setsail.data.summary import Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]
EVERY = Augment(swap=0.2, delete=0.2, typo=0.3, copies=2)


def augmented(row: Row, wanted: Augment, *, seed: int) -> list[Row]:
    return list(Augmenter(wanted, seed=seed).made_from(row))


def text_row(text: str) -> Row:
    return Row("0" * 16, (), text, "g", "t:1")


@given(st.text(max_size=200), st.integers(0, 3))
def test_any_text_gives_the_same_marked_rows_every_time(text: str, seed: int) -> None:
    made = augmented(text_row(text), EVERY, seed=seed)
    assert made == augmented(text_row(text), EVERY, seed=seed)
    for row in made:
        assert row.text != text and row.text.strip() and row.group == "g"
        assert row.marks[-1].startswith(MARK) and row.marks[-1].endswith("0" * 16)
    assert len({row.id for row in made}) == len(made)


@pytest.mark.parametrize("text", ["我的快递还没有到请帮我查一下", "please tell me where my parcel is today"])
def test_swaps_and_deletions_keep_the_words(text: str) -> None:
    swapped = augmented(text_row(text), Augment(swap=0.3), seed=1)[0].text
    assert sorted(swapped) == sorted(text) and swapped != text
    shorter = augmented(text_row(text), Augment(delete=0.2), seed=1)[0].text
    assert 0.6 * len(text) < len(shorter) < len(text) and set(shorter) <= set(text)


def test_answers_numbers_and_placeholders_stay(tmp_path: Path) -> None:
    said = "Call [PHONE_1] about order 4711, quickly, before the delivery tomorrow"
    row = Row(
        "1" * 16,
        (Message(role="user", content=said), Message(role="assistant", content="It is on its way")),
        "",
        "",
        "t:1",
    )
    for made in augmented(row, Augment(swap=0.3, delete=0.3, typo=0.9, copies=8), seed=3):
        assert made.messages[1] == row.messages[1]
        assert "[PHONE_1]" in made.messages[0]["content"] and "4711" in made.messages[0]["content"]


def test_only_training_rows_are_copied_and_they_are_counted(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(100)])
    summary = prepared("rows.jsonl", augment={"swap": 0.2})
    parts = {part: read_rows(tmp_path / "out" / f"{part}.parquet") for part in summary.sizes}
    made = [row for row in parts["train"] if row.marks]
    assert len(made) == summary.num_made > 40 and summary.sizes["train"] == len(parts["train"]) == 80 + len(made)
    assert not any(row.marks for part in ("validation", "test") for row in parts[part])
    plain = prepared("rows.jsonl", out="plain")
    assert [row for row in parts["train"] if not row.marks] == read_rows(tmp_path / "plain" / "train.parquet")
    assert plain.num_made == 0


def lexicon_of(folder: Path, *lines: str) -> Path:
    (folder / "words.txt").write_text("# mine\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder / "words.txt"


def test_synonyms_are_whole_words_of_the_lexicon(tmp_path: Path) -> None:
    lexicon = read_lexicon(lexicon_of(tmp_path, "parcel, package", "快递，包裹、邮件", "phone, telephone"))
    augmenter = Augmenter(Augment(synonym=0.9, lexicon="words.txt"), seed=2, lexicon=lexicon)
    texts = {
        "Parcel 12 is a parcel, parcels are not.": {"Package 12 is a package, parcels are not."},
        "我的快递还没到": {"我的包裹还没到", "我的邮件还没到"},
        "Call [PHONE_1] or my phone": {"Call [PHONE_1] or my telephone"},
    }
    for text, others in texts.items():
        (made,) = augmenter.made_from(text_row(text))
        assert made.text in others and made.marks == (f"{MARK}synonym from {'0' * 16}",)
    assert list(augmenter.made_from(text_row("nothing of it"))) == []


@given(st.lists(st.text(max_size=12), max_size=8), st.text(max_size=80), st.integers(0, 3))
def test_any_lexicon_changes_any_text_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], text: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("lexicon") / "words.txt"
    path.write_text("big, large\n" + "\t".join(words), encoding="utf-8", newline="")
    wanted = Augment(synonym=0.5, lexicon="words.txt")
    made = [list(Augmenter(wanted, seed=seed, lexicon=read_lexicon(path)).made_from(text_row(text))) for _ in "ab"]
    assert made[0] == made[1] and len(made[0]) <= 1


@pytest.mark.parametrize(
    ("lines", "told"), [((), "no two words"), (("one", "two"), "no two words"), (("a, a",), "no two words")]
)
def test_a_lexicon_without_synonyms_is_refused(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_lexicon(lexicon_of(tmp_path, *lines))


def test_a_lexicon_is_read_first_and_belongs_to_what_is_recognised(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    jsonl([pair(n) for n in range(60)])
    wanted = {"synonym": 0.3, "lexicon": "words.txt"}
    with pytest.raises(DataError, match="no lexicon words"):
        prepared("rows.jsonl", augment=wanted)
    prints = set()
    for line in ("order, purchase", "order, buy"):
        lexicon_of(tmp_path, line)
        data = Data.model_validate({"source": "rows.jsonl", "augment": wanted})
        prints.add(fingerprint(data, tmp_path))
    assert len(prints) == 2
