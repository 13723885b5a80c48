"""Where parts of a text stand: python run.py "a text", or one on each line of stdin; JSON lines out.

A model that answers is asked {"question": …, "context": …}. Of a text that is too long the end is not read.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

HERE = Path(__file__).parent
TOLD = json.loads((HERE / "onnx.json").read_text("utf-8"))
LONGEST = 30  # tokens of an answer


def tags(logits, read, inside, text):
    """Every part: its tokens are told to begin (B-) or go on with (I-) a kind."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    found = []  # first token, last token, kind
    for place, best in enumerate(shares.argmax(axis=1)):
        position, _, kind = TOLD["labels"][best].partition("-") if inside[place] else ("O", "", "")
        if position == "I" and found and found[-1][1:] == [place - 1, kind]:
            found[-1][1] = place
        elif position != "O":
            found.append([place, place, kind])
    spans = []
    for first, last, kind in found:
        start, end = read.offsets[first][0], read.offsets[last][1]
        sure = float(shares[first : last + 1].max(axis=1).mean())
        spans.append({"start": start, "end": end, "label": kind, "text": text[start:end], "probability": sure})
    return {"spans": spans}


def answer(logits, read, inside, text):
    """The likeliest part; the first token stands for "there is no answer"."""
    starts, ends = (np.where([True, *inside[1:]], column, -np.inf) for column in logits.T)
    best, most = (0, 0), starts[0] + ends[0]
    for first in np.flatnonzero(inside[1:]) + 1:
        last = int(first + ends[first : first + LONGEST].argmax())
        if starts[first] + ends[last] > most:
            best, most = (int(first), last), starts[first] + ends[last]
    shares = [np.exp(values - values.max()) for values in (starts, ends)]
    sure = float(np.prod([share[at] / share.sum() for share, at in zip(shares, best, strict=True)]))
    start, end = (read.offsets[best[0]][0], read.offsets[best[1]][1]) if best != (0, 0) else (0, 0)
    return {"answer": text[start:end], "start": start, "end": end, "probability": sure}


if __name__ == "__main__":
    answers = TOLD["task"] == "answer"
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOLD["context"], strategy="only_second" if answers else "longest_first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options)
    for line in sys.argv[1:] or map(str.strip, sys.stdin):
        fields = json.loads(line) if line.startswith("{") else {"text": line}
        text = fields["context" if answers else "text"]
        read = tokenizer.encode(fields["question"], text) if answers else tokenizer.encode(text)
        every = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        batch = {name: np.array([every[name]], np.int64) for name in TOLD["inputs"]}
        found = np.asarray(session.run(None, batch)[0])[0]
        inside = [number == int(answers) for number in read.sequence_ids]
        said = (answer if answers else tags)(found.astype(float), read, inside, text)
        cut = {"cut": True} if read.overflowing else {}
        print(json.dumps({**fields, **said, **cut}, ensure_ascii=False), flush=True)
