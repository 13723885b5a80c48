"""Tasks of EleutherAI's lm-evaluation-harness, asked of a run's model: `setsail evaluate --harness TASK RUN`.

The tasks, their prompts and their metrics are the harness's own, or files of the user's; what answers is our model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.errors import UserError, did_you_mean
from setsail.base.log import Log
from setsail.base.run import RUN_FILE, Run
from setsail.models.load import load_model
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.voyage import sail


def run_harness(
    target: Path,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    base: bool = False,
    chat: bool = False,
    settings: Sequence[str] = (),
    runs: Path = Path("runs"),
    as_json: bool = False,
) -> None:
    """Prints what the tasks' metrics come to for the tuned model of a run, or of a recipe, which is sailed that far.

    A task is one of the harness's own, or FOLDER/TASK of a folder of task files; `limit` is how many rows of each task
    are asked, `chat` renders prompts by the model's template; `base` asks the base instead.

    Raises:
        UserError: the harness is not installed, there is no such run or task, or the model does not go on with texts.
    """
    harness, ours = _imported()
    folder, names = _where(tasks)
    manager = _manager(harness["tasks"].TaskManager, names, folder)
    run = _run_of(target, settings, runs)
    model = _model(run, ours.HarnessModel, base=base)
    found = harness["evaluator"].simple_evaluate(
        model, tasks=names, limit=limit, task_manager=manager, apply_chat_template=chat, log_samples=False
    )
    results = {task: _metrics(values) for task, values in found["results"].items()}
    if as_json:
        about = {"model": str(run.path), "base": base, "limit": limit, "chat": chat}
        print(json.dumps({**about, "versions": found["versions"], "tasks": results}, ensure_ascii=False, indent=1))
        return
    for line in table(results):
        print(line)


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """A metric a line, with its standard error where the harness has one."""
    lines = [f"{'task':<28}{'metric':<32}{'value':>12}{'± standard error':>20}"]
    for task, metrics in results.items():
        for name, value in metrics.items():
            if "_stderr" in name or not isinstance(value, int | float):
                continue
            metric, _, used = name.partition(",")
            error = metrics.get(f"{metric}_stderr,{used}")
            shown = f"{error:.4f}" if isinstance(error, int | float) else "–"
            lines.append(f"{task:<28}{metric + ('' if used == 'none' else f', {used}'):<32}{value:>12.4f}{shown:>20}")
    return lines


def _metrics(values: dict[str, Any]) -> dict[str, Any]:
    """What was measured, without what only names the task."""
    return {name: value for name, value in values.items() if "," in name}


def _imported() -> tuple[dict[str, Any], Any]:
    try:
        harness = {name: import_module(f"lm_eval.{name}") for name in ("tasks", "evaluator")}
    except ModuleNotFoundError as error:
        raise UserError(
            f"--harness needs lm-evaluation-harness, and {error.name} is not installed",
            hint="pip install 'setsail[harness]'",
        ) from error
    return harness, import_module("setsail.stages.harness_model")


def _where(tasks: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder of task files that the tasks name, if any, and the tasks without it."""
    folders = {str(Path(task).parent) for task in tasks if "/" in task}
    if len(folders) > 1:
        raise UserError(
            f"tasks of one folder at a time, not of {' and '.join(sorted(folders))}",
            place="--harness",
            hint="call it once for each folder",
        )
    return (Path(folders.pop()) if folders else None), [task.rpartition("/")[2] for task in tasks]


def _manager(kind: Any, tasks: Sequence[str], include: Path | None) -> Any:
    """What knows the tasks; the harness's own thousands are looked through only where one of them is asked for."""
    if include is not None:
        manager = kind(include_path=str(include), include_defaults=False)
        if set(tasks) <= set(manager.all_tasks):
            return manager
    manager = kind(include_path=None if include is None else str(include))
    for task in tasks:
        if task not in manager.all_tasks:
            hint = did_you_mean(task, manager.all_tasks)
            hint = hint if hint.startswith("did") else "name the folder of a task of yours: --harness FOLDER/TASK"
            raise UserError(f'there is no task "{task}"', place="--harness", hint=hint)
    return manager


def _run_of(target: Path, settings: Sequence[str], runs: Path) -> Run:
    if (target / RUN_FILE).is_file():
        return Run(target)
    if target.is_file():
        return Run(Path(sail(target, settings, runs, until="export", log=Log())["folder"]))
    raise UserError(f'"{target}" is neither a run\'s folder nor a recipe', hint="setsail runs lists what is here")


def _model(run: Run, kind: Any, *, base: bool) -> Any:
    """In float32 on a processor, where the harness's own backend computes so too; else in the device's format."""
    if kind_of_base(run.artifact("base")) != "decoder":
        raise UserError("this model does not go on with texts, which the harness's requests ask", place=str(run.path))
    prepare_device(0)
    artifact = run.artifact("base" if base else "merged")
    dtype = torch.float32 if device().type == "cpu" else compute_dtype()
    model = load_model(artifact.path, dtype=dtype)
    move(model.eval(), device())
    return kind(model, tokenizer_of(artifact))
