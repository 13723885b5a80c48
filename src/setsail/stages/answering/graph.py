"""The graph of predicted relations: what was said of each pair, gathered, in the files that others read.

GraphML for networkx, Gephi and yEd; JSON-LD and Turtle for stores of RDF; a picture. Each name is a node, each relation
between two names an edge, however many texts say it. What does not live here: predicting (`predicting.py`), drawing
(`graph_picture.py`). The invariant: every file holds the same triples.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from setsail.base.errors import SystemRefusal
from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.target import HEAD, TAIL, span_named, spans_of
from setsail.data.read_formats import asked_row
from setsail.stages.answering.graph_picture import drawn

NAMES = "urn:setsail:name:"
RELATIONS = "urn:setsail:relation:"
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Triple:
    """A relation between two names, how many texts say it, and the probability of the surest of them."""

    head: str
    relation: str
    tail: str
    num_texts: int = 1
    probability: float = 1.0


@dataclass(frozen=True)
class Libraries:
    """The two libraries that write graphs; they come with an extra."""

    networkx: Any
    rdflib: Any


def libraries() -> Libraries:
    """Raises: SystemRefusal where one is not installed."""
    try:
        return Libraries(importlib.import_module("networkx"), importlib.import_module("rdflib"))
    except ImportError as error:
        hint = "pip install 'setsail[graph]'"
        raise SystemRefusal(f"a graph needs networkx and rdflib: {error}", hint=hint) from error


def gathered(lines: Iterable[Mapping[str, Any]], *, no_relation: Collection[str] = ()) -> list[Triple]:
    """The triples of printed predictions, each once, in the order in which they came; none of `no_relation`."""
    found: dict[tuple[str, str, str], Triple] = {}
    for line in lines:
        if line["relation"] in no_relation:
            continue
        row = asked_row("relate", line)
        spans = spans_of(row.target)
        head, tail = (_tidy(row.text[span.start : span.end]) for span in (span_named(spans, n) for n in (HEAD, TAIL)))
        key = (head, _tidy(line["relation"]), tail)
        old = found.get(key)
        num_texts, most = (old.num_texts, old.probability) if old else (0, 0.0)
        found[key] = Triple(*key, num_texts + 1, max(most, float(line["probability"])))
    return list(found.values())


def write_graph(triples: Iterable[Triple], folder: Path, libraries: Libraries) -> list[str]:
    """Writes graph.graphml, graph.jsonld, graph.ttl and graph.svg; returns their names.

    Raises: SystemRefusal, UserError where the folder cannot be written.
    """
    network = network_of(triples, libraries)
    statements = statements_of(triples, libraries)
    texts = {
        "graph.graphml": "\n".join(libraries.networkx.generate_graphml(network)) + "\n",
        "graph.jsonld": statements.serialize(format="json-ld", auto_compact=True, ensure_ascii=False),
        "graph.ttl": statements.serialize(format="turtle"),
        "graph.svg": drawn(network, libraries.networkx),
    }
    with explained_os_errors(f'writing the graph into "{folder}"'):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text)
    return list(texts)


def network_of(triples: Iterable[Triple], libraries: Libraries) -> Any:
    """A directed graph of networkx, with an edge for each relation; several may join the same two names."""
    network = libraries.networkx.MultiDiGraph()
    for each in triples:
        facts = {"relation": each.relation, "num_texts": each.num_texts, "probability": each.probability}
        network.add_edge(each.head, each.tail, key=each.relation, **facts)
    return network


def statements_of(triples: Iterable[Triple], libraries: Libraries) -> Any:
    """A graph of RDF: names and relations as URNs that hold them percent-encoded, each with its label."""
    rdf = libraries.rdflib
    graph = rdf.Graph()
    graph.bind("name", NAMES)
    graph.bind("relation", RELATIONS)
    for each in triples:
        named = {text: rdf.URIRef(NAMES + quote(text, safe="")) for text in (each.head, each.tail)}
        relation = rdf.URIRef(RELATIONS + quote(each.relation, safe=""))
        graph.add((named[each.head], relation, named[each.tail]))
        for text, node in (*named.items(), (each.relation, relation)):
            graph.add((node, rdf.RDFS.label, rdf.Literal(text)))
    return graph


def _tidy(text: str) -> str:
    """A name on one line, without what no XML file may hold."""
    return " ".join(_NOT_XML.sub(" ", text).split())
