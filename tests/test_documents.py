"""Documents stay true: their recipes load, their links lead somewhere, their verbs exist, both languages keep step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from setsail.base.recipe_file import load_recipe
from setsail.cli import app

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_recipes_in_the_readme_load(name: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "tickets.yaml").write_text(block, encoding="utf-8")
        assert load_recipe(tmp_path / "tickets.yaml").recipe.name == "tickets"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_whole_recipes_in_the_documents_load(path: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```yaml\n(name:.*?)```", path.read_text("utf-8"), re.DOTALL):
        (tmp_path / "recipe.yaml").write_text(block, encoding="utf-8")
        load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_loads_under_its_own_name(path: Path) -> None:
    assert load_recipe(path).recipe.name == path.stem


@pytest.mark.parametrize("name", READMES)
def test_verbs_in_the_readme_exist(name: str) -> None:
    known = {command.name or (command.callback and command.callback.__name__) for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if line.startswith("    ")]
    verbs = {verb for line in lines for verb in re.findall(r"setsail ((?:[a-z]+(?: \| )?)+)", line)}
    named = {word for verb in verbs for word in verb.split(" | ")}
    assert named and named <= known, named - known


def test_both_readmes_have_the_same_shape_and_are_short() -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in READMES]
    headings = [[line.split()[0] for line in text.splitlines() if line.startswith("#")] for text in texts]
    tables = [text.count("\n|") for text in texts]
    assert headings[0] == headings[1] and tables[0] == tables[1]
    assert all(len(text.splitlines()) < 150 for text in texts)


def test_every_room_is_on_the_map() -> None:
    rooms = {path.name for path in (ROOT / "src" / "setsail").iterdir() if (path / "__init__.py").exists()}
    for name in READMES:
        assert rooms <= set(re.findall(r"\| `([a-z]+)` \|", (ROOT / name).read_text("utf-8")))


def test_the_reference_is_the_codes() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "reference.py", "--check"], check=False)
    assert done.returncode == 0, "make docs"
