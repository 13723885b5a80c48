"""Every kernel against plain torch in double precision, forward and backward; then what stands around them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, silu

from setsail.models.kernels import functions as kernels
from setsail.models.kernels import library

LENGTHS = (1, 2, 17, 33, 100, 61, 24, 25)
# One rounding of the result, and sums of many: the norm of the difference over the norm of what is right.
BOUND = {torch.float32: 1e-6, torch.bfloat16: 4e-3}
# Only a machine without a compiler is excused: where there is one, kernels that cannot be made are a failure.
needs_kernels = pytest.mark.skipif(not library.have_compiler(), reason="no C++ compiler here")
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return made.requires_grad_()


def starts_of(lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def assert_same(ours: Callable[..., Tensor], right: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Outputs and all gradients, against `right` computed in double precision."""
    output = ours(*inputs)
    weight = drawn(*output.shape, dtype=output.dtype, seed=9).detach()
    grads = torch.autograd.grad(output, inputs, weight)
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    expected = right(*doubles)
    expected_grads = torch.autograd.grad(expected, doubles, weight.double())
    for mine, theirs in zip((output, *grads), (expected, *expected_grads), strict=True):
        assert mine.dtype == inputs[0].dtype and mine.shape == theirs.shape
        assert (mine.double() - theirs).norm() <= BOUND[inputs[0].dtype] * theirs.norm() + 1e-12


def plain_attention(query: Tensor, key: Tensor, value: Tensor, documents: kernels.Documents) -> Tensor:
    outputs = []
    for start, end in pairwise(documents.starts.tolist()):
        seen = torch.ones(end - start, end - start, dtype=torch.bool)
        if documents.causal:
            seen = seen.tril()
        if documents.causal and documents.window:
            seen = seen.triu(1 - documents.window)
        q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))
        k, v = (x.repeat_interleave(len(q) // len(k), 0) for x in (k, v))
        scores = (q @ k.transpose(1, 2) * documents.scale).masked_fill(~seen, -torch.inf)
        outputs.append((scores.softmax(-1) @ v).transpose(0, 1))
    return torch.cat(outputs)


@needs_kernels
@both_types
@pytest.mark.parametrize(("causal", "window"), [(True, 0), (False, 0), (True, 5), (True, 40)])
@pytest.mark.parametrize(("heads", "groups", "channels"), [(9, 3, 64), (4, 4, 32), (6, 2, 40), (2, 1, 7), (1, 1, 128)])
def test_attention(heads: int, groups: int, channels: int, causal: bool, window: int, dtype: torch.dtype) -> None:
    documents = kernels.Documents(starts_of(LENGTHS), causal, channels**-0.5, window)
    shapes = ((heads, 0), (groups, 1), (groups, 2))
    inputs = [drawn(sum(LENGTHS), count, channels, dtype=dtype, seed=seed) for count, seed in shapes]
    assert_same(lambda q, k, v: kernels.attend(q, k, v, documents), lambda *x: plain_attention(*x, documents), *inputs)


@needs_kernels
@both_types
def test_attention_of_views_with_any_strides(dtype: torch.dtype) -> None:
    documents = kernels.Documents(starts_of((5, 9)), causal=True, scale=0.25)
    joined = drawn(14, 4 * 16, dtype=dtype)
    heads_first = drawn(2, 14, 16, dtype=dtype, seed=3)

    def views(joined: Tensor, heads_first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key = joined.split([32, 32], dim=1)
        return query.unflatten(1, (2, 16)), key.unflatten(1, (2, 16)), heads_first.transpose(0, 1)

    assert_same(
        lambda *x: kernels.attend(*views(*x), documents),
        lambda *x: plain_attention(*views(*x), documents),
        joined,
        heads_first,
    )


@needs_kernels
@both_types
def test_rotary_attention_is_attention_of_turned_queries_and_keys(dtype: torch.dtype) -> None:
    heads, groups, channels = shape = (4, 2, 32)
    documents = kernels.Documents(starts_of((7, 30)), causal=True, scale=channels**-0.5)
    angles = torch.rand(37, channels // 2, generator=torch.Generator().manual_seed(1)) * 6
    cosines, sines = (f(angles).repeat(1, 2).to(dtype) for f in (torch.cos, torch.sin))
    states = drawn(37, (heads + 2 * groups) * channels, dtype=dtype)

    def turned(x: Tensor) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * cosines.double()[:, None] + torch.cat([-high, low], dim=-1) * sines.double()[:, None]

    def plain(states: Tensor) -> Tensor:
        query, key, value = kernels._parts(states, shape)
        return plain_attention(turned(query), turned(key), value, documents).flatten(1)

    bounds = dict(BOUND)
    BOUND[torch.bfloat16] = 1e-2  # the turned states are rounded once more
    try:
        # The kernel takes the states over, so it gets a copy.
        assert_same(lambda x: kernels.rotary_attend(x.clone(), (cosines, sines), shape, documents), plain, states)
    finally:
        BOUND.update(bounds)


@needs_kernels
@both_types
@pytest.mark.parametrize("num_tokens", [1, 64, 131])
def test_rms_norm(num_tokens: int, dtype: torch.dtype) -> None:
    inputs, weight = drawn(num_tokens, 48, dtype=dtype), drawn(48, dtype=dtype, seed=1)
    assert_same(
        lambda x, w: kernels.rms_norm(x, w, 1e-5),
        lambda x, w: x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w,
        inputs,
        weight,
    )


@needs_kernels
@both_types
def test_swiglu(dtype: torch.dtype) -> None:
    inputs = (drawn(37, 50, dtype=dtype).detach() * 10).requires_grad_()  # far into both tails
    assert_same(kernels.swiglu, lambda x: silu(x[:, :25]) * x[:, 25:], inputs)


@needs_kernels
@both_types
def test_cross_entropy_and_its_gradient(dtype: torch.dtype) -> None:
    logits = (drawn(40, 301, dtype=dtype).detach() * 20).requires_grad_()
    targets = torch.randint(301, (40,), generator=torch.Generator().manual_seed(4))
    expected = cross_entropy(logits.double(), targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    ours = logits.detach().clone()
    nats = kernels.cross_entropy_(ours, targets)
    torch.testing.assert_close(nats.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, gradient, rtol=8e-3 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)


@needs_kernels
@both_types
@pytest.mark.parametrize("shape", [(1,), (7, 33), (300, 64)])
def test_gradients_add_up_as_torch_adds_them(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    sums, values = torch.randn(shape), torch.randn(shape).to(dtype)
    expected = sums + values
    kernels.add_(sums, values)
    assert torch.equal(sums, expected)
    columns = torch.randn(shape[::-1]).to(dtype).t() if len(shape) == 2 else values
    expected = sums + columns
    kernels.add_(sums, columns)  # another layout: torch adds
    assert torch.equal(sums, expected)


@needs_kernels
@both_types
def test_what_is_not_a_number_is_never_hidden(dtype: torch.dtype) -> None:
    for poison in (torch.nan, torch.inf):
        logits = torch.zeros(2, 64).to(dtype)
        logits[1, 5] = poison
        nats = kernels.cross_entropy_(logits, torch.tensor([1, 1]))
        assert nats[0].isfinite() and not nats[1].isfinite()
        inputs = torch.ones(3, 64).to(dtype)
        inputs[1, 3] = poison
        assert not kernels.rms_norm(inputs, torch.ones(64).to(dtype), 1e-5)[1].isfinite().all()
        assert not kernels.swiglu(inputs)[1].isfinite().all()
        states = torch.ones(3, 1, 16).to(dtype)
        poisoned = states.clone()
        poisoned[0, 0, 2] = poison
        documents = kernels.Documents(starts_of((2, 1)), causal=True, scale=1.0)
        attended = kernels.attend(states, states, poisoned, documents)
        assert not attended[:2].isfinite().all() and attended[2].isfinite().all()


@needs_kernels
@both_types
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    documents = kernels.Documents(starts_of(LENGTHS), causal=True, scale=0.2)
    inputs = drawn(3, sum(LENGTHS), 4, 32, dtype=dtype)
    weight = drawn(128, dtype=dtype, seed=2)

    def everything() -> list[Tensor]:
        attended = kernels.attend(*inputs, documents)
        normed = kernels.rms_norm(attended.flatten(1), weight, 1e-5)
        gated = kernels.swiglu(normed)
        return [gated, *torch.autograd.grad(gated.sum(), [inputs, weight])]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(4)
        together = everything()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_other_devices_and_formats_are_left_to_torch() -> None:
    assert not kernels.can_compute(torch.zeros(1, dtype=torch.float64))
    assert not kernels.can_compute(torch.zeros(1, device="meta"))


def reason(tmp_path: Path, **environment: str) -> str:
    """What a fresh process with a cache of its own says about kernels."""
    code = "from setsail.models.kernels.library import why_not; print(why_not())"
    settings = {**os.environ, "SETSAIL_CACHE": str(tmp_path / "cache"), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=settings)
    return done.stdout.strip()


def test_a_machine_without_a_compiler_is_told_so(tmp_path: Path) -> None:
    assert reason(tmp_path, PATH=str(tmp_path)) == "no C++ compiler (c++, g++, clang++) on the path"
    assert reason(tmp_path, SETSAIL_KERNELS="off") == "switched off by SETSAIL_KERNELS"


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'fatal error: no disk' >&2\nexit 1\n")
    broken.chmod(0o755)
    assert "fatal error: no disk" in reason(tmp_path, PATH=f"{tmp_path}:/bin:/usr/bin")
    assert not list((tmp_path / "cache" / "kernels").iterdir())


def test_code_from_a_folder_that_others_may_write_to_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert "can be written by others" in reason(tmp_path)


@needs_kernels
def test_a_compilation_is_foretold_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETSAIL_CACHE", str(tmp_path / "cache"))
    assert library.must_compile()
    assert reason(tmp_path) == "None"
    assert not library.must_compile()


@needs_kernels
def test_a_compiler_makes_kernels() -> None:
    assert library.why_not() is None


def test_a_compiler_that_fails_is_asked_once(tmp_path: Path) -> None:
    broken, calls = tmp_path / "c++", tmp_path / "calls"
    broken.write_text(f'#!/bin/sh\necho $1 >> {calls}\n[ "$1" = --version ] && exit 0\nexit 1\n')
    broken.chmod(0o755)
    code = (
        "import torch; from setsail.models.kernels.functions import can_compute; "
        "print([can_compute(torch.zeros(1)) for _ in range(3)])"
    )
    settings = {**os.environ, "SETSAIL_CACHE": str(tmp_path / "cache"), "PATH": f"{tmp_path}:/bin:/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=settings)
    assert done.stdout.strip() == "[False, False, False]"
    assert len(calls.read_text().splitlines()) == 2  # its version, and the one attempt


@needs_kernels
def test_a_damaged_library_is_compiled_again(tmp_path: Path) -> None:
    assert reason(tmp_path) == "None"
    (built,) = (tmp_path / "cache" / "kernels").glob("*.so")
    whole = built.read_bytes()
    built.write_bytes(whole[:1000])
    assert reason(tmp_path) == "None"
    assert len(built.read_bytes()) == len(whole)
