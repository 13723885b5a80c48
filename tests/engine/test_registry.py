from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from setsail.base.errors import ModelError, UserError
from setsail.engine.registry import ENGINES, choose, open_engine


def test_a_gguf_of_a_known_architecture_goes_to_openvino(tiny_gguf: Path) -> None:
    choice = choose(tiny_gguf)
    assert choice.name == "openvino"
    assert "llama" in choice.reason


def test_another_architecture_goes_to_llamacpp(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    choice = choose(path)
    assert choice.name == "llamacpp"
    assert "gemma3" in choice.reason


def test_a_folder_goes_to_torch(tmp_path: Path) -> None:
    assert choose(tmp_path).name == "torch"


def test_a_missing_model_and_an_unknown_engine_are_errors(tmp_path: Path, tiny_gguf: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        choose(tmp_path / "none.gguf")
    with pytest.raises(UserError, match='no engine "llamacp"'):
        open_engine("llamacp", tiny_gguf, context=8, slots=1)


def test_every_entry_names_a_module_of_this_room() -> None:
    assert all(target.startswith("setsail.engine.") for target in ENGINES.values())
