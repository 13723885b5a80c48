"""What this folder's model says of a text: python run.py "a text", or a text on each line of stdin; JSON lines out."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).parent
TOLD = json.loads((HERE / "onnx.json").read_text("utf-8"))


def marked(fields):
    """The text, for relations with its head between $ and its tail between #."""
    text, places = fields["text"], []
    for name, mark in (("head", "$"), ("tail", "#")) if TOLD["task"] == "relate" else ():
        at = fields[name]  # the name, or its first and last place
        start, end = at if isinstance(at, list) else (text.index(at), text.index(at) + len(at))
        places.append((start, end, mark))
    for start, end, mark in sorted(places, reverse=True):
        text = f"{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}"
    return text


def say(logits):
    if TOLD["task"] in ("regress", "grade"):
        return {"score": logits[0]}
    if TOLD["task"] == "labels":
        chances = (1 / (1 + np.exp(-logits))).tolist()
        return {"labels": [name for name, chance in zip(TOLD["labels"], chances, strict=True) if chance >= 0.5]}
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    return {"relation" if TOLD["task"] == "relate" else "label": TOLD["labels"][best], "probability": shares[best]}


if __name__ == "__main__":
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    grades = TOLD["task"] == "grade"  # a text beside its rubric
    tokenizer.enable_truncation(TOLD["context"], strategy="only_second" if grades else "longest_first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options)
    for line in sys.argv[1:] or map(str.strip, sys.stdin):
        fields = json.loads(line) if line.startswith("{") else {"text": line}
        read = tokenizer.encode(fields["rubric"], fields["text"]) if grades else tokenizer.encode(marked(fields))
        every = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        batch = {name: np.array([every[name]], np.int64) for name in TOLD["inputs"]}
        found = np.asarray(session.run(None, batch)[0])[0]
        cut = {"cut": True} if read.overflowing else {}
        print(json.dumps({**fields, **say(found.astype(float)), **cut}, ensure_ascii=False), flush=True)
