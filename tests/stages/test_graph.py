"""The graph of predicted relations: networkx and rdflib read back what was predicted, whatever the names hold."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import networkx
import pytest
import rdflib

from setsail.base.errors import SystemRefusal
from setsail.stages.answering.graph import NAMES, RELATIONS, Triple, gathered, libraries, write_graph

TRIPLES = [
    Triple("江泽民", "出生于", "扬州"),
    Triple('Ann "the" <b>', "works & lives at", "R&D 'x'"),
    Triple("Ann", "knows", "Ben"),
    Triple("Ann", "married to", "Ben"),
    Triple("Ben", "knows", "Ann"),
    Triple("Ann", "knows", "Ann", 3, 0.75),
    Triple("a/b#c?d %20", "ki\\nd of", "é ü 😀"),
]
TOLD = {(each.head, each.relation, each.tail) for each in TRIPLES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("graphs") / "new" / "graph"
    assert write_graph(TRIPLES, made, libraries()) == ["graph.graphml", "graph.jsonld", "graph.ttl", "graph.svg"]
    return made


def test_networkx_reads_the_triples_back(folder: Path) -> None:
    read: Any = networkx.read_graphml(folder / "graph.graphml", force_multigraph=True)
    assert read.is_directed()
    assert {(head, facts["relation"], tail) for head, tail, facts in read.edges(data=True)} == TOLD
    (loop,) = [facts for head, tail, facts in read.edges(data=True) if head == tail]
    assert loop["num_texts"] == 3 and loop["probability"] == 0.75


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # rdflib's own reader of JSON-LD
@pytest.mark.parametrize(("file", "form"), [("graph.jsonld", "json-ld"), ("graph.ttl", "turtle")])
def test_rdflib_reads_the_triples_back(folder: Path, file: str, form: str) -> None:
    read = rdflib.Graph().parse(folder / file, format=form)
    label = {node: str(text) for node, text in read.subject_objects(rdflib.RDFS.label)}
    said = {(label[s], label[p], label[o]) for s, p, o in read if p != rdflib.RDFS.label}
    assert said == TOLD
    for node, text in label.items():
        assert unquote(str(node).removeprefix(NAMES).removeprefix(RELATIONS)) == text


def test_the_picture_is_sound_and_names_everyone(folder: Path) -> None:
    picture = ElementTree.parse(folder / "graph.svg")
    texts = {each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {name for head, _, tail in TOLD for name in (head, tail)} <= texts
    assert "knows, married to" in texts and "works & lives at" in texts
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 8


def test_a_graph_too_large_to_draw_says_what_is_left_out(tmp_path: Path) -> None:
    write_graph([Triple("hub", "holds", f"leaf {number}") for number in range(100)], tmp_path, libraries())
    assert "60 names, 59 relations; 41 more names left out" in (tmp_path / "graph.svg").read_text("utf-8")
    assert len(networkx.read_graphml(tmp_path / "graph.graphml")) == 101


def test_the_same_predictions_draw_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_graph(TRIPLES, tmp_path, libraries())
    for name in ("graph.svg", "graph.graphml", "graph.ttl"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_pairs_are_gathered_by_what_they_name() -> None:
    text = "Ann  lives\x0b in Rome, and Ann in Rome."
    asked = [("Ann", "Rome", 0.6), ([0, 3], [15, 19], 0.9), ("Ann  lives\x0b", {"start": 15, "end": 19}, 0.5)]
    lines = [
        {"text": text, "head": head, "tail": tail, "relation": "lives in", "probability": sure}
        for head, tail, sure in asked
    ]
    named, long = gathered(lines)
    assert (named.head, named.tail, named.num_texts, named.probability) == ("Ann", "Rome", 2, 0.9)
    assert (long.head, long.num_texts) == ("Ann lives", 1)


def test_without_the_libraries_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    with pytest.raises(SystemRefusal, match="rdflib") as refused:
        libraries()
    assert refused.value.hint == "pip install 'setsail[graph]'"
