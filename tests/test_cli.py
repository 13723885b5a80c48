"""The command at its edge: exit codes, where output goes, and one clear message for each bad input."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.cli import app, guarded
from setsail.data.row import read_rows


def command(*arguments: object) -> int:
    return guarded(lambda: app([str(argument) for argument in arguments], standalone_mode=False))


GOOD = [
    {"prompt": f"Where does road {n} lead?", "completion": f"Road number {n} leads to harbour {n * 7}."}
    for n in range(40)
]


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def prepare(folder: Path, name: str, content: bytes | None, *settings: str) -> int:
    if content is not None:
        (folder / name).write_bytes(content)
    (folder / "r.yaml").write_text(f"name: r\ndata: {{source: {name}}}\n")
    sets = [part for setting in settings for part in ("--set", setting)]
    return command("prepare", folder / "r.yaml", "--runs", folder / "runs", *sets)


def test_results_go_to_stdout_and_the_rest_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, "d.jsonl", jsonl(GOOD)) == 0
    said = capsys.readouterr()
    assert Path(said.out.strip()).is_dir()
    assert "train" in said.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.jsonl", None, ["absent.jsonl"]),
        ("empty.jsonl", b"", ["empty"]),
        ("blank.csv", b"\n\n", ["blank.csv"]),
        ("broken.json", b'[{"prompt": "a"', ["broken.json"]),
        ("columns.csv", b"colour,size\nred,1\n" * 1, ["colour", "size"]),
        ("few.jsonl", jsonl(GOOD[:5]), ["5", "20"]),
        ("unanswered.jsonl", jsonl([{"prompt": row["prompt"], "completion": ""} for row in GOOD]), ["answer"]),
        ("copies.jsonl", jsonl(GOOD[:1] * 300), ["300", "1"]),
        (
            "latin.jsonl",
            '{"prompt": "caf\xe9 \xff\xfe\xfa", "completion": "x"}\n'.encode("latin-1") * 40,
            ["latin.jsonl"],
        ),
        ("nul.jsonl", b"\0" * 4000, ["nul.jsonl"]),
        ("bomb.jsonl.gz", gzip.compress(b"x" * 60_000_000, mtime=0), ["bomb"]),
        ("image.png", b"\x89PNG\r\n\x1a\n" + bytes(200), ["image.png"]),
        ("truncated.parquet", b"PAR1" + bytes(50), ["truncated.parquet"]),
    ],
)
def test_bad_data_is_one_message_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, words: list[str]
) -> None:
    assert prepare(tmp_path, name, content) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert all(word in said for word in words), said
    assert not list((tmp_path / "runs").rglob("*.parquet"))
    assert not list((tmp_path / "runs").rglob("manifest.json"))


def test_a_folder_without_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    assert prepare(tmp_path, "folder", None) == 2
    assert "folder" in capsys.readouterr().err


def test_one_broken_line_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = jsonl(GOOD).splitlines(keepends=True)
    lines[6] = b'{"prompt": "a", "comp\n'
    assert prepare(tmp_path, "d.jsonl", b"".join(lines)) == 0
    assert "d.jsonl:7" in capsys.readouterr().err
    data = Run(tmp_path / "runs" / "r").artifact("data")
    kept = sum(len(read_rows(data.file(f"{part}.parquet"))) for part in ("train", "validation", "test"))
    assert kept == 39 and data.metrics["dropped"] == {"broken_json": 1}


def test_chinese_in_gb18030_is_read(tmp_path: Path) -> None:
    rows = [{"问题": f"第{n}号港口在哪里？", "回答": f"第{n}号港口在东边{n * 3}里。"} for n in range(40)]
    text = "问题,回答\n" + "".join(f"{row['问题']},{row['回答']}\n" for row in rows)
    settings = ("data.columns={prompt: 问题, completion: 回答}",)
    assert prepare(tmp_path, "d.csv", text.encode("gb18030"), *settings) == 0
    data = Run(tmp_path / "runs" / "r").artifact("data")
    assert any("港口在东边" in row.messages[-1]["content"] for row in read_rows(data.file("train.parquet")))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("smollm2-135m-instrukt", ["smollm2-135m-instruct"]),
        ("./no-such-folder", ["no-such-folder"]),
        ("pickled", ["pytorch_model.bin"]),
        ("cut.gguf", ["cut.gguf"]),
        ("../../etc/passwd", ["passwd"]),
    ],
)
def test_bad_bases(tmp_path: Path, capsys: pytest.CaptureFixture[str], base: str, words: list[str]) -> None:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04canary")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 40)
    (tmp_path / "d.jsonl").write_bytes(jsonl(GOOD))
    (tmp_path / "r.yaml").write_text(f"name: r\nbase: {base}\ndata: d.jsonl\n")
    assert command("finetune", tmp_path / "r.yaml", "--runs", tmp_path / "runs") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and all(word in said for word in words), said


def test_unknown_keys_wrong_verbs_and_missing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("name: r\ndata: d.jsonl\nfinetun: {}\n")
    assert command("run", tmp_path / "r.yaml") == 2
    assert 'did you mean "finetune"?' in capsys.readouterr().err
    assert command("sail") == 2
    assert command("run", "--bogus") == 2
    assert command("serve", tmp_path / "runs" / "none") == 2
    assert "no such run" in capsys.readouterr().err


def test_init_looks_says_and_writes_a_recipe_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Tickets 2024.jsonl").write_bytes(jsonl(GOOD))
    assert command("init", "--data", "Tickets 2024.jsonl") == 0
    said = capsys.readouterr()
    assert said.out.strip() == "tickets-2024.yaml"
    assert "prompt_completion" in said.err and "40 usable" in said.err
    assert command("prepare", "tickets-2024.yaml") == 0
    assert command("init", "--data", "Tickets 2024.jsonl") == 2
    assert "--force" in capsys.readouterr().err
    (tmp_path / "odd.csv").write_text("colour,size\nred,1\n")
    assert command("init", "--data", "odd.csv") == 2
    assert not (tmp_path / "odd.yaml").exists()


def test_runs_and_doctor_speak_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, "d.jsonl", jsonl(GOOD)) == 0
    capsys.readouterr()
    assert command("runs", "--runs", tmp_path / "runs", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["stages"] == ["data"]
    assert command("doctor", "--json") in (0, 2)
    assert {finding["what"] for finding in json.loads(capsys.readouterr().out)} >= {"python", "disk", "torchvision"}


def test_a_port_that_is_taken_and_an_open_door_are_said_before_anything_is_loaded(tmp_path: Path) -> None:
    import socket

    from setsail.base.recipe import Serve
    from setsail.serve.run import refuse_open_door, take_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Exception, match="--port"):
            take_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(Exception, match="API key"):
        refuse_open_door(Serve(host="0.0.0.0"), None)


def test_a_fault_of_ours_is_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError("ours")

    assert guarded(broken) == 1
    assert "fault of setsail" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    assert guarded(stopped) == 130
    assert "same command" in capsys.readouterr().err


def test_help_and_version_answer_without_a_model() -> None:
    for arguments in ([], ["--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-m", "setsail", *arguments], capture_output=True, text=True, check=True)
        assert "etsail" in done.stdout


def test_ctrl_c_in_the_middle_of_a_stage_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "toy.yaml").write_text("data: rows.jsonl\n", encoding="utf-8")
    code = (
        "import sys, setsail.cli, setsail.stages.voyage as voyage\n"
        "def interrupted(*args, **kwargs): raise KeyboardInterrupt\n"
        "voyage.make_data = interrupted\n"
        "sys.argv = ['setsail', 'run', 'toy.yaml']\n"
        "setsail.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "type the same command to go on" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_the_language_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {
        "zh": ("发票在哪里下载？", "在账户页面的第 {} 项里。"),
        "en": ("Where is my invoice?", "Under item {} of your account."),
    }
    for language, (question, answer) in texts.items():
        rows = [{"prompt": f"{question} {number}", "completion": answer.format(number)} for number in range(30)]
        Path(f"{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        assert command("init", "--data", f"{language}.jsonl") == 0
        assert load_recipe(Path(f"{language}.yaml")).recipe.language == language


def test_keys_are_made_shown_and_turned_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ("--file", tmp_path / "keys.json")
    assert command("keys", "add", "shop", "--tokens-per-day", 5000, "--expires", "2100-01-01", *file) == 0
    made = capsys.readouterr()
    assert made.out.strip().startswith("setsail-") and made.out.strip() not in made.err
    assert command("keys", "list", *file) == 0
    shown = capsys.readouterr().out
    assert "shop" in shown and "active until 2100-01-02 00:00Z" in shown and "0 of 5,000 tokens today" in shown
    assert command("keys", "list", "--json", *file) == 0
    [key] = json.loads(capsys.readouterr().out)
    assert key["state"] == "active" and key["tokens_today"] == 0 and "sha256" not in key
    assert command("keys", "revoke", "shop", *file) == 0
    assert command("keys", "add", "zero", "--requests-per-minute", 0, *file) == 2
    assert command("keys", "list", *file) == 0
    assert "revoked since" in capsys.readouterr().out
