"""Reading recipes: strict keys, lines, the nearest name, words of other tools, settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsail.base.errors import RecipeError
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import LoadedRecipe, load_recipe
from setsail.base.yaml_file import dump_yaml

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.yaml"))


def load(tmp_path: Path, text: str, *settings: str) -> LoadedRecipe:
    path = tmp_path / "support.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, settings)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_survives_its_own_resolved_form(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path).recipe
    again = tmp_path / "again.yaml"
    again.write_text(dump_yaml(recipe.resolved()), encoding="utf-8")
    assert load_recipe(again).recipe == recipe


def test_the_name_is_the_files_where_none_is_given(tmp_path: Path) -> None:
    assert load(tmp_path, "data: tickets.csv").recipe.name == "support"


@pytest.mark.parametrize(
    ("text", "message", "place", "hint"),
    [
        ("data: {source: a}\nepoch: 2\n", 'unknown key "epoch"', "support.yaml:2", "known:"),
        ("data: {source: a}\nfinetune:\n  epocs: 2\n", 'unknown key "finetune.epocs"', "support.yaml:3", '"epochs"'),
        ("data: {source: a}\nfinetune: {epochs: -1}\n", "finetune.epochs", "support.yaml:2", ""),
        ("data: {source: a}\nfinetune: {epochs: two}\n", "'two'", "support.yaml:2", ""),
        ("data: {source: a}\nfinetune: {epochs: true}\n", "not true or false", "support.yaml:2", ""),
        ("data: {source: a}\nfinetune: {epochs: .nan}\n", "finetune.epochs", "support.yaml:2", ""),
        ("name: x\n", '"data" is missing', "support.yaml", "data:"),
        ("data: {source: a, split: {validation: 0.5, test: 0.4}}\n", "tenth", "support.yaml:1", ""),
        ("data: {source: a}\nname: ../x\n", "name", "support.yaml:2", ""),
        ("data: {source: a}\nserve: {port: 70000}\n", "serve.port", "support.yaml:2", ""),
        ("data: [\n", "not YAML", "support.yaml:", ""),
        ("- a\n- b\n", "key: value", "support.yaml", "name:"),
        ("data: {source: a}\ndata: {source: b}\n", "twice", "support.yaml:2", "keep one"),
    ],
)
def test_bad_recipes_name_value_place_and_hint(tmp_path: Path, text: str, message: str, place: str, hint: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, text)
    assert message in raised.value.message
    assert place in (raised.value.place or "")
    assert hint in (raised.value.hint or "")
    assert raised.value.exit_code == 2


def test_a_missing_recipe_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "support.yaml").write_text("data: a", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"support\.yaml"):
        load_recipe(tmp_path / "suport.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch CANARY']",
        "data: !!python/object/apply:os.system ['touch CANARY']",
        "a: !custom 1",
    ],
)
def test_tags_are_refused_and_nothing_runs(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError):
        load(tmp_path, text)
    assert not (tmp_path / "CANARY").exists()


def test_a_billion_laughs_are_refused_before_they_grow(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(RecipeError, match="aliases"):
        load(tmp_path, "\n".join(lines))


def test_a_huge_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="bytes"):
        load(tmp_path, "# " + "x" * (1 << 20) + "\ndata: a\n")


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    recipe = load(tmp_path, "data: {source: no}\nfinetune: {learning_rate: 1e-4}\n").recipe
    assert recipe.data.source == "no"
    assert recipe.finetune.learning_rate == 1e-4


@pytest.mark.parametrize(
    "text",
    [
        "model_name_or_path: m\ndataset: d.jsonl\ncutoff_len: 512\nlora_rank: 4\nnum_train_epochs: 3\nval_size: 0.2\n"
        "per_device_train_batch_size: 2\ngradient_accumulation_steps: 4\nlr_scheduler_type: linear\nwarmup_ratio: 0.1\n"
        "output_dir: out/x\nlearning_rate: 0.001\nfinetuning_type: lora\nlora_target: all\n",
        "base_model: m\ndatasets: [{path: d.jsonl, type: alpaca}]\nsequence_len: 512\nlora_r: 4\nnum_epochs: 3\n"
        "val_set_size: 0.2\nmicro_batch_size: 2\ngradient_accumulation_steps: 4\nlr_scheduler: linear\n"
        "warmup_ratio: 0.1\noutput_dir: ./x\nlearning_rate: 0.001\nadapter: lora\nsample_packing: true\n",
        "model_name_or_path: m\ndataset_name: d.jsonl\nmax_length: 512\nlora_r: 4\nnum_train_epochs: 3\n"
        "val_set_size: 0.2\nper_device_train_batch_size: 8\nlr_scheduler_type: linear\n"
        "warmup_ratio: 0.1\noutput_dir: x\nlearning_rate: 0.001\npacking: true\nresume_from_checkpoint: true\n",
    ],
    ids=["llama-factory", "axolotl", "trl"],
)
def test_words_of_other_tools(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, text)
    recipe = loaded.recipe
    assert (recipe.name, recipe.base, recipe.data.source) == ("x", "m", "d.jsonl")
    assert (recipe.finetune.context, recipe.finetune.lora.rank, recipe.finetune.epochs) == (512, 4, 3)
    assert (recipe.finetune.schedule, recipe.finetune.warmup, recipe.finetune.learning_rate) == ("linear", 0.1, 0.001)
    assert recipe.finetune.batch_tokens == 8 * 512
    assert recipe.data.split.validation == 0.2
    assert any("finetune.context" in note for note in loaded.notes)


def test_two_words_for_one_thing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="same thing"):
        load(tmp_path, "data: d\nfinetune: {context: 64}\ncutoff_len: 32\n")


def test_settings_override_and_are_named_as_the_place(tmp_path: Path) -> None:
    text = "data: d\nfinetune: {epochs: 1}\n"
    assert load(tmp_path, text, "finetune.epochs=3", "lora_rank=2").recipe.finetune.lora.rank == 2
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, text, "finetune.epochs=-3")
    assert raised.value.place == "--set finetune.epochs"
    with pytest.raises(RecipeError, match="key=value"):
        load(tmp_path, text, "finetune.epochs")
    with pytest.raises(RecipeError, match="holds a value"):
        load(tmp_path, text, "data.source=d", "data.source.x=1")


def test_a_place_is_the_line_of_the_key(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\ndata:\n  source: d\n").place("data.source") == "support.yaml:3"


PRETRAIN = "task: text\nbase: {new: 17m}\ndata: {source: d.txt}\npretrain: {epochs: 1}\n"


def test_a_recipe_trains_in_one_way_and_says_which(tmp_path: Path) -> None:
    recipe = load(tmp_path, PRETRAIN).recipe
    assert recipe.training is recipe.pretrain
    assert (recipe.training_key, recipe.base_name) == ("pretrain", "new 17m")
    assert load(tmp_path, "data: d.jsonl\n").recipe.training_key == "finetune"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("finetune: {epochs: 1}\n", "say pretrain or finetune, not both"),
        ("task: chat\n", "pretraining learns plain text"),
    ],
)
def test_what_does_not_go_with_pretraining_is_refused(tmp_path: Path, change: str, words: str) -> None:
    kept = [line for line in PRETRAIN.splitlines(keepends=True) if line.split(":")[0] != change.split(":")[0]]
    with pytest.raises(RecipeError, match=words):
        load(tmp_path, "".join(kept) + change)


def test_a_new_model_cannot_be_fine_tuned(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a new model knows nothing yet"):
        load(tmp_path, "base: {new: 17m}\ndata: d.jsonl\n")
    with pytest.raises(RecipeError, match="base"):
        load(tmp_path, PRETRAIN.replace("17m", "large"))


def test_what_is_saved_reads_back_to_the_same_recipe(tmp_path: Path) -> None:
    for text in (PRETRAIN, "data: d.jsonl\n"):
        recipe = load(tmp_path, text).recipe
        assert load(tmp_path, dump_yaml(recipe.resolved())).recipe == recipe


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (
            "{new: 1m, vocabularies: 3}",
            'unknown key "base.vocabularies" (support.yaml:2)\n  hint: did you mean "vocabulary"',
        ),
        ("{new: 1m, vocabulary: 3}", "base.vocabulary: input should be greater than or equal to 300; it is 3"),
        ("[1, 2]", "base: input should be"),
    ],
)
def test_a_base_that_is_a_mapping_is_explained_as_one(tmp_path: Path, base: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, PRETRAIN.replace("{new: 17m}", base))
    assert words in str(caught.value)
    assert "base.str" not in str(caught.value)


def test_words_of_other_tools_go_to_the_way_that_trains(tmp_path: Path) -> None:
    words = "learning_rate: 0.002\noptim: adamw_torch\ncutoff_len: 128\nper_device_train_batch_size: 8\n"
    recipe = load(tmp_path, PRETRAIN + words, "num_train_epochs=3").recipe
    trained = recipe.pretrain
    assert trained is not None
    assert (trained.learning_rate, trained.optimizer, trained.epochs) == (0.002, "adamw", 3)
    assert (trained.context, trained.batch_tokens) == (128, 8 * 128)


KINDS = "task: text\nbase: {{new: 17m, kind: {kind}}}\ndata: {{source: d.txt}}\npretrain: {pretrain}\n"


@pytest.mark.parametrize(
    ("kind", "pretrain"), [("encoder", "{mask: 0.4}"), ("seq2seq", "{spans: {corrupt: 0.3, mean_length: 4}}")]
)
def test_a_new_base_of_another_kind_says_what_it_hides(tmp_path: Path, kind: str, pretrain: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(KINDS.format(kind=kind, pretrain=pretrain), "utf-8")
    recipe = load_recipe(path).recipe
    assert recipe.base_name == f"new 17m {kind}"
    assert Recipe.model_validate(recipe.resolved()) == recipe


@pytest.mark.parametrize(
    ("kind", "pretrain", "words"),
    [
        ("decoder", "{mask: 0.3}", "pretrain.mask is for a base of kind encoder, this one is of kind decoder"),
        ("encoder", "{spans: {}}", "pretrain.spans is for a base of kind seq2seq, this one is of kind encoder"),
        ("encodr", "{}", "encoder"),
        ("encoder", "{mask: 0}", "pretrain.mask"),
        ("seq2seq", "{spans: {mean_length: 0.5}}", "pretrain.spans.mean_length"),
    ],
)
def test_what_a_kind_of_base_cannot_learn_from_is_refused(tmp_path: Path, kind: str, pretrain: str, words: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(KINDS.format(kind=kind, pretrain=pretrain), "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
