"""The vector of a text, or how well a text answers a query: python run.py LINE, or lines on stdin; JSON lines out.

A line is a text; for a ranker {"query": …, "text": …}, of which higher scores are better.
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

if __name__ == "__main__":
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOLD["context"], strategy="longest_first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options)
    for line in sys.argv[1:] or map(str.strip, sys.stdin):
        fields = json.loads(line) if line.startswith("{") else {"text": line}
        texts = (fields["query"], fields["text"]) if TOLD["task"] == "rank" else (fields["text"], None)
        read = tokenizer.encode(texts[0], texts[1])
        every = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        batch = {name: np.array([every[name]], np.int64) for name in TOLD["inputs"]}
        found = np.asarray(session.run(None, batch)[0])[0]
        said = {"score": float(1 / (1 + np.exp(-found[0])))} if TOLD["task"] == "rank" else {"vector": found.tolist()}
        cut = {"cut": True} if read.overflowing else {}
        print(json.dumps({**fields, **said, **cut}, ensure_ascii=False), flush=True)
