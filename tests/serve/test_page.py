"""The chat page in a real browser: type, stream, stop, compare, switch, and be attacked."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from setsail.base.recipe import Serve
from setsail.serve.app import build_app
from setsail.serve.feedback.folder import Account, Folder
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.feedback.record import Answered, Rated, from_json

from .conftest import LEAD, Running, StartServer, listening

PAGE = Path(str(files("setsail.serve"))) / "page"


def test_the_page_asks_nobody_else() -> None:
    """No address of another server stands in any file, and nothing is ever parsed as HTML or run as code."""
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://|//cdn|@import|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text
        )
        assert not re.search(r"\son\w+=|style=|javascript:", text), path.name


def test_every_word_is_said_in_both_languages() -> None:
    text = (PAGE / "words.js").read_text(encoding="utf-8")
    english, chinese = text.split("  en: {")[1].split("  zh: {")
    keys = re.findall(r"^    (\w+): \"(.+)\",$", english, re.M)
    translated = re.findall(r"^    (\w+): \"(.+)\",$", chinese.split("\n  },")[0], re.M)
    assert [key for key, _ in keys] == [key for key, _ in translated] and len(keys) > 40
    for (key, ours), (_, theirs) in zip(keys, translated, strict=True):
        assert sorted(re.findall(r"{\w+}", ours)) == sorted(re.findall(r"{\w+}", theirs)), key
    used = re.findall(r'data-t(?:-label|-placeholder)?="(\w+)"', (PAGE / "index.html").read_text(encoding="utf-8"))
    assert set(used) <= {key for key, _ in keys}


def test_every_file_that_the_page_names_is_served(server: Running) -> None:
    names = {path.name for path in PAGE.iterdir()} - {"index.html"}
    text = "".join(path.read_text(encoding="utf-8") for path in PAGE.iterdir())
    named = set(re.findall(r'(?:"page/|from "\./)([\w.]+)"', text))
    assert named == names
    for name in names:
        response = httpx.get(f"{server.url}/page/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "the chat page's tests need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Any]:
    """Opens the page of a server; at the end nothing may have gone wrong in the browser's console."""
    contexts = []
    problems: list[str] = []

    def start(server: Running, **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", "color_scheme": "light", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "Security" in message.text else None)
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(server.url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def ask(page: Page, answer: str) -> None:
    """Asks so that the echo's answer holds `answer`."""
    page.get_by_label("Your question").fill(answer[::-1])
    page.keyboard.press("Enter")


@pytest.mark.slow
def test_type_and_read(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server())
    expect(page.get_by_role("heading", name="Where shall we sail?")).to_be_visible()
    expect(page.get_by_role("switch")).to_be_hidden()
    page.get_by_label("Your question").fill("eno")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("owt")
    page.keyboard.press("Enter")
    answer = page.locator(".answer")
    expect(answer.locator(".body")).to_contain_text("two")
    expect(answer.locator(".facts")).to_contain_text("tokens/s")
    expect(answer.locator(".facts")).to_contain_text("first after")
    expect(page.get_by_label("Your question")).to_have_value("")
    expect(page.get_by_label("Your question")).to_be_focused()
    with page.expect_request("**/v1/chat/completions") as asked:
        ask(page, "second")
    expect(page.locator(".turn")).to_have_count(2)
    # The second question is sent with what was said before.
    messages = asked.value.post_data_json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == "eno\nowt" and messages[1]["content"].startswith(LEAD)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("heading", name="Where shall we sail?")).to_be_visible()


@pytest.mark.slow
def test_it_streams_and_stops_when_told(start_server: StartServer, open_page: Any) -> None:
    server = start_server(pace=20, rounds=1000)
    page = open_page(server)
    for stop in (lambda: page.keyboard.press("Escape"), lambda: page.get_by_role("button", name="Stop").click()):
        page.get_by_role("button", name="New chat").click()
        ask(page, "words")
        body = page.locator(".answer .body").last
        expect(body).to_contain_text("words")
        early = body.inner_text()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        page.wait_for_function(
            "n => document.querySelector('.turn:last-child .body').innerText.length > n", arg=len(early)
        )
        stop()
        expect(page.locator(".facts").last).to_contain_text("stopped")
        server.wait_until_idle(1.0)
        expect(page.get_by_role("button", name="Send")).to_be_visible()


@pytest.mark.slow
def test_base_and_tuned_answer_side_by_side_at_the_same_time(start_server: StartServer, open_page: Any) -> None:
    server = start_server(pace=20, two=True)
    page = open_page(server)
    page.get_by_role("switch", name="Compare with base").click()
    ask(page, "both of them " * 10)
    answers = page.locator(".answer")
    expect(answers).to_have_count(2)
    expect(page.locator(".answer[aria-busy] .body", has_text="tnat")).to_have_count(2)
    for role in ("tuned", "base"):
        expect(page.locator(f".answer[data-role={role}] .facts")).to_contain_text("tokens/s", timeout=20_000)
    left, right = (answers.nth(index).bounding_box() for index in (0, 1))
    assert left["x"] + left["width"] <= right["x"] and abs(left["y"] - right["y"]) < 2
    page.reload()
    expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")


@pytest.mark.slow
def test_an_answer_is_rated_where_answers_are_kept(start_server: StartServer, open_page: Any, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "answers", AnswersKey(bytes(32)))
    log = AnswerLog(folder, days=30, mask=lambda it: it, log=str)
    server = start_server()
    served = {name: model.served for name, model in server.service.models.items()}
    with listening(build_app(served, Serve(), api_key_sha256=None, log=str, answers=log)) as url:
        page = open_page(replace(server, url=url))
        expect(page.get_by_text("Questions and answers are kept on this server")).to_be_visible()
        ask(page, "answer")
        good, bad = (page.get_by_role("button", name=name) for name in ("A good answer", "A bad answer"))
        for pressed, other in ((good, bad), (bad, good)):
            pressed.click()
            expect(pressed).to_have_attribute("aria-pressed", "true")
            expect(other).to_have_attribute("aria-pressed", "false")
        log.close()
        good.click()
        expect(page.get_by_role("button", name="This could not be kept")).to_be_visible()
        expect(bad).to_have_attribute("aria-pressed", "true")
    records = [from_json(value) for _, value in folder.records(Account())]
    rated = [record for record in records if isinstance(record, Rated)]
    assert [record.rating for record in rated] == ["up", "down"]
    assert {record.id for record in rated} == {record.id for record in records if isinstance(record, Answered)}


@pytest.mark.slow
def test_where_no_answers_are_kept_there_is_nothing_to_rate(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server())
    ask(page, "answer")
    expect(page.get_by_role("button", name="Copy the answer")).to_be_visible()
    expect(page.get_by_role("button", name="A good answer")).to_have_count(0)
    expect(page.get_by_text("Questions and answers are kept")).to_be_hidden()


@pytest.mark.slow
def test_languages(start_server: StartServer, open_page: Any) -> None:
    server = start_server()
    page = open_page(server)
    ask(page, "hello")
    expect(page.locator(".facts")).to_contain_text("tokens")
    page.get_by_role("button", name="切换到中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator(".facts")).to_contain_text("词元/秒")
    expect(page.get_by_role("button", name="新对话")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="今天驶向何方？")).to_be_visible()
    page.get_by_role("button", name="Switch to English").click()
    expect(page.get_by_role("heading", name="Where shall we sail?")).to_be_visible()
    chinese = open_page(server, locale="zh-CN")
    expect(chinese.get_by_placeholder("请输入问题")).to_be_visible()


@pytest.mark.slow
def test_dark_and_light(start_server: StartServer, open_page: Any) -> None:
    server = start_server()
    background = "getComputedStyle(document.body).backgroundColor"
    light = open_page(server)
    paper = light.evaluate(background)
    light.get_by_role("button", name="Light or dark").click()
    night = light.evaluate(background)
    assert paper != night
    light.reload()
    assert light.evaluate(background) == night
    assert open_page(server, color_scheme="dark").evaluate(background) == night


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "[click](javascript:alert(1))",
        "```html\n<svg onload=alert(1)>\n```",
        "**<b onclick=alert(1)>x</b>** `<i>` # <u>",
    ],
)
def test_nothing_that_a_model_writes_becomes_an_element(start_server: StartServer, open_page: Any, attack: str) -> None:
    page = open_page(start_server())
    ask(page, attack)
    expect(page.locator(".facts")).to_contain_text("tokens")
    body = page.locator(".answer .body")
    for piece in re.findall(r"<[^>]+>", attack):
        expect(body).to_contain_text(piece)
    assert page.locator(".body").locator("img, script, a, b, u, i, [onload], [onclick], [onerror]").count() == 0


@pytest.mark.slow
def test_little_markdown(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server())
    ask(page, "\n\nuse **bold** and `code`:\n\n- one\n- two\n\n3. three\n\n```py\nx = a < b\n```\n2 * 3 * 4\n")
    body = page.locator(".answer .body")
    expect(body.locator("strong")).to_have_text("bold")
    expect(body.locator("p code")).to_have_text("code")
    expect(body.locator("ul li")).to_have_text(["one", "two"])
    expect(body.locator("ol")).to_have_attribute("start", "3")
    expect(body.locator("pre code")).to_have_text("x = a < b")
    expect(body).to_contain_text("2 * 3 * 4")
    expect(body.get_by_role("button", name="Copy the code")).to_have_count(1)


@pytest.mark.slow
def test_errors_in_words_and_retry(start_server: StartServer, open_page: Any) -> None:
    server = start_server(pace=20, settings=Serve(slots=1, queue=0))
    page = open_page(server)
    other = open_page(server)
    ask(other, "a long question that keeps the only place busy for a while")
    expect(other.locator(".answer .body")).to_contain_text("tn")
    ask(page, "hi")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server is busy")
    page.get_by_role("button", name="切换到中文").click()
    expect(alert).to_contain_text("服务器繁忙")
    page.get_by_role("button", name="Switch to English").click()
    expect(other.locator(".facts")).to_contain_text("tokens/s", timeout=20_000)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".facts")).to_contain_text("tokens/s", timeout=20_000)
    expect(page.get_by_role("alert")).to_have_count(0)
    server.engine.restart()
    ask(page, "hi")
    expect(page.get_by_role("alert")).to_contain_text("restarted")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("connection was lost")


@pytest.mark.slow
def test_settings_are_used_and_the_key_is_asked_for(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server(key_sha256=hashlib.sha256(b"secret").hexdigest()))
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill("secret")
    page.get_by_label("System prompt").fill("reverse")
    page.get_by_label("Longest answer").fill("44")
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#model")).to_have_text("support")
    ask(page, "hello")
    expect(page.locator(".answer .body")).to_contain_text("esrever")
    expect(page.locator(".facts")).to_contain_text("39 tokens")
    assert page.evaluate("localStorage.getItem('setsail.key')") is None


@pytest.mark.slow
def test_on_a_phone_nothing_sticks_out(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server(two=True), viewport={"width": 360, "height": 640})
    page.get_by_role("switch").click()
    ask(page, "```\n" + "wide " * 60 + "\n```\n" + "x" * 200)
    expect(page.locator(".facts").nth(1)).to_contain_text("tokens", timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('button')].every(b => b.getBoundingClientRect().right <= 360)")
    first, second = (page.locator(".answer").nth(index).bounding_box() for index in (0, 1))
    assert second["y"] >= first["y"] + first["height"]


@pytest.mark.slow
def test_with_the_keyboard_alone(start_server: StartServer, open_page: Any) -> None:
    page = open_page(start_server())
    expect(page.get_by_label("Your question")).to_be_focused()
    page.locator(".skip").focus()
    expect(page.get_by_role("link", name="Skip to the question")).to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="New chat")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_label("Your question")).to_be_focused()
