"""What is deployed starts our command as our command wants it, behind keys, and without more rights than it needs."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from setsail.base.recipe import Serve
from setsail.cli import app
from setsail.engine.vllm import KEY_VARIABLE, vllm_command

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVER = COMPOSE["services"]["server"]
GPU = YAML(typ="safe").load((DEPLOY / "compose.gpu.yaml").read_text("utf-8"))
RAY = YAML(typ="safe").load((DEPLOY / "ray.yaml").read_text("utf-8"))


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read(DEPLOY / "setsail.service")
    return parser["Service"]


def instruction(word: str) -> str:
    """The last one of its kind in the Dockerfile, its lines joined."""
    return re.findall(rf"^{word} ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)[-1].replace("\\\n", " ")


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What our own command understands of these words. Raises: click's UsageError."""
    command: Any = typer.main.get_command(app)
    for depth, word in enumerate(arguments):
        command = command.commands[word]
        if not hasattr(command, "commands"):
            return command.make_context(word, list(arguments[depth + 1 :])).params
    raise AssertionError("there is no verb")


STARTS = {
    "Dockerfile": json.loads(instruction("CMD")),
    "compose.yaml": SERVER["command"],
    "compose.gpu.yaml": GPU["services"]["server"]["command"],
    "setsail.service": shlex.split(unit()["ExecStart"])[1:],
}


@pytest.mark.parametrize("name", STARTS)
def test_the_server_is_started_as_the_command_wants_it(name: str) -> None:
    assert STARTS[name][0] == "serve"
    said = parsed(STARTS[name])
    assert str(said["keys"]) == "/var/lib/setsail/keys.json" and said["port"] == 8000
    assert [path.name for path in said["runs"]] == ["desk"]
    assert said["host"] == ("127.0.0.1" if name == "setsail.service" else "0.0.0.0")
    with pytest.raises(Exception, match="No such option"):
        parsed([*STARTS[name], "--no-such-option"])


def test_verbs_in_comments_and_guides_are_understood() -> None:
    guides = [
        ROOT / "docs" / "guides" / f"{guide}{end}" for guide in ("deploy", "serve") for end in (".md", ".zh-CN.md")
    ]
    texts = [path.read_text("utf-8") for path in (*DEPLOY.iterdir(), *guides)]
    said = [
        line for text in texts for line in re.findall(r"(?:bin/setsail|run --rm server|^    setsail) (.*)$", text, re.M)
    ]
    found = [
        shlex.split(line, comments=True) for line in said if not line.startswith("RUN") and "--version" not in line
    ]
    assert len(found) >= 8
    for words in found:
        parsed(words)


def test_the_image_runs_as_nobody_in_particular_and_tells_its_health() -> None:
    assert instruction("USER") == "setsail" and json.loads(instruction("ENTRYPOINT")) == ["setsail"]
    assert "-c constraints.txt" in DOCKERFILE
    for source in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    version = re.search(r"^FROM python:(\d+\.\d+)", DOCKERFILE, re.MULTILINE)
    assert version is not None and f'requires-python = ">={version[1]}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    check = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert check == SERVER["healthcheck"]["test"][1:]
    compile(check[2], "healthcheck", "exec")
    assert "http://127.0.0.1:8000/health" in check[2]


def test_the_container_may_do_little() -> None:
    assert SERVER["read_only"] is True and SERVER["cap_drop"] == ["ALL"]
    assert SERVER["security_opt"] == ["no-new-privileges:true"] and "/tmp" in SERVER["tmpfs"]
    assert all(port.startswith("127.0.0.1:") for port in SERVER["ports"])
    volumes = dict(volume.split(":", 1) for volume in SERVER["volumes"])
    assert volumes["../runs"] == "/runs:ro" and volumes["state"] == "/var/lib/setsail" and "state" in COMPOSE["volumes"]
    assert int(SERVER["stop_grace_period"].removesuffix("s")) > Serve().drain_seconds
    assert (DEPLOY / SERVER["build"]["context"] / SERVER["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_vllm_is_started_as_we_start_it_and_nobody_else_reaches_it(tmp_path: Path) -> None:
    vllm, server = GPU["services"]["vllm"], GPU["services"]["server"]
    (tmp_path / "config.json").write_text("{}")
    ours = vllm_command(tmp_path, "desk", context=2048, port=8001)
    theirs = [*vllm["entrypoint"], *vllm["command"]]
    place = ours.index("--host") + 1  # between containers it cannot listen on loopback
    assert [word for i, word in enumerate(ours) if i not in (2, place)] == [
        word for i, word in enumerate(theirs) if i not in (2, place)
    ]
    assert "ports" not in vllm and vllm["volumes"] == ["../runs:/runs:ro"]
    said = parsed(server["command"])
    assert said["engine"] == "http://vllm:8001" and said["key_env"] == KEY_VARIABLE
    secret = "${VLLM_API_KEY:?a key of your own}"
    assert vllm["environment"][KEY_VARIABLE] == server["environment"][KEY_VARIABLE] == secret
    assert server["extends"] == {"file": "compose.yaml", "service": "server"}
    assert server["depends_on"]["vllm"]["condition"] == "service_healthy" and "state" in GPU["volumes"]
    check = vllm["healthcheck"]["test"]
    compile(check[3], "healthcheck", "exec")


def test_rays_vllm_serves_what_ours_asks_for() -> None:
    (application,) = RAY["applications"]
    (config,) = application["args"]["llm_configs"]
    assert config["model_loading_config"]["model_id"] == "desk"
    assert config["engine_kwargs"] == {"max_model_len": 2048, "generation_config": "vllm"}
    address = f"http://{RAY['http_options']['host']}:{RAY['http_options']['port']}"
    assert f"--engine {address}" in (ROOT / "docs" / "guides" / "deploy.md").read_text("utf-8")


def test_the_service_may_do_little() -> None:
    service = unit()
    hardened = (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "RestrictNamespaces",
        "LockPersonality",
    )
    assert all(service[name] == "yes" for name in hardened) and service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == "" and service["User"] == service["Group"] == "setsail"
    assert service["StateDirectory"] == "setsail" and service["StateDirectoryMode"] == "0700"
    assert int(service["TimeoutStopSec"]) > Serve().drain_seconds
    written = [word for word in STARTS["setsail.service"] if word.endswith((".json", ".jsonl"))]
    assert all(path.startswith("/var/lib/setsail/") for path in written)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_reads_the_service(tmp_path: Path) -> None:
    text = (DEPLOY / "setsail.service").read_text("utf-8").replace("/opt/setsail/bin/setsail", sys.executable)
    (tmp_path / "setsail.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "setsail.service")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
