"""From a served answer to a training row by the command: rated, reviewed, exported, prepared; and forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.conftest import chat_body, listening, starter

from setsail.base.errors import CheckRefused, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_serve import Answers
from setsail.data.row import read_rows
from setsail.serve.app import build_app
from setsail.serve.feedback.folder import Account, Folder
from setsail.serve.feedback.key import answers_key, new_key
from setsail.serve.feedback.record import Answered, as_json
from setsail.stages.feedback import verbs
from setsail.stages.feedback.log import open_log, settings_of
from setsail.stages.feedback.review import review
from setsail.stages.voyage import sail

RUN = Path("runs/support")
RECIPE = """\
name: support
data: {source: rows.jsonl, near_duplicates: 1.0, split: {validation: 0, test: 0}}
serve: {answers: {folder: answers, key_file: answers.key, days: 30}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run's recipe and a key, in which commands are given."""
    monkeypatch.chdir(tmp_path)
    RUN.mkdir(parents=True)
    Path("support.yaml").write_text(RECIPE, encoding="utf-8")
    (RUN / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    new_key(Path("answers.key"))
    return tmp_path


def folder() -> Folder:
    return Folder(Path("answers"), answers_key("answers.key"))


def keep(*texts: tuple[str, str], days_ago: int = 0, model: str = "support") -> list[str]:
    """Puts questions and answers into the log; their ids."""
    log = folder()
    log.prepare()
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    file = log.new_file(day=day, days=30)
    ids = []
    for number, (asked, said) in enumerate(texts):
        answer_id = f"chatcmpl-{len(log.files())}{number:04}"
        when = f"{day}T10:{number:02}:00+00:00"
        names = {"key": "", "model": model, "lineage": "abc123", "task": "chat", "path": "/v1/chat/completions"}
        values: dict[str, Any] = {
            "asked": {"messages": [{"role": "user", "content": asked}]},
            "said": {"content": said},
        }
        file.add([as_json(Answered(id=answer_id, time=when, **names, **values, finish_reason="stop"))])
        ids.append(answer_id)
    file.close()
    return ids


def says(*lines: str) -> Callable[[str], str]:
    """Somebody at the terminal who types these lines and then leaves."""
    left = iter(lines)

    def ask(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    verbs.show(RUN, None, None, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_from_a_question_to_a_row_that_is_learned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(RUN / "recipe.yaml").recipe
    assert recipe.serve.answers is not None
    log = open_log(recipe.serve.answers, [recipe], Log(quiet=True))
    with starter(here) as start:
        served = {name: model.served for name, model in start().service.models.items()}
        app = build_app(served, recipe.serve, api_key_sha256=None, log=lambda line: None, answers=log)
        with listening(app) as url:
            asked = [f"How do I reset thing {n * 7919}?" for n in range(24)]
            asked[1] = "Mail ann@example.org, please"
            ids = [httpx.post(url + "/v1/chat/completions", json=chat_body(text)).json()["id"] for text in asked]
            sent = {"id": ids[0], "rating": "down", "correction": "按住按钮 ann@example.org", "comment": "用中文回答"}
            assert httpx.post(url + "/v1/feedback", json=sent).status_code == 200
    log.close()
    told = shown(capsys)
    assert told["waiting"] == 24 and told["log"]["num_records"] == 25 and told["log"]["num_damaged"] == 0
    first = told["answers"][0]
    assert first["id"] == ids[0] and first["rated"]["correction"] == "按住按钮 [EMAIL_1]"
    masked = next(each for each in told["answers"] if each["id"] == ids[1])
    assert masked["asked"]["messages"][0]["content"] == "Mail [EMAIL_1], please"
    verbs.decide(RUN, [ids[0]], "corrected")
    verbs.decide(RUN, [ids[1]], "rejected")
    verbs.decide(RUN, ids[2:23], "approved")
    verbs.decide(RUN, [ids[23][-8:]], "corrected", correction="长按十秒钟")
    capsys.readouterr()
    verbs.export(RUN, Path("rows.jsonl"), as_json=True)
    caught = capsys.readouterr()
    assert json.loads(caught.out) == {
        "file": "rows.jsonl",
        "rows": 23,
        "merged": 0,
        "left_out": {"rejected": 1},
        "written_by": {"abc123def456": 21},
    }
    assert "21 of them are the words of the model abc123def456" in caught.err
    assert f"--set finetune.mix.source={here.resolve() / 'rows.jsonl'} --set finetune.mix.share=0.1" in caught.err
    assert Path("rows.jsonl").stat().st_mode & 0o777 == 0o600
    made = Path(sail(Path("support.yaml"), (), Path("runs"), until="prepare", log=Log(quiet=True))["stages"]["prepare"])
    rows = read_rows(made / "train.parquet")
    assert len(rows) == 23
    answers = [row.messages[-1]["content"] for row in rows]
    assert "按住按钮 [EMAIL_1]" in answers and "长按十秒钟" in answers
    capsys.readouterr()
    verbs.export(RUN, Path("pairs.jsonl"), preferences=True)
    assert "review more" in capsys.readouterr().err
    pairs = [json.loads(line) for line in Path("pairs.jsonl").read_text("utf-8").splitlines()]
    assert [pair["chosen"][0]["content"] for pair in pairs] == ["按住按钮 [EMAIL_1]", "长按十秒钟"]


def test_a_review_is_left_and_gone_on_with(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = keep(("A?", "a\x1b[31m"), ("B?", "b"), ("C?", "c"), ("D?", "d"), ("E?", "e"))
    review(RUN, ask=says("a", "x", "c", "  ", "c", "丁", "s"))
    caught = capsys.readouterr()
    assert "[1/5]" in caught.out and "E?" in caught.out and "there is no correction" in caught.err
    assert "1 approved, 1 corrected, 1 skipped; 3 wait" in caught.err
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c \"import sys; open(sys.argv[1], 'a').write(' 改')\"")
    review(RUN, ask=says("s", "r", "e", "q"))
    caught = capsys.readouterr()
    assert "1 skipped, 1 rejected, 1 corrected; 1 wait" in caught.err
    assert "\x1b[31m" not in caught.out and "a\\x1b[31m" in caught.out
    monkeypatch.setenv("EDITOR", "false")
    review(RUN, ask=says("e", "u"))
    caught = capsys.readouterr()
    assert "the editor ended with 1" in caught.err and "nothing decided; 1 wait" in caught.err
    verbs.export(RUN, Path("rows.jsonl"))
    rows = {row["answer_id"]: row for row in map(json.loads, Path("rows.jsonl").read_text("utf-8").splitlines())}
    assert rows[ids[4]]["review"] == "approved" and rows[ids[3]]["messages"][-1]["content"] == "丁"
    assert rows[ids[0]]["messages"][-1]["content"] == "a\x1b[31m 改" and len(rows) == 3
    raw = b"".join(path.read_bytes() for path in Path("answers").iterdir())
    assert "丁".encode() not in raw and b"approved" not in raw and b"chatcmpl" not in raw


def test_what_is_over_goes_with_its_decisions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(("Old?", "old"), days_ago=31)
    recent = keep(("New?", "new"), days_ago=30)
    assert len(folder().files()) == 2
    verbs.decide(RUN, recent, "approved")
    told = shown(capsys)
    assert (told["approved"], told["waiting"]) == (1, 0) and len(folder().files()) == 2


def test_a_person_is_forgotten_in_all_that_was_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = keep(("I am Ann Miller", "Hello Ann"), ("Who?", "ANN  miller"), ("And?", "Nobody"), ("Other", "x"))
    keep(("I am Ann-Miller", "Hello"), model="base")
    verbs.decide(RUN, [ids[0], ids[2]], "approved")
    verbs.decide(RUN, [ids[3]], "corrected", correction="Ask ann miller")
    capsys.readouterr()
    verbs.forget(RUN, [], person="Ann Miller")
    caught = capsys.readouterr()
    assert caught.out == "deleted  4 answers, 6 records with what was said of them\n"
    assert "hold them until they are exported again" in caught.err
    told = shown(capsys)
    assert (told["approved"], told["waiting"], told["of_other_models"], told["without_answer"]) == (1, 0, 0, 0)
    verbs.forget(RUN, [ids[2]])
    assert shown(capsys)["log"]["num_records"] == 0
    for names, person, words in (([], None, "nothing to forget"), ([], " ", "is empty"), (["chatcmpl-x"], None, "no")):
        with pytest.raises(UserError, match=words):
            verbs.forget(RUN, names, person=person)


def test_after_a_new_key_old_answers_are_counted_and_cannot_be_searched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(("Old?", "old"))
    Path("answers.key").rename("old.key")
    verbs.make_key(Path("answers.key"))
    keep(("New?", "new"))
    told = shown(capsys)
    assert told["waiting"] == 1 and told["log"]["num_under_another_key"] == 1
    verbs.show(RUN, None, None, as_json=False)
    assert "1 files need another key" in capsys.readouterr().err
    with pytest.raises(CheckRefused, match="1 files of the log could not be searched"):
        verbs.forget(RUN, [], person="Old?")
    with pytest.raises(CheckRefused):
        verbs.forget(RUN, [], person="Old?", key_file=Path("old.key"))
    assert [path.stat().st_size for path in folder().files()] and len(folder().files()) == 1
    account = Account()
    assert len(list(folder().records(account))) == 1 and account.num_under_another_key == 0


def test_what_cannot_be_done_is_said(here: Path, tmp_path: Path) -> None:
    ids = keep(("A?", "a"), ("B?", "b"))
    with pytest.raises(UserError, match="there is no row to write"):
        verbs.export(RUN, Path("rows.jsonl"))
    verbs.decide(RUN, ids, "approved")
    Path("mine.jsonl").write_text('{"text": "mine"}\n')
    for out, words in (("mine.jsonl", "not exported"), ("rows.csv", "as .jsonl"), ("no/rows.jsonl", "no such folder")):
        with pytest.raises(UserError, match=words):
            verbs.export(RUN, Path(out))
    verbs.export(RUN, Path("rows.jsonl"))
    verbs.export(RUN, Path("rows.jsonl"))
    with pytest.raises(UserError, match="as it is: no answer"):
        verbs.decide(RUN, [*ids, *keep(("Empty?", ""))], "approved")
    with pytest.raises(UserError, match="the client sent none"):
        verbs.decide(RUN, ids[:1], "corrected")
    with pytest.raises(UserError, match='3 answers are called "chatcmpl"'):
        verbs.decide(RUN, ["chatcmpl"], "approved")
    with pytest.raises(UserError, match="there is no such run"):
        verbs.export(Path("runs/none"), Path("rows.jsonl"))
    with pytest.raises(UserError, match="there is no log of answers"):
        verbs.show(RUN, Path("elsewhere"), None, as_json=False)
    (RUN / "recipe.yaml").write_text("name: support\ndata: {source: rows.jsonl}\n")
    with pytest.raises(UserError, match="keeps no answers"):
        verbs.show(RUN, None, None, as_json=False)
    verbs.show(RUN, Path("answers"), Path("answers.key"), as_json=False)


def test_settings_of_the_recipe_and_of_the_command_line() -> None:
    assert settings_of(None, None, None) is None
    said = Answers.model_validate("answers")
    assert (said.folder, said.days, said.redact, said.key_file) == ("answers", 30, True, None)
    over = settings_of(Answers(folder="a", days=7), Path("b"), Path("k"))
    assert over == Answers(folder="b", days=7, key_file="k")
    assert settings_of(None, Path("b"), None) == Answers(folder="b")
    with pytest.raises(UserError, match="a key without a log"):
        settings_of(None, None, Path("k"))


@pytest.fixture
def command(here: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "setsail", "feedback", *arguments]
        return subprocess.run(whole, input=typed, capture_output=True, text=True, check=False)

    yield run


def test_the_command_line(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ids = keep(("A?", "a"), ("B?", "b"))
    assert ids[1][-14:] in command("list", str(RUN)).stdout
    reviewed = command("review", str(RUN), typed="c\n更好\nq\n")
    assert reviewed.returncode == 0 and "1 corrected; 1 wait" in reviewed.stderr
    assert command("approve", str(RUN), ids[0]).stdout == f"approved  {ids[0]}\n"
    done = command("export", str(RUN), "rows.jsonl")
    assert (done.returncode, done.stdout) == (0, "rows.jsonl\n")
    assert command("reject", str(RUN), ids[0]).returncode == 0
    assert command("correct", str(RUN), ids[0], "nein").returncode == 0
    assert command("forget", str(RUN), "--person", "更好").stdout.startswith("deleted  1 answers")
    assert command("new-key", "answers.key").returncode == 2
    wrong = command("list", str(RUN), "--answers-key", "none.key")
    assert wrong.returncode == 2 and "setsail feedback new-key" in wrong.stderr
