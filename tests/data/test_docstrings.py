"""Docstrings: three styles cut into parts, markup made plain, and questions made by rule, for a package on disk too."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.docstring_pairs import pairs
from setsail.data.docstrings import Field, parse
from setsail.data.introspect import Documented
from setsail.data.markup import inline, to_blocks
from setsail.data.package_source import package_fingerprint, read_package
from setsail.data.row import Drop, Record

NUMPYDOC = """
dot(a, b, out=None)

Dot product of two arrays.

Uses :func:`matmul` for 2-D
arrays.

Parameters
----------
a, b : array_like
    The arguments.
out : ndarray, optional
    Where the result goes.

    .. versionadded:: 1.9

Returns
-------
output : ndarray
    The product.

Raises
------
ValueError
    If shapes differ.

See Also
--------
vdot : Another.

Examples
--------
>>> import numpy as np
>>> np.dot(3, 4)  # doctest: +SKIP
12
"""

GOOGLE = """Fetch a page.

Args:
    url (str): Where it
        lies.
    retries: How often.

Returns:
    bytes: The page.

Raises:
    OSError: No network.

Example:
    >>> fetch("x")
    b''
"""

SPHINX = """Send it.

:param str to: Who gets it.
:param body: What it says.
:type body: bytes
:returns: True when sent.
:rtype: bool
:raises OSError: No network.

Usage::

    send("x")
"""


def test_numpydoc() -> None:
    doc = parse(NUMPYDOC)
    assert doc.signature == "dot(a, b, out=None)" and doc.summary == "Dot product of two arrays."
    assert doc.parameters[0] == Field("a, b", "array_like", "The arguments.")
    assert doc.returns == (Field("output", "ndarray", "The product."),)
    assert doc.raises == (Field("ValueError", "", "If shapes differ."),)
    assert "vdot" not in repr(doc)


def test_google() -> None:
    doc = parse(GOOGLE)
    assert doc.parameters == (Field("url", "str", "Where it\nlies."), Field("retries", "", "How often."))
    assert doc.returns == (Field("", "bytes", "The page."),) and doc.raises == (Field("OSError", "", "No network."),)
    assert doc.examples.strip().startswith(">>> fetch")


def test_sphinx_fields() -> None:
    doc = parse(SPHINX)
    assert doc.parameters == (Field("to", "str", "Who gets it."), Field("body", "bytes", "What it says."))
    assert doc.returns == (Field("", "bool", "True when sent."),) and doc.raises == (
        Field("OSError", "", "No network."),
    )
    assert 'send("x")' in doc.extended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See :func:`~numpy.dot` and :class:`!X`", "See `dot` and `X`"),
        (":ref:`the docs <ufuncs.kwargs>` say", "the docs say"),
        ("``a[0]`` of `b`", "`a[0]` of `b`"),
        ("`Page <https://example.org>`_ and `Other`_", "Page (https://example.org) and Other"),
        (r"as shown [1]_ in \*args", "as shown in *args"),
        (":math:`x^2`\nholds", "$x^2$ holds"),
    ],
)
def test_inline_markup(text: str, expected: str) -> None:
    assert inline(text) == expected


def test_blocks() -> None:
    text = textwrap.dedent("""
        Words that
        wrap::

            code = 1

        .. deprecated:: 1.0
           Gone.

        .. note:: Take
           care.

        - one
          more
        - two

        .. math:: a =
           b

        .. [1] A book.

        ```py
        x  =  1
        ```
        """)
    assert to_blocks(text) == [
        "Words that wrap:",
        "```\ncode = 1\n```",
        "Note: Take care.",
        "- one more\n- two",
        "$$a = b$$",
        "```py\nx  =  1\n```",
    ]


@given(st.text(alphabet="ab`:.>-*=_|[]()! \n", max_size=120))
def test_any_text_gives_blocks_and_parts(text: str) -> None:
    for block in to_blocks(text):
        assert block.strip()
    parse(text)


def test_pairs_of_one_function() -> None:
    entry = Documented(name="numpy.dot", kind="function", signature="(a, b, out=None)", doc=NUMPYDOC)
    made = {item.origin.split("#")[1]: item for item in pairs([entry], "numpy")}
    records = {anchor: item for anchor, item in made.items() if isinstance(item, Record)}
    assert list(made) == ["summary", "parameters", "parameter.a,b", "parameter.out", "returns", "raises", "examples"]
    assert records["summary"].fields["completion"] == "Dot product of two arrays.\n\nUses `matmul` for 2-D arrays."
    assert records["parameter.out"].fields["completion"] == "`out` (ndarray, optional): Where the result goes."
    assert records["raises"].fields["completion"] == "- `ValueError`: If shapes differ."
    assert records["examples"].fields["completion"] == "```python\n>>> import numpy as np\n>>> np.dot(3, 4)\n12\n```"
    assert all("numpy.dot" in str(record.fields["prompt"]) for record in records.values())
    assert {record.group for record in records.values()} == {"dot"}


@pytest.mark.parametrize(
    ("doc", "reason"),
    [
        ("Tiny.", "answer_too_short"),
        ("Refer to `numpy.sum` for full documentation.", "answer_is_elsewhere"),
        ("word " * 300, "answer_too_long"),
    ],
)
def test_answers_that_say_nothing(doc: str, reason: str) -> None:
    (item,) = pairs([Documented(name="p.f", kind="function", signature="()", doc=doc)], "p")
    assert isinstance(item, Drop) and item.reason == reason


def test_long_texts_are_cut_between_blocks_and_never_announce_what_is_missing() -> None:
    doc = "First. " * 60 + "\n\nThen this follows::\n\n" + textwrap.indent("x = 1\n" * 80, "    ") + "\n\nLast."
    (item,) = pairs([Documented(name="p.f", kind="function", signature="()", doc=doc)], "p")
    assert isinstance(item, Record) and str(item.fields["completion"]).endswith("First.")


def _package(folder: Path, source: str) -> None:
    (folder / "tinypack").mkdir()
    (folder / "tinypack" / "__init__.py").write_text(textwrap.dedent(source))


def _read_in_child(folder: Path, expression: str) -> str:
    """What an expression prints in a process that sees the folder's packages, as a user's own environment would."""
    program = f"from setsail.data.package_source import *\nfrom setsail.base.errors import *\n{expression}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(folder), "PATH": ""},
    )
    return done.stdout + done.stderr


def test_a_package_of_ones_own(tmp_path: Path) -> None:
    _package(
        tmp_path,
        '''
        import os
        print("noise on import")
        def greet(name):
            """Greets somebody by name, politely."""
        alias = greet
        def _private():
            """Never shown to anybody at all."""
        class Box:
            """Holds things of every kind."""
            def open(self):
                """Opens the box and shows what is inside."""
        ''',
    )
    shown = _read_in_child(tmp_path, "print([i.origin for i in read_package('docstrings:tinypack').items])")
    names = ["tinypack.Box", "tinypack.Box.open", "tinypack.greet"]
    assert shown.strip() == str([f"docstrings:tinypack:{name}#summary" for name in names])
    first = _read_in_child(tmp_path, "print(package_fingerprint('docstrings:tinypack'))")
    (tmp_path / "tinypack" / "__init__.py").write_text("def other():\n    'Another function altogether.'\n")
    assert first != _read_in_child(tmp_path, "print(package_fingerprint('docstrings:tinypack'))")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ValueError('broken package')", "exit code 1: ValueError: broken package"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import time; time.sleep(60)", "took longer than 2 seconds"),
        ("x = 1", "documents no public function"),
    ],
)
def test_a_package_that_fails_hangs_or_says_nothing(tmp_path: Path, source: str, words: str) -> None:
    _package(tmp_path, source)
    program = "try: read_package('docstrings:tinypack', timeout_seconds=2)\nexcept DataError as error: print(error)"
    assert words in _read_in_child(tmp_path, program)


def test_numpy_has_thousands_of_answers() -> None:
    contents = read_package("docstrings:numpy")
    records = [item for item in contents.items if isinstance(item, Record)]
    assert len({str(record.fields["completion"]) for record in records}) > 3000
    assert len({record.group for record in records}) > 700
    kinds = Counter(record.fields["kind"] for record in records)
    assert set(kinds) == {"summary", "parameter", "parameters", "returns", "raises", "examples", "notes"}
    assert len(package_fingerprint("docstrings:numpy")) == 64


@pytest.mark.slow
def test_a_package_gives_the_same_rows_each_time() -> None:
    assert read_package("docstrings:numpy") == read_package("docstrings:numpy")


def test_a_missing_package_is_refused() -> None:
    with pytest.raises(DataError, match="is not installed"):
        read_package("docstrings:surely_not_a_package_zz")
