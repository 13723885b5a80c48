"""What a recipe may say: frozen pydantic models, one per stage, each key with one owner.

Reading the file, aliases, line numbers and `--set` live in `recipe_file.py`; the keys of `data` in `recipe_data.py`,
those of `tune` in `recipe_tune.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from setsail.base.recipe_compress import Compress, Distil, Prune, refuse_unfit_teacher
from setsail.base.recipe_data import Data, Server
from setsail.base.recipe_export import Export, refuse_unfit_export
from setsail.base.recipe_mix import Mix
from setsail.base.recipe_pairs import WRITING_TASKS, refuse_unfit_damage, refuse_unfit_pairs, with_pair_defaults
from setsail.base.recipe_part import Fraction, Number, Part, PositiveFloat, PositiveInt, Share
from setsail.base.recipe_prefer import PREFERENCE, Prefer
from setsail.base.recipe_search import SEARCH_DEFAULTS, Search
from setsail.base.recipe_serve import Answers
from setsail.base.recipe_tune import Tune

Kind = Literal["decoder", "encoder", "seq2seq"]  # what generates text, what reads it, what reads one to write another


class Lora(Part):
    """Low-rank adapters: `targets` are module-name endings; the default is every linear layer of a block."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Watch(Part):
    """What happens beside training: steps between validations and checkpoints, when to stop early, what to show.

    `patience` validations without a better one end the run; `max_minutes` of training end it after a whole step. Each
    of `samples` is continued at every validation, or filled in where `[MASK]` stands; `tensorboard` writes the curves
    for TensorBoard as well.
    """

    validate_every: PositiveInt | None = None
    save_every: PositiveInt = 10
    patience: PositiveInt | None = None
    max_minutes: PositiveFloat | None = None
    samples: tuple[str, ...] = ()
    tensorboard: bool = False


class Training(Part):
    """How weights are learned. `context` is the longest row in tokens, `batch_tokens` a step's size.

    `parallel` is for several processes (torchrun): `data`, each holds the whole model; `sharded`, each holds a part of
    every weight. `mix` has rows of another source learned among the recipe's own. `distil` names a larger model whose
    student this one is.
    """

    epochs: PositiveFloat = 2.0
    optimizer: Literal["sgd", "adagrad", "adam", "adamw", "muon"] = "adamw"
    learning_rate: PositiveFloat | None = None
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    warmup: Fraction = 0.05
    batch_tokens: PositiveInt = 4096
    context: Annotated[int, Field(ge=16)] = 1024
    clip_norm: PositiveFloat = 1.0
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    parallel: Literal["data", "sharded"] = "data"
    mix: Mix | None = None
    distil: Distil | None = None
    watch: Watch = Watch()


class Finetune(Training):
    """How the base model learns from the rows: all its weights, or low-rank adapters.

    With `prefer` the rows are pairs of answers, of which one is preferred.
    """

    method: Literal["lora", "full"] = "lora"
    lora: Lora = Lora()
    prefer: Prefer | None = None


class Spans(Part):
    """What is cut out of a text for a seq2seq model to write: the share of its tokens, in spans of a mean length.

    Source: Raffel et al. 2020 (arXiv 1910.10683), section 3.3.4: 15 % in spans of 3 tokens.
    """

    corrupt: Share = 0.15
    mean_length: Annotated[float, Number, Field(ge=1.0, allow_inf_nan=False)] = 3.0


class Pretrain(Training):
    """How a model learns the language of the rows; always all weights.

    A decoder predicts each next token. An encoder fills in the share of tokens that `mask` hides, a seq2seq model
    writes the `spans` that are cut out; where they are not given, 0.3 and the defaults of spans hold.
    """

    optimizer: Literal["sgd", "adagrad", "adam", "adamw", "muon"] = "muon"
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "wsd"
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    mask: Share | None = None
    spans: Spans | None = None

    @property
    def method(self) -> Literal["full"]:
        """As in fine-tuning."""
        return "full"

    def refuse_unused_corruption(self, kind: Kind) -> None:
        """Raises: ValueError for a way to corrupt texts that this kind of model does not learn from."""
        for name, value, owner in (("mask", self.mask, "encoder"), ("spans", self.spans, "seq2seq")):
            if value is not None and kind != owner:
                raise ValueError(f"pretrain.{name} is for a base of kind {owner}, this one is of kind {kind}")


# Wettig et al. 2023 (arXiv 2202.08005): more than BERT's 15 % is better, 40 % for large models, less for small ones.
MASK = 0.3


SMALL_READERS = ("lstm", "bag")


class New(Part):
    """A base made new: its size (`17m`), its kind, and how many words a tokenizer trained on the rows may have."""

    new: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[mMbB]$")]
    kind: Kind | Literal["lstm", "bag"] = "decoder"
    vocabulary: Annotated[int, Number, Field(ge=300, le=262144)] = 8192

    @property
    def is_small(self) -> bool:
        """Whether it is a bag of words or an LSTM, which learns a task from its rows alone."""
        return self.kind in SMALL_READERS

    @property
    def family(self) -> Kind:
        """The kind of model whose texts it reads."""
        return "encoder" if self.kind == "lstm" or self.kind == "bag" else self.kind


class Tokenizer(Part):
    """The tokenizer learned from the rows. Without `vocabulary`, its size is chosen by measuring.

    `extend` names a base whose tokenizer gets `add` more tokens instead. `special_tokens` and a chat `template` (a
    packaged one or a file) are put into it; the report compares it with tokenizers in the folders of `compare`.
    """

    kind: Literal["bpe", "unigram", "wordpiece"] = "bpe"
    vocabulary: Annotated[int, Number, Field(ge=300, le=262144)] | None = None
    min_frequency: Annotated[int, Number, Field(ge=0)] = 0
    special_tokens: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    template: str | None = None
    extend: str | None = None
    add: PositiveInt = 500
    compare: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _extends_or_begins(self) -> Tokenizer:
        if self.extend is not None and (self.kind != "bpe" or self.vocabulary is not None):
            raise ValueError("extend adds merges to a byte-level BPE: leave kind and vocabulary out, say add")
        return self


class Evaluate(Part):
    """What is measured on the held-out test; generation is greedy.

    `core_hour` is what an hour of one core costs, in a currency of yours: the ladder says costs in it. `guard` asks a
    battery of general questions before and after, to tell what was forgotten; `refuse` ends the voyage at a drop.
    `prompted` is a chat model on a server that is given the labels and each test text, and is scored too.
    """

    max_rows: PositiveInt = 100
    max_new_tokens: PositiveInt = 160
    samples: PositiveInt = 10
    resamples: Annotated[int, Field(ge=100)] = 2000
    core_hour: PositiveFloat = 0.05
    guard: Literal["tell", "refuse", "off"] = "tell"
    prompted: Server | None = None


class Check(Part):
    """The faithfulness check: how many held-out prompts, and how many tokens of greedy text on each."""

    prompts: Annotated[int, Field(ge=1, le=256)] = 32
    max_new_tokens: PositiveInt = 32


class Serve(Part):
    """The HTTP face. `slots` requests run at once, `queue` more may wait, the rest get 429.

    `cache` is how fine the engine keeps what it has read: f32, f16, or int8 in a third of f32's memory; auto is f32 in
    OpenVINO and f16 in llama.cpp. `keys` is a key file of `setsail keys`, `audit` a file that gets a line for each
    request, and `answers` the folder of the log of answers; all are found from where the server is started. The engine
    `remote` asks the model at `server`, which reads and writes for this one; `vllm` starts a vLLM that is installed
    beside us.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    keys: str | None = None
    audit: str | None = None
    answers: Answers | None = None
    engine: Literal["auto", "openvino", "llamacpp", "torch", "onnx", "remote", "vllm"] = "auto"
    server: Server | None = None
    slots: PositiveInt = 8
    cache: Literal["auto", "f32", "f16", "int8"] = "auto"
    queue: Annotated[int, Field(ge=0)] = 64
    context: PositiveInt | None = None
    max_tokens: PositiveInt = 1024
    deadline_seconds: PositiveFloat = 300.0
    drain_seconds: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _knows_whom_to_ask(self) -> Serve:
        if self.engine == "remote" and self.server is None:
            raise ValueError("engine remote wants a server to ask: serve.server: {url: http://…, model: NAME}")
        return self


# Tasks whose model reads a text whole and says something of it, and all that train such a small encoder.
READING_TASKS = ("classify", "regress", "grade", "tag", "relate", "answer")
ENCODER_TASKS = (*READING_TASKS, "embed", "rank")
WINDOWED_TASKS = ("tag", "answer")  # what they say of a part of a text they can say of the whole
READING_DEFAULTS: dict[str, dict[str, Any]] = {
    "finetune": {"method": "full", "epochs": 6, "batch_tokens": 512, "context": 512, "weight_decay": 0.01},
    "evaluate": {"max_rows": 10_000},
}
# Answers to one question are near copies of one another, and mean different grades.
GRADE_DEFAULTS = {**READING_DEFAULTS, "data": {"near_duplicates": 1.0}}
TASK_DEFAULTS = {**dict.fromkeys(READING_TASKS, READING_DEFAULTS), "grade": GRADE_DEFAULTS, **SEARCH_DEFAULTS}


def _refuse_unfit_for_an_encoder(recipe: Recipe) -> None:
    task = f"task {recipe.task}"
    if recipe.finetune.method == "lora":
        raise ValueError(f"{task} trains all weights of a small encoder: leave finetune.method out, or say full")
    if recipe.evaluate.guard == "refuse":
        raise ValueError(f"the base of {task} answers nobody and has nothing to forget: leave evaluate.guard out")
    if recipe.finetune.mix is not None:
        raise ValueError(f"{task} learns what rows of a general kind do not say: leave finetune.mix out")
    if recipe.template is not None:
        raise ValueError(f"{task} reads texts, not conversations: leave template out")
    if recipe.data.overlong == "split" and recipe.task not in WINDOWED_TASKS:
        raise ValueError("a text in pieces is no longer what its row speaks of: set data.overlong: cut, or drop")
    if recipe.finetune.watch.samples:
        raise ValueError(f"{task} writes nothing: leave finetune.watch.samples out")
    if "search" in recipe.model_fields_set and recipe.task not in SEARCH_DEFAULTS:
        raise ValueError("search is for the tasks embed and rank: leave it out")


def _refuse_unfit_cache(serve: Serve, *, is_encoder: bool) -> None:
    if serve.cache != "auto" and (is_encoder or serve.engine in ("torch", "onnx")):
        who = "an encoder keeps nothing" if is_encoder else f"the engine {serve.engine} keeps what it computes"
        raise ValueError(f"serve.cache is for OpenVINO and llama.cpp, {who}: leave it out")


def _refuse_to_prompt(recipe: Recipe) -> None:
    if recipe.task not in ("classify", "relate"):
        raise ValueError(f"a prompted model says one label, and task {recipe.task} asks for more: leave it out")


def _refuse_unfit_for_preference(recipe: Recipe) -> None:
    if recipe.task != "chat":
        raise ValueError(f"pairs of answers are for task: chat, not for {recipe.task}: leave finetune.prefer out")
    if recipe.data.overlong != "drop":
        raise ValueError("a pair of which an answer is cut is another pair: set data.overlong: drop")
    if isinstance(recipe.base, Prune):
        raise ValueError("a base is pruned by texts, not by pairs: prune in a recipe of its own, and prefer after it")
    if recipe.finetune.mix is not None:
        raise ValueError("pairs of answers are compared, which rows of another kind cannot be: leave finetune.mix out")


def _refuse_unfit_for_a_small_reader(recipe: Recipe) -> None:
    told = [task for task in READING_TASKS if task != "answer"]
    if recipe.task not in told:
        raise ValueError(f"a bag of words or an LSTM learns {', '.join(told)}; task {recipe.task} takes another base")


def _refuse_unfit_for_a_new_base(base: New, tokenizer: Tokenizer) -> None:
    is_other = tokenizer.kind != "bpe" and not base.is_small  # what a small reader says is not measured in bytes
    if is_other or tokenizer.extend is not None:
        raise ValueError(
            "a new base is measured in bits per byte and takes a byte-level tokenizer: tokenizer.kind: bpe"
        )
    if "vocabulary" in base.model_fields_set:
        raise ValueError("say tokenizer.vocabulary or base.vocabulary, not both")


Conversing = Literal["chat", "text"]
Telling = Literal["classify", "regress", "grade", "tag", "relate", "answer"]
Searching = Literal["embed", "rank"]
Writing = Literal["translate", "summarize", "rewrite"]


class Recipe(Part):
    """A whole voyage in one small file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Literal[Conversing, Telling, Searching, Writing] = "chat"
    base: str | New | Prune = "smollm2-135m-instruct"
    tokenizer: Tokenizer | None = None
    template: str | None = None
    seed: int = 1
    language: Literal["en", "zh"] = "en"
    data: Data
    finetune: Finetune = Finetune()
    search: Search = Search()
    pretrain: Pretrain | None = None
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    compress: Compress = Compress()
    check: Check = Check()
    serve: Serve = Serve()
    tune: Tune | None = None

    @model_validator(mode="before")
    @classmethod
    def _an_encoder_begins_otherwise(cls, value: object) -> object:
        """Other defaults for a task that trains a small encoder and is scored without writing anything."""
        if isinstance(value, dict) and value.get("task") in WRITING_TASKS and "pretrain" not in value:
            return with_pair_defaults(value)
        defaults = TASK_DEFAULTS.get(value.get("task", "")) if isinstance(value, dict) else None
        if not isinstance(value, dict) or defaults is None or "pretrain" in value:
            return value
        own = {part: value.get(part) or {} for part in defaults}
        parts = {part: {**defaults[part], **own[part]} for part in own if isinstance(own[part], dict)}
        return {"base": "minilm-l6", **value, **parts}

    @model_validator(mode="after")
    def _trains_in_one_way(self) -> Recipe:
        if self.pretrain is not None and "finetune" in self.model_fields_set:
            raise ValueError("say pretrain or finetune, not both: a pretrained model is the base of another recipe")
        if self.pretrain is not None and self.task != "text":
            raise ValueError("pretraining learns plain text: set task: text")
        if isinstance(self.base, New) and self.base.is_small:
            _refuse_unfit_for_a_small_reader(self)
        elif isinstance(self.base, New) and self.pretrain is None and not self._is_new_for_pairs():
            if self.task in WRITING_TASKS:
                raise ValueError(f"a new base of task {self.task} is of kind seq2seq: {{new: 10m, kind: seq2seq}}")
            raise ValueError("a new model knows nothing yet: write pretrain instead of finetune")
        if isinstance(self.base, New) and self.pretrain is not None:
            self.pretrain.refuse_unused_corruption(self.base.family)
        if self.training.mix is not None and self.task in WRITING_TASKS:
            raise ValueError(f"rows cannot be mixed into task {self.task} yet: leave finetune.mix out")
        if self.training.mix is not None and self.training.mix.task == "chat" and self.task != "chat":
            raise ValueError("conversations are mixed into task chat; into texts, mix texts")
        if self.task in ENCODER_TASKS:
            _refuse_unfit_for_an_encoder(self)
        is_encoder = self.task in ENCODER_TASKS
        _refuse_unfit_cache(self.serve, is_encoder=is_encoder)
        method = self.training.method
        refuse_unfit_export(self.export, self.serve.engine, task=self.task, is_encoder=is_encoder, method=method)
        refuse_unfit_damage(self.task, self.data.damage)
        if self.data.augment.answer and (self.task != "chat" or self.finetune.prefer is not None):
            raise ValueError("data.augment.answer is for conversations with one answer each: task chat without prefer")
        if self.task in WRITING_TASKS:
            is_new, method = isinstance(self.base, New), self.finetune.method
            refuse_unfit_pairs(self.task, self.data.overlong, template=self.template, is_new=is_new, method=method)
        refuse_unfit_teacher(self.task, self.training.distil, prefers=self.finetune.prefer is not None)
        if self.finetune.prefer is not None:
            _refuse_unfit_for_preference(self)
        if self.evaluate.prompted is not None:
            _refuse_to_prompt(self)
        if isinstance(self.base, New) and self.tokenizer is not None:
            _refuse_unfit_for_a_new_base(self.base, self.tokenizer)
        return self

    def _is_new_for_pairs(self) -> bool:
        """Whether the base is made new for pairs of texts, from which a seq2seq model learns its task at once."""
        return self.task in WRITING_TASKS and isinstance(self.base, New) and self.base.kind == "seq2seq"

    @property
    def writes_answers(self) -> bool:
        """Whether rows are questions with answers, as conversations and pairs of texts are."""
        return self.task == "chat" or self.task in WRITING_TASKS

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as a recipe that reads back to this one; what is not used is left out."""
        unused = {"pretrain" if self.pretrain is None else "finetune"}
        unused |= set() if self.task in SEARCH_DEFAULTS else {"search"}
        values = self.model_dump(mode="json", exclude=unused)
        if isinstance(self.base, New) and self.tokenizer is not None:
            del values["base"]["vocabulary"]  # the tokenizer's own holds
        return values

    @property
    def is_reading(self) -> bool:
        """Whether the model reads a text and says something of it, rather than going on with it."""
        return self.task in READING_TASKS

    @property
    def training(self) -> Finetune | Pretrain:
        """The one way in which this recipe trains."""
        return self.pretrain or self.finetune

    @property
    def reads(self) -> str:
        """As what rows are read: the task, or "preference" where pairs of answers are learned from."""
        return self.task if self.finetune.prefer is None else PREFERENCE

    @property
    def training_key(self) -> str:
        """What that way is called in the recipe, and the stage as well."""
        return "finetune" if self.pretrain is None else "pretrain"

    @property
    def base_name(self) -> str:
        """What the base is called."""
        if isinstance(self.base, str):
            return self.base
        if isinstance(self.base, Prune):
            return f"{self.base.prune}, pruned"
        return f"new {self.base.new}" + ("" if self.base.kind == "decoder" else f" {self.base.kind}")
