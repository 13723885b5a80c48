"""OpenVINO GenAI alone, with its own defaults and its prefix cache on: `serve_openvino.py MODEL SLOTS CONTEXT`.

Questions and tokens as `clients.OverPipe` tells; says `ready` first.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai
from questions import ask_me

BLOCK_TOKENS = 32


def main() -> None:
    model, slots, context = sys.argv[1], *map(int, sys.argv[2:])
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.num_kv_blocks = slots * context // BLOCK_TOKENS
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU")
    asked = ask_me()
    running: dict[int, Any] = {}
    stops: dict[int, set[int]] = {}
    while True:
        while not running or not asked.empty():
            question = asked.get()
            if question is None:
                return
            stops[question["id"]] = set(question["stop_ids"])
            prompt = openvino.Tensor(np.array([question["ids"]], dtype=np.int64))
            running[question["id"]] = pipeline.add_request(question["id"], prompt, settings(question))
        pipeline.step()
        for number, handle in list(running.items()):
            tokens = 0
            while handle.can_read():
                tokens += sum(i not in stops[number] for said in handle.read().values() for i in said.generated_ids)
            done = handle.get_status() != genai.GenerationStatus.RUNNING
            if tokens or done:
                print(json.dumps({"id": number, "tokens": tokens, "done": done}), flush=True)
            if done:
                del running[number], stops[number]


def settings(question: dict[str, Any]) -> genai.GenerationConfig:
    config = genai.GenerationConfig()
    config.max_new_tokens = question["max_tokens"]
    config.stop_token_ids = set(question["stop_ids"])
    config.eos_token_id = question["stop_ids"][0]
    return config


if __name__ == "__main__":
    main()
