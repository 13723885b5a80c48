"""Parts taken out: nothing changes where nothing goes, dead parts go first, and what cannot be said is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from models import toy_encoder, toy_model
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from setsail.base.errors import ModelError, RecipeError
from setsail.base.recipe_compress import Prune
from setsail.base.recipe_file import load_recipe
from setsail.compress.prune import TakenOut, layers_of, sizes_to_keep, take_out, watched

DECODERS = ("llama", "qwen2", "qwen3", "mistral")
IDS = torch.arange(3, 43).view(2, 20)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS)[0]


def without(model: Any, **wanted: Any) -> TakenOut:
    """Takes parts out by what they do on IDS. Mutates: the model."""
    layers = layers_of(model)
    sizes = sizes_to_keep(model, layers, Prune(prune="x", **wanted))
    with watched(layers) as seen:
        logits(model)
    return take_out(model, layers, seen, sizes)


def decoder(kind: str, **changes: Any) -> Any:
    model = toy_model.model(kind, **changes)
    model.set_attn_implementation("eager")
    return model


def encoder(kind: str = "bert", **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(toy_encoder.config(kind, **changes)).eval()


def loads_plainly(model: Any, folder: Path) -> Any:
    """The saved model as plain transformers loads it, which says the same."""
    model.save_pretrained(folder)
    auto = AutoModelForCausalLM if hasattr(model, "lm_head") else AutoModelForMaskedLM
    plain, report = auto.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    torch.testing.assert_close(logits(plain.eval()), logits(model), rtol=0, atol=1e-5)
    return plain


@pytest.mark.parametrize("kind", DECODERS)
def test_shares_of_one_change_nothing(kind: str) -> None:
    model = decoder(kind)
    before, config = logits(model), model.config.to_dict()
    taken = without(model, layers=1.0, heads=1.0, feed_forward=1.0)
    assert torch.equal(logits(model), before) and taken.layers == ()
    assert taken.num_parameters[0] == taken.num_parameters[1] == model.num_parameters()
    after = model.config.to_dict()
    assert {**after, "head_dim": None} == {**config, "head_dim": None}


@pytest.mark.parametrize("kind", DECODERS)
def test_what_is_left_loads_in_plain_transformers(kind: str, tmp_path: Path) -> None:
    model = decoder(kind, num_hidden_layers=5)
    taken = without(model, layers=0.6, heads=0.5, feed_forward=64)
    plain = loads_plainly(model, tmp_path)
    assert taken.sizes == {"layers": (5, 3), "heads": (4, 2), "feed_forward": (96, 64)} and len(taken.layers) == 2
    config = plain.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (3, 2, 1)
    assert (config.intermediate_size, config.head_dim) == (64, 32 if kind == "qwen3" else 16)
    assert plain.num_parameters() == taken.num_parameters[1] < taken.num_parameters[0]


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "electra", "distilbert"])
def test_encoders_lose_layers_and_channels(kind: str, tmp_path: Path) -> None:
    model = encoder(kind, num_hidden_layers=4, **({"n_layers": 4} if kind == "distilbert" else {}))
    taken = without(model, layers=2, feed_forward=0.5)
    plain = loads_plainly(model, tmp_path)
    assert taken.sizes == {"layers": (4, 2), "feed_forward": (48, 24)}
    assert len(layers_of(plain)) == 2


def test_a_layer_that_is_unlike_the_others_stays(tmp_path: Path) -> None:
    """ModernBERT's first layer has no norm of its own before attention."""
    model = encoder("modernbert", num_hidden_layers=4)
    with torch.no_grad():
        model.model.layers[0].mlp.Wo.weight.zero_()
        model.model.layers[0].attn.Wo.weight.zero_()
    taken = without(model, layers=3)
    assert taken.influence[0] == pytest.approx(0, abs=1e-6) and 0 not in taken.layers and len(taken.layers) == 1


def test_dead_channels_are_the_ones_that_go_and_nothing_is_lost() -> None:
    for model, out in ((decoder("llama"), "down_proj"), (encoder(), "output.dense")):
        dead = torch.arange(0, 32, 2)
        modules = [
            module
            for name, module in model.named_modules()
            if name.endswith(out) and "attention" not in name and "layer" in name
        ]
        assert len(modules) == 2
        with torch.no_grad():
            for module in modules:
                module.weight[:, dead] = 0
        before, kept = logits(model), [module.weight.clone() for module in modules]
        whole = modules[0].in_features
        without(model, feed_forward=whole - len(dead))
        torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
        alive = [number for number in range(whole) if number not in dead.tolist()]
        for module, weight in zip(modules, kept, strict=True):
            assert torch.equal(module.weight, weight[:, alive])


def test_a_dead_group_of_heads_goes_with_its_key() -> None:
    model = decoder("llama", num_attention_heads=8, num_key_value_heads=4)
    for number, layer in enumerate(model.model.layers):
        with torch.no_grad():
            layer.self_attn.o_proj.weight[:, 16 * number : 16 * (number + 1)] = 0  # two heads of eight channels
    before, keys = logits(model), [layer.self_attn.k_proj.weight.clone() for layer in model.model.layers]
    without(model, heads=0.75)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    for number, (layer, key) in enumerate(zip(model.model.layers, keys, strict=True)):
        kept = [row for row in range(32) if row // 8 != number]
        assert torch.equal(layer.self_attn.k_proj.weight, key[kept])


def test_the_layer_that_changes_its_input_least_goes() -> None:
    model = decoder("llama", num_hidden_layers=4)
    with torch.no_grad():
        for projection in (model.model.layers[2].self_attn.o_proj, model.model.layers[2].mlp.down_proj):
            projection.weight.zero_()
    before = logits(model)
    taken = without(model, layers=3)
    assert taken.layers == (2,) and taken.influence[2] == pytest.approx(0, abs=1e-6)
    assert min(taken.influence[number] for number in (0, 1, 3)) > 1e-4
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


def test_influence_is_measured_over_several_passes() -> None:
    model = decoder("llama")
    layers = layers_of(model)
    with watched(layers) as seen, torch.no_grad():
        model(input_ids=IDS[:1])
        model(input_ids=IDS[1:])
    with watched(layers) as at_once:
        logits(model)
    assert seen.num_tokens == at_once.num_tokens == 40
    assert seen.layers == pytest.approx(at_once.layers, rel=1e-4)
    torch.testing.assert_close(seen.squares["channels", 1], at_once.squares["channels", 1], rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("model", "wanted", "words"),
    [
        (lambda: decoder("llama"), {"heads": 3}, "heads: 3 cannot be kept, since 2 heads share a key"),
        (lambda: decoder("llama"), {"layers": 5}, "layers: 5 cannot be kept, it has 2"),
        (lambda: encoder(), {"heads": 0.5}, "heads follows from their number in config.json"),
        (lambda: encoder("modernbert"), {"feed_forward": 0.5}, "feed-forward matrices are not told apart"),
        (lambda: AutoModel.from_config(toy_encoder.config("albert")), {"layers": 1}, "do not stand in one list"),
    ],
)
def test_what_cannot_be_taken_out_is_refused(model: Any, wanted: dict[str, Any], words: str, monkeypatch) -> None:
    monkeypatch.setitem(toy_encoder.KINDS, "albert", {"num_hidden_groups": 1})
    with pytest.raises(ModelError, match=words):
        without(model(), **wanted)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["base={prune: x, layers: 0}"], "base.layers: nothing would be left"),
        (["base={prune: x, layers: -0.5}"], "base.layers: nothing would be left"),
        (["base={prune: x, heads: 1.5}"], "base.heads: a share is at most 1.0"),
        (["base={prune: x, feed_forward: true}"], "base.feed_forward: should be a share"),
        (["base={prune: x}"], "say what is kept"),
        (["base={prune: x, layer: 2}"], 'unknown key "base.layer"'),
        (["base={prune: x, layers: 2}", "finetune.prefer={beta: 0.1}"], "a base is pruned by texts"),
    ],
)
def test_a_recipe_that_takes_out_too_much_or_nothing(settings: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("data: {source: rows.jsonl}\n")
    with pytest.raises(RecipeError, match=words):
        load_recipe(tmp_path / "small.yaml", settings)


def test_a_recipe_keeps_shares_and_counts_apart(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("data: {source: rows.jsonl}\nbase: {prune: smollm2-135m-instruct, layers: 1.0, heads: 3}\n")
    recipe = load_recipe(path).recipe
    assert isinstance(recipe.base, Prune) and (type(recipe.base.layers), type(recipe.base.heads)) == (float, int)
    assert recipe.base_name == "smollm2-135m-instruct, pruned"
    assert recipe.resolved()["base"] == {"prune": "smollm2-135m-instruct", "layers": 1.0, "heads": 3} | {
        "feed_forward": None,
        "rows": 64,
    }


def test_taking_out_does_not_touch_another_copy() -> None:
    model = decoder("llama")
    other = copy.deepcopy(model)
    before = logits(other)
    without(model, layers=1, heads=2, feed_forward=32)
    assert torch.equal(logits(other), before) and other.config.num_hidden_layers == 2
