"""The licence of a source: told where it is stated, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsail.base.recipe_data import Data
from setsail.data.licence import licence_of
from setsail.data.page.figures import Licence

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"
MIT = "MIT License\n\nCopyright (c) 2026 Ann\n\nPermission is hereby granted, free of charge, to any person"


def in_folder(folder: Path, files: dict[str, str]) -> Licence:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return licence_of(Data(source=folder.name), folder.parent)


@pytest.mark.parametrize(
    "name, text, licence",
    [
        ("LICENSE", APACHE, "Apache-2.0"),
        ("COPYING.txt", f"{MIT} obtaining a copy of this software and so on", "MIT"),
        ("licence.md", "# Creative Commons\n\nAttribution-ShareAlike 4.0 International\n", "CC-BY-SA-4.0"),
        ("LICENSE-DATA", "Only for the members of our club.\nAsk Ann.", "Only for the members of our club."),
        ("README.md", "---\nlanguage: zh\nlicense: cc-by-nc-4.0\n---\n# Poems\n", "cc-by-nc-4.0"),
        ("README", "# Poems\n\n## 许可证\n\nMIT，可自由使用\n", "MIT，可自由使用"),
        ("README.md", "---\nlanguage: zh\n---\nlicense: this is no front matter\n", ""),
        ("README.md", "# Poems\nWithout a word on it.\n", ""),
        ("LICENSE", "", ""),
    ],
)
def test_a_folder_states_it(tmp_path: Path, name: str, text: str, licence: str) -> None:
    (tmp_path / "poems").mkdir()
    assert in_folder(tmp_path / "poems", {name: text}) == Licence(licence, name if licence else "")


def test_a_licence_comes_before_a_readme(tmp_path: Path) -> None:
    (tmp_path / "poems").mkdir()
    files = {"README.md": "## License\n\nsee the file", "licence": APACHE}
    assert in_folder(tmp_path / "poems", files) == Licence("Apache-2.0", "licence")


def test_a_file_states_none_though_one_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(APACHE, encoding="utf-8")
    (tmp_path / "rows.csv").write_text("a,b\n", encoding="utf-8")
    for source in ("rows.csv", "*.csv"):
        assert licence_of(Data(source=source), tmp_path) == Licence()


def test_an_installed_package_states_it_under_whatever_name_it_is_imported(tmp_path: Path) -> None:
    stated = licence_of(Data(source="docstrings:sklearn.svm"), tmp_path)
    assert stated.name == "BSD-3-Clause" and stated.stated_in.startswith("scikit-learn ")
    assert "BSD" in licence_of(Data(source="docstrings:numpy"), tmp_path).name
    assert licence_of(Data(source="docstrings:json"), tmp_path) == Licence()
