"""The comparison of stages: each planted fault is caught, and the stage that has it is the one that is named."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, quants
from models import toy_model

from setsail.base.errors import CheckRefused
from setsail.base.log import Log
from setsail.base.recipe import Lora
from setsail.compress.check import LIMITS, Observation, Probe, Verdict, common_prefix, compare, kl_nats
from setsail.compress.export import export_gguf, verify_single_rounding
from setsail.compress.observe import observe_model
from setsail.models.load import load_gguf_model, load_model
from setsail.models.lora import add_lora, load_adapter, lora_parameters, merge_lora, save_adapter
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer, load

QUESTIONS = ["the cat sat on", "def f(x)", "1 2 3", "你好", "the dog and the mat", "numbers 12 34"]
ANSWERS = ["the mat", "return x", "12 34", "世界", "the cat", "1 2"]
MAX_NEW = 4


class Harbour:
    """A tuned toy model in all its forms, and the trainer's own observation of it."""

    def __init__(self, folder: Path) -> None:
        self.base = toy_model.write_folder(folder / "base")
        self.tokenizer = load(self.base)
        model = load_model(self.base, dtype=torch.float32)
        add_lora(model, Lora(rank=4), seed=1)
        torch.manual_seed(5)
        with torch.no_grad():
            for weight in lora_parameters(model):
                weight.copy_(torch.randn_like(weight) * 0.2)
        self.adapter = folder / "adapter"
        save_adapter(model, self.adapter, base_name="toy", base_sha256="")
        self.probes = tuple(self._probe(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True))
        self.trainer = self.observe(model, "trainer", "same")
        merge_lora(model)
        self.merged = folder / "merged"
        model.to(torch.bfloat16).save_pretrained(self.merged)
        self.tokenizer.save(self.merged)
        self.gguf = folder / "model-q8_0.gguf"
        export_gguf(self.merged, self.gguf, "q8_0", name="toy", licence="none", log=Log(quiet=True))

    def _probe(self, question: str, answer: str) -> Probe:
        messages = ({"role": "system", "content": "be kind"}, {"role": "user", "content": question})
        prompt = render(self.tokenizer, messages, generation_prompt=True)
        whole = render(self.tokenizer, (*messages, {"role": "assistant", "content": answer}))
        ids = tuple(whole.ids[len(prompt.ids) : whole.ids.index(prompt.stop_id, len(prompt.ids)) + 1])
        return Probe("row", messages, "", tuple(prompt.ids), ids, answer, prompt.stop_id)

    def ids(self, messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer | None = None) -> tuple[int, ...]:
        return tuple(render(tokenizer or self.tokenizer, messages, generation_prompt=True).ids)

    def observe(self, model, stage: str, precision: str, render_ids=None, probes=None) -> Observation:
        return observe_model(
            model.float().eval(),
            probes or self.probes,
            stage=stage,
            precision=precision,
            max_new_tokens=MAX_NEW,
            render_ids=render_ids or (lambda probe: self.ids(probe.messages)),
            decode=self.tokenizer.decode,
            nats_of=_nats,
        )

    def verdict(self, *stages: Observation) -> Verdict:
        return compare(self.probes, self.trainer, stages)


@torch.no_grad()
def _nats(model, probe: Probe) -> float:
    ids = torch.tensor([[*probe.prompt_ids, *probe.answer_ids]])
    logprobs = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
    start = len(probe.prompt_ids)
    return -sum(float(logprobs[start + n - 1, token]) for n, token in enumerate(probe.answer_ids))


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    return Harbour(tmp_path_factory.mktemp("harbour"))


def adapter(harbour: Harbour) -> Observation:
    model = load_model(harbour.base, dtype=torch.float32)
    load_adapter(model, harbour.adapter)
    return harbour.observe(model, "adapter", "same")


def merged(harbour: Harbour) -> Observation:
    return harbour.observe(load_model(harbour.merged, dtype=torch.float32), "merged", "bf16")


def file(harbour: Harbour, path: Path, **changes) -> Observation:
    seen = harbour.observe(load_gguf_model(path, torch.float32), "gguf q8_0", "q8_0", **changes)
    return replace(seen, weights_off=tuple(verify_single_rounding(harbour.merged, path)))


def test_a_clean_voyage_passes(harbour: Harbour) -> None:
    verdict = harbour.verdict(adapter(harbour), merged(harbour))
    assert verdict.breach is None, verdict.breach
    assert not verify_single_rounding(harbour.merged, harbour.gguf)
    verdict.refuse_on_breach()


SPACE = toy_model.TEMPLATE.replace("\n'", "\n '")
OTHER = toy_model.TEMPLATE.replace("'<|im_start|>' + m['role'] + '\n'", "'<|im_start|>' + m['role'] + ': '").replace(
    "'<|im_start|>assistant\n'", "'<|im_start|>assistant: '"
)


@pytest.mark.parametrize("template", [SPACE, OTHER], ids=["an extra space", "a wrong template"])
def test_faults_1_and_4_another_template_is_caught_at_the_stage_that_has_it(harbour: Harbour, template: str) -> None:
    assert template != toy_model.TEMPLATE
    other = harbour.tokenizer.with_template(template)
    seen = file(harbour, harbour.gguf, render_ids=lambda probe: harbour.ids(probe.messages, other))
    breach = harbour.verdict(adapter(harbour), merged(harbour), seen).breach
    assert breach is not None and breach.stage == "gguf q8_0"
    assert breach.check == "prompts with other token ids" and "they part at token" in breach.detail


def test_fault_2_a_dropped_stop_token_is_caught(harbour: Harbour) -> None:
    """A server that does not know the stop token runs on to the limit where the trainer stopped."""
    stopping = replace(
        harbour.trainer,
        answers=tuple(replace(a, text_ids=(*a.text_ids[:3], 2), stopped=True) for a in harbour.trainer.answers),
    )
    running_on = Observation("served, 1 at once", "q8_0", tuple(replace(a, stopped=False) for a in stopping.answers))
    verdict = compare(harbour.probes, stopping, [replace(stopping, stage="merged"), running_on])
    assert verdict.breach is not None
    assert (verdict.breach.stage, verdict.breach.check) == ("served, 1 at once", "answers that end alike")


def test_fault_3_a_lost_system_prompt_is_caught(harbour: Harbour) -> None:
    seen = file(harbour, harbour.gguf, render_ids=lambda probe: harbour.ids(probe.messages[1:]))
    breach = harbour.verdict(merged(harbour), seen).breach
    assert breach is not None and (breach.stage, breach.check) == ("gguf q8_0", "prompts with other token ids")


def test_fault_5_truncation_is_caught(harbour: Harbour) -> None:
    seen = file(harbour, harbour.gguf, render_ids=lambda probe: harbour.ids(probe.messages)[-8:])
    breach = harbour.verdict(merged(harbour), replace(seen, stage="served, 1 at once")).breach
    assert breach is not None and breach.stage == "served, 1 at once"
    assert breach.check == "prompts with other token ids"


def test_fault_6_an_adapter_that_was_not_merged_is_caught_at_merged(harbour: Harbour) -> None:
    base = load_model(harbour.base, dtype=torch.float32)
    verdict = harbour.verdict(adapter(harbour), harbour.observe(base, "merged", "bf16"))
    assert verdict.breach is not None
    assert verdict.breach.stage == "merged"
    assert {"greedy text, shared prefix", "bits per byte, difference"} <= {
        finding.check for finding in verdict.findings if not finding.passed
    }
    with pytest.raises(CheckRefused, match='"merged" is not what was trained') as raised:
        verdict.refuse_on_breach()
    assert raised.value.exit_code == 3 and raised.value.place == "stage merged"


def test_fault_7_weights_rounded_to_4_bits_twice_are_caught_in_the_file(harbour: Harbour, tmp_path: Path) -> None:
    """Once on the grid of Q4_1, as the packaged base was published, and once more by the export."""
    rounded = load_model(harbour.merged, dtype=torch.float32)
    with torch.no_grad():
        for weight in (weight for weight in rounded.parameters() if weight.ndim == 2):
            blocks = quants.quantize(weight.numpy(), GGMLQuantizationType.Q4_1)
            weight.copy_(torch.from_numpy(quants.dequantize(blocks, GGMLQuantizationType.Q4_1)))
    rounded.to(torch.bfloat16).save_pretrained(tmp_path / "rounded")
    harbour.tokenizer.save(tmp_path / "rounded")
    for name in ("q8_0", "q4_0"):
        twice = tmp_path / f"twice-{name}.gguf"
        export_gguf(tmp_path / "rounded", twice, name, name="toy", licence="none", log=Log(quiet=True))
        seen = file(harbour, twice)
        breach = harbour.verdict(merged(harbour), replace(seen, stage=f"gguf {name}", precision=name)).breach
        assert breach is not None and (breach.stage, breach.check) == (f"gguf {name}", "tensors off")


def test_one_damaged_tensor_is_caught(harbour: Harbour, tmp_path: Path) -> None:
    data = bytearray(harbour.gguf.read_bytes())
    data[-200] ^= 0x40
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(data)
    assert len(verify_single_rounding(harbour.merged, damaged)) == 1


def test_kl_of_equal_distributions_is_zero_and_of_others_is_the_textbooks() -> None:
    p = {0: math.log(0.5), 1: math.log(0.25), 2: math.log(0.25)}
    q = {0: math.log(0.25), 1: math.log(0.25), 2: math.log(0.5)}
    assert kl_nats(p, p) == pytest.approx(0.0, abs=1e-12)
    assert kl_nats(p, q) == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert kl_nats(p, {7: 0.0}) == math.inf


def test_kl_over_few_tokens_is_a_lower_bound() -> None:
    p = {0: math.log(0.6), 1: math.log(0.3), 2: math.log(0.1)}
    q = {0: math.log(0.3), 1: math.log(0.3), 2: math.log(0.4)}
    assert 0 < kl_nats(p, {0: q[0]}) <= kl_nats(p, q) + 1e-12


def test_common_prefix() -> None:
    assert common_prefix((1, 2, 3), (1, 2, 4)) == 2
    assert common_prefix((1, 2), (1, 2, 4)) == 2
    assert common_prefix((), (1,)) == 0


def test_a_verdict_is_json(harbour: Harbour) -> None:
    raw = json.loads(json.dumps(harbour.verdict(adapter(harbour)).as_json()))
    assert raw["passed"] and raw["first_breach"] is None and len(raw["findings"]) >= 5


def test_the_documents_table_is_the_one_that_is_used() -> None:
    text = (Path(__file__).parents[2] / "docs" / "concepts" / "faithfulness.md").read_text("utf-8")
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in LIMITS and len(cells) == 7 and re.fullmatch(r"[\d.e-]+", cells[1]):
            rows[cells[0]] = tuple(float(cell) for cell in cells[1:])
    assert rows == {name: tuple(asdict(limits).values()) for name, limits in LIMITS.items()}
