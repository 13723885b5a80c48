"""The command: verbs, exit codes and what is printed at the very edge.

Nothing heavy is imported until a verb needs it, so that `--help` answers at once. Results go to stdout, everything else
to stderr. Exit codes: 0 done, 1 our fault, 2 the user's input, 3 a check refused; 128 + n when signal n ended the work.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from setsail import __version__
from setsail.base.environment import keep_torch_from_tracing, let_threads_sleep
from setsail.base.errors import EXIT_OUR_FAULT, EXIT_USER_INPUT, SetsailError, Stopped

app = typer.Typer(
    help="Setsail (启航): from your own data to a large model that works for you, and proof at every step.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(help="The recipe, a small YAML file.", metavar="RECIPE")]
RunPath = Annotated[Path, typer.Argument(help="A run's folder, for instance runs/support.", metavar="RUN")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key of the recipe: a.b=c.", metavar="KEY=VALUE")
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Where runs are kept.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AnswersFolder = Annotated[
    Path | None, typer.Option("--answers", help="The folder of the log of answers.", metavar="FOLDER")
]
AnswersKey = Annotated[Path | None, typer.Option("--answers-key", help="The file of its key.", metavar="FILE")]
FarModel = Annotated[
    str | None, typer.Option("--model", help="What the server at an address calls the model.", metavar="NAME")
]
FarKey = Annotated[
    str | None, typer.Option("--key-env", help="The variable that holds that server's key.", metavar="VARIABLE")
]
RUNS = Path("runs")


def main() -> None:
    """Runs the command and leaves with its exit code."""
    let_threads_sleep()
    keep_torch_from_tracing()
    arguments = sys.argv[1:] or ["--help"]
    sys.exit(guarded(lambda: app(arguments, standalone_mode=False)))


def guarded(work: Callable[[], Any]) -> int:
    """Does the work; turns every way in which it can end into a message and an exit code."""
    try:
        code = work()
        return code if isinstance(code, int) else 0
    except SetsailError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except typer.Exit as leaving:
        return leaving.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print(f"\n{Stopped()}", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as error:  # the command's edge: told whole, with its traceback, as our fault
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    """A usage error has words of its own; anything else is a fault of ours and shows where it happened."""
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        print(f"usage error: {format_message()}\n  hint: setsail --help lists the verbs", file=sys.stderr)
        return EXIT_USER_INPUT
    traceback.print_exception(error, file=sys.stderr)
    print(f"\nthis is a fault of setsail {__version__}, not of your input; nothing finished was lost", file=sys.stderr)
    return EXIT_OUR_FAULT


def _call(target: str, *args: Any, **kwargs: Any) -> Any:
    """Calls "module:function" of the stages, importing them only now.

    Ctrl-C becomes an error of ours here, since typer would turn it into an exit code without a word.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(f"setsail.stages.{module}"), name)(*args, **kwargs)
    except KeyboardInterrupt as stopped:
        raise Stopped from stopped


def _version(wanted: bool) -> None:
    if wanted:
        print(f"setsail {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipePath,
    settings: Settings = None,
    runs: RunsFolder = RUNS,
    then_serve: Annotated[
        bool, typer.Option("--then-serve", help="Serve the model at the end, where there is a terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The whole voyage: prepare, fine-tune, export, evaluate, check, report; then how to serve."""
    outcome = _call("voyage:sail", recipe, settings or [], runs)
    if as_json:
        print(json.dumps(outcome, ensure_ascii=False, indent=1))
    if then_serve:
        _call("answering.serving:serve_after_voyage", runs / outcome["name"])


def _stage_verb(name: str, words: str) -> None:
    def verb(recipe: RecipePath, settings: Settings = None, runs: RunsFolder = RUNS, as_json: AsJson = False) -> None:
        outcome = _call("voyage:sail", recipe, settings or [], runs, until=name)
        print(json.dumps(outcome, ensure_ascii=False, indent=1) if as_json else outcome["stages"][name])

    app.command(name, help=words)(verb)


for _name, _words in {
    "prepare": "Read, clean, mask, de-duplicate and split the data.",
    "tokenizer": "Learn a tokenizer from the rows, or add tokens to a base's, and report what it does.",
    "pretrain": "Teach a new or an existing model the language of plain text.",
    "finetune": "Teach the base model the rows.",
    "export": "Merge the adapter and write the files that others load.",
    "check": "Prove that what was trained is what is exported and served.",
    "report": "Write report.html and report.md.",
}.items():
    _stage_verb(_name, _words)


@app.command()
def tune(
    recipe: RecipePath,
    settings: Settings = None,
    budget: Annotated[str | None, typer.Option("--budget", help="How long: 30m, 2h, 90s.", metavar="TIME")] = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Search for better settings of a recipe until the time is spent; the same command goes on."""
    outcome = _call("search.tuning:tune", recipe, settings or [], runs, budget=budget)
    print(json.dumps(outcome, ensure_ascii=False, indent=1) if as_json else outcome["recipe"] or outcome["folder"])


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(help="A recipe, or the folder of a run.", metavar="RECIPE|RUN")],
    data: Annotated[
        str | None, typer.Option("--data", help="Rows that a run's model has not seen; all are scored.", metavar="FILE")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="A run whose model is asked the same.", metavar="RUN")
    ] = None,
    harness: Annotated[
        list[str] | None,
        typer.Option("--harness", help="A task of lm-evaluation-harness, or FOLDER/TASK.", metavar="TASK"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many rows of a task.", min=1)] = None,
    base: Annotated[bool, typer.Option("--base", help="Put the tasks to the base model instead.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Render the tasks' prompts by the chat template.")] = False,
    settings: Settings = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Score a model beside cheaper ways: on the held-out test, on later rows, beside another run, or by a harness."""
    where: dict[str, Any] = {"settings": settings or [], "runs": runs}
    if harness:
        asked = {"limit": limit, "base": base, "chat": chat, "as_json": as_json}
        _call("harness:run_harness", target, harness, **where, **asked)
        return
    if data or against or target.is_dir():
        made = _call("scores.evaluating:evaluate_run", target, data=data, against=against, settings=where["settings"])
        print((made.path / "evaluation.json").read_text("utf-8") if as_json else made.path)
        return
    outcome = _call("voyage:sail", target, where["settings"], runs, until="evaluate")
    print(json.dumps(outcome, ensure_ascii=False, indent=1) if as_json else outcome["stages"]["evaluate"])


@app.command()
def compress(
    run: RunPath,
    target: Annotated[
        str | None, typer.Option("--target", help="At most 50MB, or at least 2x the speed.", metavar="TARGET")
    ] = None,
    others: Annotated[
        list[Path] | None, typer.Option("--with", help="Another run on the same data.", metavar="RUN")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold the forms of a model, and smaller models, beside one another on one test, and pick the one that fits."""
    made = _call("export.compressing:compress_run", run, others or [], target)
    print((made / "forms.json").read_text("utf-8") if as_json else made)


@app.command()
def serve(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders; a request chooses by `model`.", metavar="RUN...")],
    host: Annotated[str | None, typer.Option(help="Address to bind; anything but loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="auto, openvino, llamacpp, torch, onnx, vllm; a server's address; probe: measure, then choose; "
            "vllm-command: print what --engine vllm would start.",
            metavar="NAME|URL",
        ),
    ] = None,
    key_env: FarKey = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Whom to let in: a file of setsail keys.", metavar="FILE")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Gets a JSON line for each request.", metavar="FILE")
    ] = None,
    answers: AnswersFolder = None,
    settings: Settings = None,
    ourselves: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Answer over HTTP: an OpenAI-compatible API and a chat page, or what predict says."""
    if engine == "vllm-command":
        print(_call("answering.vllm:command_of_runs", *runs))
        return
    if engine == "probe":
        _call("answering.engine_trial:measure_runs", *runs)
        engine = None
    said = {"host": host, "port": port, "keys": keys, "audit": audit, "answers.folder": answers}
    flags = [f"serve.{name}={json.dumps(str(value))}" for name, value in said.items() if value is not None]
    changed = {"engine": engine, "key_env": key_env, "settings": [*(settings or []), *flags]}
    for_ourselves = {"before_check": ourselves == "before-check", "without_keys": bool(ourselves)}
    raise typer.Exit(_call("answering.serving:serve_run", *runs, **changed, **for_ourselves))


keys_app = typer.Typer(help="The keys of those who may use a server: who, how much, and until when.")
app.add_typer(keys_app, name="keys")
KeysFile = Annotated[Path, typer.Option("--file", help="The key file.", metavar="FILE")]
KEYS = Path("keys.json")
KeyName = Annotated[str, typer.Argument(help="Whose key it is.", metavar="NAME")]


@keys_app.command("add")
def add_key(
    name: KeyName,
    file: KeysFile = KEYS,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", help="More are told 429.", min=1, metavar="N")
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option("--tokens-per-day", help="Read and written, by the day in UTC.", min=1, metavar="N")
    ] = None,
    scopes: Annotated[
        str, typer.Option("--scopes", help="Of generate, predict, embed and metrics.", metavar="LIST")
    ] = "generate,predict,embed",
    expires: Annotated[
        str | None, typer.Option("--expires", help="The last day, or a time with its zone.", metavar="DATE")
    ] = None,
) -> None:
    """Make a key. It is printed once, and kept as a hash only."""
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_day": tokens_per_day}
    _call("answering.keys:add", file, name, **limits, scopes=scopes, expires=expires)


@keys_app.command("list")
def list_keys(file: KeysFile = KEYS, as_json: AsJson = False) -> None:
    """Show whose keys there are, what they may do, and what they used today."""
    _call("answering.keys:show", file, as_json=as_json)


@keys_app.command("revoke")
def revoke_key(name: KeyName, file: KeysFile = KEYS) -> None:
    """Turn a key out; a server that runs refuses it from the next request on."""
    _call("answering.keys:revoke", file, name)


feedback_app = typer.Typer(help="What a served model has answered: review it, and make training rows of it.")
app.add_typer(feedback_app, name="feedback")
AnswerIds = Annotated[list[str], typer.Argument(help="An answer's id, or a part no other has.", metavar="ID...")]
RowsFile = Annotated[Path, typer.Argument(help="Where to write the rows.", metavar="ROWS.jsonl")]


@feedback_app.command("list")
def list_answers(
    run: RunPath,
    answers: AnswersFolder = None,
    answers_key: AnswersKey = None,
    most: Annotated[int, typer.Option("--most", help="How many to show.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what waits for review: what was rated down first, then the newest."""
    _call("feedback.verbs:show", run, answers, answers_key, most=most, as_json=as_json)


@feedback_app.command("review")
def review_answers(run: RunPath, answers: AnswersFolder = None, answers_key: AnswersKey = None) -> None:
    """Go through what waits: approve, correct, reject or skip; each decision is kept at once."""
    _call("feedback.review:review", run, answers, answers_key)


def _verdict_verb(name: str, verdict: str, words: str) -> None:
    def verb(run: RunPath, ids: AnswerIds, answers: AnswersFolder = None, answers_key: AnswersKey = None) -> None:
        _call("feedback.verbs:decide", run, ids, verdict, answers=answers, key_file=answers_key)

    feedback_app.command(name, help=words)(verb)


_verdict_verb("approve", "approved", "Let answers become rows as they are.")
_verdict_verb("reject", "rejected", "Keep answers out of the rows.")


@feedback_app.command("correct")
def correct_answer(
    run: RunPath,
    answer: Annotated[str, typer.Argument(help="An answer's id, or a part no other has.", metavar="ID")],
    text: Annotated[str | None, typer.Argument(help="Without it, the client's own.", metavar="[TEXT]")] = None,
    answers: AnswersFolder = None,
    answers_key: AnswersKey = None,
) -> None:
    """Say what an answer should have been."""
    where = {"answers": answers, "key_file": answers_key}
    _call("feedback.verbs:decide", run, [answer], "corrected", correction=text, **where)


@feedback_app.command("export")
def export_answers(
    run: RunPath,
    out: RowsFile,
    preferences: Annotated[
        bool, typer.Option("--preferences", help="Pairs: the correction is chosen, the answer rejected.")
    ] = False,
    answers: AnswersFolder = None,
    answers_key: AnswersKey = None,
    as_json: AsJson = False,
) -> None:
    """Write what was approved and corrected as training rows."""
    where = {"answers": answers, "key_file": answers_key}
    _call("feedback.verbs:export", run, out, preferences=preferences, as_json=as_json, **where)


@feedback_app.command("forget")
def forget_answers(
    run: RunPath,
    ids: Annotated[list[str] | None, typer.Argument(help="Answers by id.", metavar="[ID]...")] = None,
    person: Annotated[str | None, typer.Option("--person", help="Every answer that holds this text.")] = None,
    answers: AnswersFolder = None,
    answers_key: AnswersKey = None,
) -> None:
    """Take answers out of the log for good."""
    _call("feedback.verbs:forget", run, ids or [], person=person, answers=answers, key_file=answers_key)


@feedback_app.command("new-key")
def new_answers_key(
    file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")],
) -> None:
    """Make the key of a log of answers."""
    _call("feedback.verbs:make_key", file)


@app.command()
def chat(
    run: RunPath,
    base: Annotated[bool, typer.Option("--base", help="Talk to the base model instead.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(help="auto, openvino, llamacpp, torch or vllm; or a server's address.", metavar="NAME|URL"),
    ] = None,
    model: FarModel = None,
    key_env: FarKey = None,
) -> None:
    """Talk to a model in the terminal."""
    _call("answering.chatting:chat_in_terminal", run, base=base, engine=engine, model=model, key_env=key_env)


@app.command()
def predict(
    run: RunPath,
    text: Annotated[str | None, typer.Argument(help="A text.", metavar="[TEXT]")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Texts, one a line; - is stdin.", metavar="FILE")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the probability of every label.")] = False,
    query: Annotated[str | None, typer.Option("--query", help="What the texts are to answer.", metavar="TEXT")] = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", help="A folder for the graph of the relations.", metavar="DIR")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="torch, or onnx where the run exported it.")] = None,
) -> None:
    """Label texts, write for them, give their vectors, or order them for a query: a JSON line each."""
    options = {"file": file, "every": every, "query": query, "graph": graph, "engine": engine}
    _call("answering.predicting:predict_with_run", run, text, **options)


@app.command()
def bundle(
    run: RunPath,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write.", metavar="FOLDER")] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Which exported precision; int8 or the first one.", metavar="NAME")
    ] = None,
) -> None:
    """Put a checked model into one folder that runs with one small engine, and try it there."""
    print(_call("export.bundle:bundle_run", run, out=out, weights=weights))


@app.command("next")
def continue_text(
    run: RunPath,
    text: Annotated[str, typer.Argument(help="What the continuations follow.", metavar="TEXT")],
    words: Annotated[list[str] | None, typer.Argument(help="More words to compare.", metavar="[WORD]...")] = None,
    compare: Annotated[list[str] | None, typer.Option("--compare", help="A word to ask for.", metavar="WORD")] = None,
    top: Annotated[int, typer.Option("--top", help="How many tokens, without --compare.", min=1)] = 10,
    base: Annotated[bool, typer.Option("--base", help="Ask the base model instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how likely continuations of a text are."""
    _call(
        "answering.continuing:say_what_comes_next",
        run,
        text,
        [*(compare or []), *(words or [])],
        top=top,
        base=base,
        as_json=as_json,
    )


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="A file, a folder or any other data.source.", metavar="DATA")],
    as_json: AsJson = False,
) -> None:
    """Look at data and say how it is understood; nothing is written."""
    _call("beginning:look", source, as_json=as_json)


@app.command()
def why(
    recipe: RecipePath,
    row: Annotated[str, typer.Argument(help="A row's id, or its place: tickets.csv:7.", metavar="ROW")],
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say where a row came from, what each step did to it, and which artefacts hold it."""
    _call("rows.tracing:why", recipe, row, runs, as_json=as_json)


@app.command()
def forget(
    recipe: RecipePath,
    rows: Annotated[list[str] | None, typer.Argument(help="Rows by id or place.", metavar="[ROW]...")] = None,
    person: Annotated[str | None, typer.Option("--person", help="Every row that holds this text.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the folders that hold them.")] = False,
    runs: RunsFolder = RUNS,
) -> None:
    """Take rows out of the data for good, and say which artefacts still hold them."""
    _call("rows.tracing:forget", recipe, rows or [], runs, person=person, delete=delete)


@app.command("runs")
def list_runs(runs: RunsFolder = RUNS, as_json: AsJson = False) -> None:
    """List the runs and what has been made of each."""
    _call("listing:list_runs", runs, as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, and what is broken."""
    raise typer.Exit(_call("doctor:examine", as_json=as_json))


@app.command()
def init(
    data: Annotated[
        str, typer.Option("--data", help="A file or folder of yours, or docstrings:PACKAGE.", metavar="DATA")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the recipe.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that is there.")] = False,
) -> None:
    """Look at your data, say what was understood, and write a commented recipe."""
    _call("beginning:begin", data, out=out, force=force)
