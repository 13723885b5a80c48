"""onnxruntime-genai alone, its engine batching up to SLOTS requests: `serve_genai.py FOLDER SLOTS CONTEXT`.

FOLDER is what its own model builder made. Questions and tokens as `clients.OverPipe` tells; says `ready` first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
from questions import ask_me


def main() -> None:
    folder, slots, context = Path(sys.argv[1]), *map(int, sys.argv[2:])
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text()) | {"engine": {"static_batching": {"max_batch_size": slots}}}
    file.write_text(json.dumps(settings, indent=1))
    engine = og.Engine(og.Model(str(folder)))
    events = engine.create_event_buffer(4 * slots)
    asked = ask_me()
    running: list[tuple[int, Any]] = []
    while True:
        while not running or not asked.empty():
            question = asked.get()
            if question is None:
                return
            running.append((question["id"], begin(engine, question, context)))
        for event in engine.run(events):
            number = next(number for number, request in running if request is event.request)
            token = int(og.EngineEventFlags.TOKEN.value & event.flags.value)
            ended = event.flags.value & (og.EngineEventFlags.TURN_FINISHED.value | og.EngineEventFlags.FAILED.value)
            problem = "" if event.error_code.value == 0 else str(event.error_code)
            tokens = int(bool(token)) - int(event.finish_reason == og.FinishReason.EOS)  # the end is no text
            line = {"id": number, "tokens": max(0, tokens), "done": bool(ended), "problem": problem}
            print(json.dumps(line), flush=True)
            if ended:
                event.request.close()
                running = [pair for pair in running if pair[0] != number]


def begin(engine: Any, question: dict[str, Any], context: int) -> Any:
    options = og.RequestOptions()
    options.set_max_session_tokens(context)
    request = engine.create_request(options=options)
    turn = og.TurnOptions(request)
    turn.set_do_sample(False)
    turn.set_max_generated_tokens(question["max_tokens"])
    request.begin_turn(np.array(question["ids"], dtype=np.int32), turn)
    return request


if __name__ == "__main__":
    main()
