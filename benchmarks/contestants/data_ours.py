"""The whole of `setsail prepare` on a .jsonl file: python data_ours.py FILE PROCESSES OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from data_meter import metered

from setsail.base.log import Log
from setsail.base.recipe_data import Data
from setsail.data.prepare import prepare

if __name__ == "__main__":
    file, processes, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    data = Data.model_validate({"source": file.name})
    with metered() as told:
        made = prepare(
            data, task="text", seed=1, base_dir=file.parent, out=out, log=Log(quiet=True), processes=processes
        )
        told["kept"] = sum(made.sizes.values())
