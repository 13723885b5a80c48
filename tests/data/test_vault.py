"""The vault gives back what was hidden to whoever holds the key, and notices every other key and every change."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_data import Data, Vault
from setsail.data.prepare import prepare
from setsail.data.privacy.keys import Key, key_from, new_key_file
from setsail.data.privacy.options import vault_key
from setsail.data.privacy.redactor import Redactor, restore
from setsail.data.privacy.registry import KINDS
from setsail.data.privacy.vault import create_vault, open_vault
from setsail.data.row import read_rows

KEY = Key(b"0123456789abcdef0123456789abcdef")
TEXTS = {"row1": ("Mail ann@example.org or call 415-555-2671.",), "row2": ("电话13812345678", "13812345678？")}


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    path = tmp_path / "hidden.vault"
    with create_vault(path, KEY) as file:
        for row_id, texts in TEXTS.items():
            file.add(row_id, Redactor()(texts).hidden)
    return path


def test_what_was_hidden_comes_back(vault: Path) -> None:
    opened = open_vault(vault, KEY)
    assert sorted(opened) == ["row1", "row2"]
    for row_id, texts in TEXTS.items():
        assert restore(Redactor()(texts).texts, opened.reveal(row_id)) == texts


def test_nothing_stands_in_the_clear_and_only_the_owner_reads(vault: Path) -> None:
    content = vault.read_bytes()
    assert b"ann@" not in content and b"13812345678" not in content and KEY.secret not in content
    assert vault.stat().st_mode & 0o077 == 0
    assert "0123456789abcdef" not in repr(KEY) + repr(Redactor("pseudonymise", key=KEY.secret))


def test_another_key_or_a_passphrase_does_not_open_it(vault: Path) -> None:
    with pytest.raises(DataError, match="another key"):
        open_vault(vault, Key(b"another key that is long enough!"))
    with pytest.raises(DataError, match="sealed with a key"):
        open_vault(vault, Key(KEY.secret, is_passphrase=True))


def test_every_changed_byte_is_noticed(vault: Path) -> None:
    content = vault.read_bytes()
    for place in range(len(content)):
        vault.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError):
            open_vault(vault, KEY)


def test_every_cut_is_noticed(vault: Path) -> None:
    content = vault.read_bytes()
    for length in range(len(content)):
        vault.write_bytes(content[:length])
        with pytest.raises(DataError):
            open_vault(vault, KEY)
    vault.write_bytes(content + b"\0")
    with pytest.raises(DataError, match="behind the end"):
        open_vault(vault, KEY)


def test_a_record_left_out_is_noticed(vault: Path, tmp_path: Path) -> None:
    content, head = vault.read_bytes(), 16 + 1 + 16
    first = 4 + int.from_bytes(content[head : head + 4], "big")
    vault.write_bytes(content[:head] + content[head + first :])
    with pytest.raises(DataError, match="record 1"):
        open_vault(vault, KEY)


def test_an_unfinished_vault_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "hidden.vault"
    with pytest.raises(KeyError), create_vault(path, KEY) as file:
        file.add("row1", ())
        raise KeyError
    with pytest.raises(DataError, match="never finished"):
        open_vault(path, KEY)


def test_missing_rows_and_files_are_named(vault: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='"row9"'):
        open_vault(vault, KEY).reveal("row9")
    with pytest.raises(DataError, match="holds no vault"):
        open_vault(tmp_path / "nowhere", KEY)
    with pytest.raises(DataError, match="exists already"):
        create_vault(vault, KEY)


def test_shards_of_a_folder_are_one_vault(vault: Path) -> None:
    with create_vault(vault.parent / "hidden-2.vault", KEY) as file:
        file.add("row3", Redactor()(["b@example.org"]).hidden)
    opened = open_vault(vault.parent, KEY)
    assert len(opened) == 3
    assert opened.reveal("row3")[0].value == "b@example.org"


def test_a_passphrase_seals_too(tmp_path: Path) -> None:
    key = Key("马到成功，一路顺风".encode(), is_passphrase=True)
    with create_vault(tmp_path / "a.vault", key) as file:
        file.add("row", Redactor()(["a@example.org"]).hidden)
    assert open_vault(tmp_path / "a.vault", key).reveal("row")[0].replacement == "[EMAIL_1]"


def test_keys_are_read_and_short_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key_file(tmp_path / "a.key")
    key = key_from("a.key", None, base_dir=tmp_path, place="data.vault")
    assert len(key.secret) == 64 and not key.is_passphrase and (tmp_path / "a.key").stat().st_mode & 0o077 == 0
    (tmp_path / "b.key").write_text("hunter2")
    monkeypatch.setenv("OUR_SECRET", "a passphrase of some length")
    assert key_from(None, "OUR_SECRET", base_dir=tmp_path, place="data.vault").is_passphrase
    for file, name in (
        ("b.key", None),
        ("c.key", None),
        (None, "NOT_SET_AT_ALL"),
        (None, None),
        ("a.key", "OUR_SECRET"),
    ):
        with pytest.raises(RecipeError) as refused:
            key_from(file, name, base_dir=tmp_path, place="data.vault")
        assert "hunter2" not in str(refused.value)


def test_changed_texts_are_not_restored() -> None:
    done = Redactor()(["a@example.org"])
    with pytest.raises(DataError, match="does not stand"):
        restore(["so " + done.texts[0]], done.hidden)


PIECES = (
    "a@example.org 13812345678 [EMAIL_1] 张伟 我叫 ， 。 8.8.8.8 Dr. Ann 1 - 🙂 京A12345 QQ： 123456 born 1990-05-12"
)
SPACED = (" ", "\n", "Ann Lee", "北京市海淀区中关村大街27号", "4111 1111 1111 1111")
WORDS = st.sampled_from([*PIECES.split(" "), *SPACED])


@given(
    st.lists(st.lists(WORDS, max_size=8).map("".join), min_size=1, max_size=3),
    st.sampled_from(["mask", "pseudonymise"]),
)
def test_restoring_undoes_redacting(texts: list[str], mode: str) -> None:
    done = Redactor(mode, tuple(KINDS), key=KEY.secret)(texts)
    assert restore(done.texts, done.hidden) == tuple(texts)


@given(st.lists(WORDS, max_size=8).map("".join) | st.text(max_size=80))
def test_only_what_was_found_changes_and_masking_twice_is_masking_once(text: str) -> None:
    redactor = Redactor(kinds=tuple(KINDS))
    done = redactor([text])
    at, rest = 0, done.texts[0]
    for value in done.hidden:
        assert text[value.start : value.start + len(value.value)] == value.value and value.start >= at
        kept = text[at : value.start]
        assert rest.startswith(kept + value.replacement)
        rest, at = rest[len(kept + value.replacement) :], value.start + len(value.value)
    assert rest == text[at:]
    assert redactor(done.texts).texts == done.texts


def test_preparing_fills_the_vault_if_asked(tmp_path: Path) -> None:
    new_key_file(tmp_path / "a.key")
    lines = [
        f'{{"text": "Letter number {n} of many, write to person{n}@example.org about {n * 7919}"}}' for n in range(30)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = Data(source="rows.jsonl", near_duplicates=1.0, vault=Vault(key_file="a.key"))
    out = tmp_path / "out"
    prepare(data, task="text", seed=1, base_dir=tmp_path, out=out, log=Log(quiet=True))
    vault = open_vault(out, vault_key(data.vault, tmp_path)) if data.vault else None
    assert vault is not None and len(vault) == 30
    for row in read_rows(out / "train.parquet"):
        assert "@" not in row.text and "@example.org" in restore([row.text], vault.reveal(row.id))[0]
