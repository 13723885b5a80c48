"""Chat templates: the packaged ones, choosing one, and running one. The only place of the product that runs jinja2.

A template is data from strangers. Invariants: it runs in jinja2's immutable sandbox, sees nothing but what is passed to
it, and ends: its steps, its computing time, the size of each text it builds and of its output are bounded. Whatever it
does wrong is a `ModelError`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache, wraps
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from setsail.base.errors import ModelError, did_you_mean

# Some templates write today's date. Training and serving must write the same one, so it stands still.
TEMPLATE_DATE = date(2026, 1, 1)

_TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")
MAX_SOURCE_CHARACTERS = 256_000
MAX_STEPS = 500_000
MAX_CPU_SECONDS = 3.0
MAX_TEXT_CHARACTERS = 16_000_000
MAX_INTEGER_BITS = 256
# Filters that build texts of any size from a small one; chat templates do not use them.
_REFUSED_FILTERS = (
    *("center", "format", "wordwrap", "indent", "truncate", "filesizeformat"),
    *("pprint", "urlize", "xmlattr", "random", "batch", "slice"),
)


class TemplateRefusal(ModelError):
    """A template that itself said no to a conversation, through `raise_exception`."""


def packaged() -> tuple[str, ...]:
    """The names of the packaged templates."""
    names = (entry.name for entry in resources.files("setsail.tokens").joinpath("templates").iterdir())
    return tuple(sorted(name.removesuffix(".jinja") for name in names if name.endswith(".jinja")))


def read_template(choice: str, *, folder: Path = Path()) -> str:
    """The source of a packaged template by name, or of a template file by path, relative to the folder.

    Raises: ModelError for an unknown name, a missing file or one that is not a template.
    """
    if choice in packaged():
        return resources.files("setsail.tokens").joinpath("templates", f"{choice}.jinja").read_text("utf-8")
    path = folder / choice
    if Path(choice).suffix not in _TEMPLATE_SUFFIXES and len(Path(choice).parts) == 1:
        raise ModelError(f'there is no template "{choice}"', place="template", hint=did_you_mean(choice, packaged()))
    if not path.is_file():
        raise ModelError(f'template file "{path}" does not exist', place="template")
    try:
        source = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the template cannot be read: {error}", place=str(path)) from error
    compile_template(source)
    return source


def run_template(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    named: Mapping[str, str],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **flags: bool,
) -> str:
    """What the template writes for the messages. `named` holds bos_token and the like; a missing one is empty.

    Raises: ModelError where the template is broken, hostile or endless; TemplateRefusal where it says no.
    """
    template, meter = compile_template(source)
    values: dict[str, Any] = {"bos_token": "", "eos_token": "", "unk_token": "", "pad_token": "", **named}
    values |= {"messages": [dict(message) for message in messages], "tools": tools, "documents": None, **flags}
    meter.restart()
    written: list[str] = []
    num_written = 0
    try:
        for piece in template.generate(values):
            num_written += len(piece)
            if num_written > MAX_TEXT_CHARACTERS:
                raise SecurityError(f"it writes more than {MAX_TEXT_CHARACTERS:,} characters")
            written.append(piece)
    except _FAULTS_OF_TEMPLATES as error:
        raise _template_error(error) from error
    return "".join(written)


@lru_cache(maxsize=16)
def compile_template(source: str) -> tuple[jinja2.Template, Meter]:
    """The template ready to run, with the meter that bounds it."""
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise ModelError(f"the chat template has {len(source):,} characters, more than {MAX_SOURCE_CHARACTERS:,}")
    sandbox = _Sandbox()
    sandbox.meter.restart()  # jinja2 computes constants while it compiles
    try:
        return sandbox.from_string(source), sandbox.meter
    except _FAULTS_OF_TEMPLATES as error:
        raise _template_error(error) from error


# A template can run into any of Python's own errors: 1/0, a missing key, endless recursion, text plus number.
_FAULTS_OF_TEMPLATES = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    MemoryError,
    SyntaxError,
)


def _template_error(error: Exception) -> ModelError:
    line = getattr(error, "lineno", None)
    said = str(error) or type(error).__name__
    return ModelError(
        f"the chat template does not work: {said}",
        place=f"chat template, line {line}" if line else "chat template",
        hint=f"choose a packaged one with `template:` ({', '.join(packaged())})",
    )


class Meter:
    """Counts what a running template does, in each thread apart, and stops one that does too much."""

    def __init__(self) -> None:
        self._run = threading.local()

    def restart(self) -> None:
        """Begin a new run."""
        self._run.steps = 0
        self._run.deadline_seconds = time.thread_time() + MAX_CPU_SECONDS

    def charge(self, num_steps: int) -> None:
        """Account for steps. Raises: SecurityError beyond the bound."""
        self._run.steps += num_steps
        if self._run.steps > MAX_STEPS:
            raise SecurityError(f"it takes more than {MAX_STEPS:,} steps")
        if time.thread_time() > self._run.deadline_seconds:  # for what steps do not count, such as `x in list`
            raise SecurityError(f"it computes for more than {MAX_CPU_SECONDS:g} seconds")

    def value(self, value: Any) -> Any:
        """The value, paid for by its whole size, unless it is bigger than any conversation needs."""
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                self.charge(len(item) // 64)
            elif isinstance(item, range):
                self.charge(len(item))
            elif isinstance(item, list | tuple | dict):
                self.charge(len(item))
                stack.extend(item.values() if isinstance(item, dict) else item)
        return value

    def loop(self, values: Iterable[Any]) -> Iterator[Any]:
        """The values of a loop, each one a step."""
        for value in values:
            self.charge(1)
            yield value

    def filter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of jinja2 whose input and output are paid for."""

        @wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            self.value(args)
            return self.value(function(*args, **kwargs))

        return metered


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with Hugging Face's conventions and a meter on loops, calls and growing texts."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        # Not optimised: constant folding would compute `"x" * 10**9` before anything could be counted.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
        )
        self.meter = Meter()
        kept = {name: function for name, function in self.filters.items() if name not in _REFUSED_FILTERS}
        kept |= {"tojson": _to_json, "replace": _replace, "join": _join}
        self.filters = {name: self.meter.filter(function) for name, function in kept.items()}
        self.filters["metered_loop"] = self.meter.loop
        self.filters["metered"] = self.finalize = self.meter.value
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            assert isinstance(loop.iter, nodes.Expr)
            loop.iter = self._filtered(loop.iter, "metered_loop")
        for concat in list(tree.find_all(nodes.Concat)):
            concat.nodes = [self._filtered(node, "metered") for node in concat.nodes]
        return tree

    def _filtered(self, node: nodes.Expr, name: str) -> nodes.Filter:
        wrapped = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        wrapped.set_environment(self)
        return wrapped

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        # jinja2 gives an undefined here, which prints as nothing; an attack must be loud.
        raise SecurityError(f"it reaches for the attribute {attribute!r} of a {type(obj).__name__}")

    def wrap_str_format(self, value: Any) -> Any:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("it calls format of a text")

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.meter.charge(1)
        self.meter.value(args)
        receiver, method = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(receiver, str) and method in _REFUSED_METHODS:
            raise SecurityError(f"it calls {method} of a text")
        if isinstance(receiver, str) and method == "join" and args:
            return self.meter.value(_join(args[0], receiver))
        if isinstance(receiver, str) and method == "replace" and len(args) == 2:
            return self.meter.value(_replace(receiver, *args))
        return self.meter.value(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.meter.charge(1)
        if operator in ("*", "**") and not _is_small_product(operator, left, right):
            raise SecurityError(f"its operator {operator} makes something huge")
        if operator == "%" and isinstance(left, str):
            raise SecurityError("it formats a text with %")
        return self.meter.value(super().call_binop(context, operator, left, right))


# Methods of a text that build one of any size from a small one.
_REFUSED_METHODS = ("center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map", "translate")


def _is_small_product(operator: str, left: Any, right: Any) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return True
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 0) if operator == "**" else left.bit_length() + right.bit_length()
        return bits <= MAX_INTEGER_BITS
    sequence, times = (right, left) if isinstance(left, int) else (left, right)
    return hasattr(sequence, "__len__") and isinstance(times, int) and len(sequence) * times <= MAX_TEXT_CHARACTERS


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    """`replace`, which sees before it begins how long the result will be."""
    text, old, new = str(text), str(old), str(new)
    num_found = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    if num_found * len(new) > MAX_TEXT_CHARACTERS:
        raise SecurityError("it builds a huge text by replacing")
    return text.replace(old, new, num_found)


def _join(values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    """`join`, which sees before it begins how long the result will be."""
    parts = [str(value if attribute is None else value[attribute]) for value in values]
    if sum(map(len, parts)) + len(separator) * len(parts) > MAX_TEXT_CHARACTERS:
        raise SecurityError("it builds a huge text by joining")
    return separator.join(parts)


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}`, which some templates put around answers: here it is only its content."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (jinja2's own declaration)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: object) -> None:
    raise TemplateRefusal(f"the chat template refuses this conversation: {message}", place="chat template")


def _strftime_now(pattern: str) -> str:
    return TEMPLATE_DATE.strftime(pattern)


def _to_json(value: object, indent: int | None = None, ensure_ascii: bool = False, **options: Any) -> str:
    """JSON as chat templates expect it: not escaped for HTML."""
    if isinstance(indent, int) and indent > 16:
        raise SecurityError("it indents JSON by more than 16")
    known: dict[str, Callable[[Any], Any]] = {"sort_keys": bool, "separators": tuple}
    chosen = {name: read(options[name]) for name, read in known.items() if options.get(name) is not None}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **chosen)
