from __future__ import annotations

from pathlib import Path

import pytest

from models import toy_model
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.compress.export import export_gguf
from setsail.models.packaged import PACKAGED
from setsail.models.sources import folder_licence, resolve_base


def test_a_packaged_name_needs_no_reading() -> None:
    source = resolve_base("smollm2-135m-instruct")
    assert source.kind == "packaged" and source.fingerprint == PACKAGED[source.name].sha256
    assert source.licence == "Apache-2.0" and "HuggingFaceTB" in source.origin
    assert Path(source.location).is_file()


def test_a_folders_fingerprint_follows_what_an_import_reads(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path)
    first = resolve_base(str(folder))
    assert first.kind == "folder"
    (folder / "notes.txt").write_text("hello")
    (folder / "manifest.json").write_text("{}")
    assert resolve_base(str(folder)).fingerprint == first.fingerprint
    (folder / "chat_template.jinja").write_text("other")
    second = resolve_base(str(folder)).fingerprint
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert len({first.fingerprint, second, resolve_base(str(folder)).fingerprint}) == 3


def test_a_gguf_file_is_a_base(tmp_path: Path) -> None:
    path = export_gguf(
        toy_model.write_folder(tmp_path / "hf"),
        tmp_path / "toy.gguf",
        "q8_0",
        name="t",
        licence="mit",
        log=Log(quiet=True),
    )
    source = resolve_base(str(path))
    assert source.kind == "gguf" and source.licence == "mit" and len(source.fingerprint) == 64


UNKNOWN = {
    "a slip": ("smollm2-135m-instuct", 'did you mean "smollm2-135m-instruct"'),
    "nothing like it": ("zzz", "org/name"),
    "a path": ("./no/such/folder", None),
    "a file": ("model.gguf", None),
    "a pickle": ("weights.pt", None),
}


@pytest.mark.parametrize(("name", "hint"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_base_is_named(name: str, hint: str | None) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_base(name)
    assert name in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_the_neighbour_of_a_missing_path_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "model-q8_0.gguf").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        resolve_base(str(tmp_path / "model-q8.gguf"))
    assert "model-q8_0.gguf" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt"])
def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickle") as caught:
        resolve_base(str(tmp_path / name))
    assert "safe_serialization" in str(caught.value.hint)


def test_a_folder_that_is_no_model_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        resolve_base(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        resolve_base(str(tmp_path))
    assert "adapter" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "../" * 50])
def test_strange_names_are_refused(name: str) -> None:
    with pytest.raises(ModelError):
        resolve_base(name)


def test_licences_are_found_where_people_put_them(tmp_path: Path) -> None:
    assert folder_licence(tmp_path) == "not stated"
    (tmp_path / "LICENSE").write_text("\n  MIT License\n\nCopyright …")
    assert folder_licence(tmp_path) == "MIT License"
    (tmp_path / "README.md").write_text('---\nlicense: "cc-by-4.0"\n---\n')
    assert folder_licence(tmp_path) == "cc-by-4.0"
