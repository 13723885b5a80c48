"""Presidio's analyzer with all of its pattern recognisers and no language model: texts in as JSON, spans out.

Its tokenizer is spaCy's blank one, so that words around a value still raise its score; what needs a model (names,
places) it cannot find here. Every text is read as English, the language that all its patterns serve.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine


class Blank(SpacyNlpEngine):
    """spaCy's tokenizer alone."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}

    def load(self) -> None:
        pass


def main() -> None:
    texts = json.load(sys.stdin)
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])
    analyzer.analyze("warm up", language="en")
    began = time.process_time()
    found = [[(r.start, r.end, r.entity_type, r.score) for r in analyzer.analyze(t, language="en")] for t in texts]
    seconds = time.process_time() - began
    json.dump({"version": metadata.version("presidio-analyzer"), "seconds": seconds, "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
