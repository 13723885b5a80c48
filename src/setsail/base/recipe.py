"""What a recipe may say: frozen pydantic models, one per stage, each key with one owner.

Reading the file, aliases, line numbers and `--set` live in `recipe_file.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _not_a_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


_Number = BeforeValidator(_not_a_truth_value)
Fraction = Annotated[float, _Number, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, _Number, Field(ge=1)]
PositiveFloat = Annotated[float, _Number, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, _Number, Field(gt=0.0, lt=1.0)]
Kind = Literal["decoder", "encoder", "seq2seq"]  # what generates text, what reads it, what reads one to write another


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Split(Part):
    """How rows are shared out; `by` names the column whose values must not stand in two parts.

    `time` names a column of dates: the newest rows are the test, those before them validation. `stratify` names a
    column whose values stand in all parts alike.
    """

    validation: Fraction = 0.1
    test: Fraction = 0.1
    by: str | None = None
    time: str | None = None
    stratify: str | None = None

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Split:
        if self.validation + self.test >= 0.9:
            raise ValueError("validation and test together must leave at least a tenth of the rows to train on")
        if self.time is not None and self.stratify is not None:
            raise ValueError("rows are split by time or stratified, not both: leave one of the two out")
        return self


class Server(Part):
    """A server that speaks OpenAI's chat API, setsail's own among them; its key is in a variable by its name."""

    url: str
    model: str
    key_env: str | None = None

    @model_validator(mode="after")
    def _is_an_address(self) -> Server:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("url should begin with http:// or https://")
        return self


class Augment(Part):
    """Rows made from training rows. A share of 0 leaves a way out; each way that is wanted makes `copies` of a row.

    `swap`, `delete`, `typo` and `synonym` are shares of the words; `lexicon` is a file of words that mean the same, a
    line each group. `paraphrase` and `back_translate` are shares of the rows, written anew by the model at `server`.
    """

    swap: Fraction = 0.0
    delete: Fraction = 0.0
    typo: Fraction = 0.0
    synonym: Fraction = 0.0
    lexicon: str | None = None
    paraphrase: Annotated[float, _Number, Field(ge=0.0, le=1.0)] = 0.0
    back_translate: Annotated[float, _Number, Field(ge=0.0, le=1.0)] = 0.0
    server: Server | None = None
    copies: Annotated[int, _Number, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Augment:
        if (self.synonym > 0) != (self.lexicon is not None):
            raise ValueError("synonym and lexicon, a file of words that mean the same, go together")
        if (self.paraphrase > 0 or self.back_translate > 0) != (self.server is not None):
            raise ValueError("paraphrase or back_translate, and server, the model that writes, go together")
        return self


class Redact(Part):
    """What is done with personal data and secrets; one word in its place is the mode.

    `entities` are `standard` (all kinds but names), `all`, or a list of kinds; `keep` are values that stay, or patterns
    with `*`. Pseudonyms need a key: a file of at least 32 bytes, or an environment variable by its name.
    """

    mode: Literal["mask", "pseudonymise", "drop", "none"] = "mask"
    entities: str | tuple[str, ...] = "standard"
    keep: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    key_file: str | None = None
    key_env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_mode(cls, value: object) -> object:
        return {"mode": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _pseudonyms_have_a_key(self) -> Redact:
        num_keys = (self.key_file is not None) + (self.key_env is not None)
        if num_keys != (self.mode == "pseudonymise"):
            raise ValueError("pseudonymise needs one of key_file and key_env, and the other modes none")
        return self


class Vault(Part):
    """Keeps what was masked, encrypted beside the rows: under a key file, or a passphrase in a variable by its name."""

    key_file: str | None = None
    key_env: str | None = None

    @model_validator(mode="after")
    def _has_a_key(self) -> Vault:
        if (self.key_file is None) == (self.key_env is None):
            raise ValueError("a vault needs one of key_file and key_env")
        return self


class Data(Part):
    """Where rows come from and what is done to them before anything is trained.

    `keep_out` names files of texts, such as a benchmark's questions, that no row may hold; `forget` a file of row ids.
    """

    source: str
    format: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_completion", "squad", "text_label", "text"] = (
        "auto"
    )
    columns: dict[str, str] = {}
    encoding: str = "auto"
    system: str | None = None
    clean: str | tuple[str | Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=1)], ...] = "standard"
    redact: Redact = Redact()
    vault: Vault | None = None
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    overlong: Literal["drop", "split", "cut"] = "drop"
    max_rows: PositiveInt | None = None
    keep_out: tuple[str, ...] = ()
    forget: str | None = None
    augment: Augment = Augment()
    split: Split = Split()


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
    every weight.
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
    watch: Watch = Watch()


class Finetune(Training):
    """How the base model learns from the rows: all its weights, or low-rank adapters."""

    method: Literal["lora", "full"] = "lora"
    lora: Lora = Lora()


class Spans(Part):
    """What is cut out of a text for a seq2seq model to write: the share of its tokens, in spans of a mean length.

    Source: Raffel et al. 2020 (arXiv 1910.10683), section 3.3.4: 15 % in spans of 3 tokens.
    """

    corrupt: Share = 0.15
    mean_length: Annotated[float, _Number, Field(ge=1.0, allow_inf_nan=False)] = 3.0


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


class New(Part):
    """A base made new: its size (`17m`), its kind, and how many words a tokenizer trained on the rows may have."""

    new: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[mMbB]$")]
    kind: Kind = "decoder"
    vocabulary: Annotated[int, _Number, Field(ge=300, le=262144)] = 8192


class Tokenizer(Part):
    """The tokenizer learned from the rows. Without `vocabulary`, its size is chosen by measuring.

    `extend` names a base whose tokenizer gets `add` more tokens instead. `special_tokens` and a chat `template` (a
    packaged one or a file) are put into it; the report compares it with tokenizers in the folders of `compare`.
    """

    kind: Literal["bpe", "unigram", "wordpiece"] = "bpe"
    vocabulary: Annotated[int, _Number, Field(ge=300, le=262144)] | None = None
    min_frequency: Annotated[int, _Number, Field(ge=0)] = 0
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

    `core_hour` is what an hour of one core costs, in a currency of yours: the ladder says costs in it.
    """

    max_rows: PositiveInt = 100
    max_new_tokens: PositiveInt = 160
    samples: PositiveInt = 10
    resamples: Annotated[int, Field(ge=100)] = 2000
    core_hour: PositiveFloat = 0.05


class Export(Part):
    """The files that leave: `format: gguf` writes one GGUF for each entry of `weights`; the first is served."""

    format: Literal["gguf", "safetensors"] = "gguf"
    weights: tuple[Literal["q8_0", "q4_0", "bf16", "f16"], ...] = ("q8_0",)

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("weights"), str):
            return {**value, "weights": [value["weights"]]}
        return value


class Check(Part):
    """The faithfulness check: how many held-out prompts, and how many tokens of greedy text on each."""

    prompts: Annotated[int, Field(ge=1, le=256)] = 32
    max_new_tokens: PositiveInt = 32


class Serve(Part):
    """The HTTP face. `slots` requests run at once, `queue` more may wait, the rest get 429."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    engine: Literal["auto", "openvino", "llamacpp", "torch"] = "auto"
    slots: PositiveInt = 8
    queue: Annotated[int, Field(ge=0)] = 64
    context: PositiveInt | None = None
    max_tokens: PositiveInt = 1024
    deadline_seconds: PositiveFloat = 300.0
    drain_seconds: PositiveFloat = 30.0


CLASSIFY_DEFAULTS: dict[str, dict[str, Any]] = {
    "finetune": {"method": "full", "epochs": 6, "batch_tokens": 512, "context": 512, "weight_decay": 0.01},
    "evaluate": {"max_rows": 10_000},
}


def _refuse_unfit_for_classify(recipe: Recipe) -> None:
    if recipe.finetune.method == "lora":
        raise ValueError("task classify trains all weights of a small encoder: leave finetune.method out, or say full")
    if recipe.template is not None:
        raise ValueError("a classifier reads texts, not conversations: leave template out")
    if recipe.data.overlong == "split":
        raise ValueError("a text in pieces has no label of its own: set data.overlong: cut, or drop")
    if recipe.finetune.watch.samples:
        raise ValueError("a classifier writes nothing: leave finetune.watch.samples out")


def _refuse_unfit_for_a_new_base(base: New, tokenizer: Tokenizer) -> None:
    if tokenizer.kind != "bpe" or tokenizer.extend is not None:
        raise ValueError(
            "a new base is measured in bits per byte and takes a byte-level tokenizer: tokenizer.kind: bpe"
        )
    if "vocabulary" in base.model_fields_set:
        raise ValueError("say tokenizer.vocabulary or base.vocabulary, not both")


class Recipe(Part):
    """A whole voyage in one small file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Literal["chat", "text", "classify"] = "chat"
    base: str | New = "smollm2-135m-instruct"
    tokenizer: Tokenizer | None = None
    template: str | None = None
    seed: int = 1
    language: Literal["en", "zh"] = "en"
    data: Data
    finetune: Finetune = Finetune()
    pretrain: Pretrain | None = None
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    check: Check = Check()
    serve: Serve = Serve()

    @model_validator(mode="before")
    @classmethod
    def _a_classifier_begins_otherwise(cls, value: object) -> object:
        """Other defaults for a task that trains a small encoder and is scored without writing anything."""
        if not isinstance(value, dict) or value.get("task") != "classify" or "pretrain" in value:
            return value
        own = {part: value.get(part) or {} for part in CLASSIFY_DEFAULTS}
        parts = {part: {**CLASSIFY_DEFAULTS[part], **own[part]} for part in own if isinstance(own[part], dict)}
        return {"base": "minilm-l6", **value, **parts}

    @model_validator(mode="after")
    def _trains_in_one_way(self) -> Recipe:
        if self.pretrain is not None and "finetune" in self.model_fields_set:
            raise ValueError("say pretrain or finetune, not both: a pretrained model is the base of another recipe")
        if self.pretrain is not None and self.task != "text":
            raise ValueError("pretraining learns plain text: set task: text")
        if isinstance(self.base, New) and self.pretrain is None:
            raise ValueError("a new model knows nothing yet: write pretrain instead of finetune")
        if isinstance(self.base, New) and self.pretrain is not None:
            self.pretrain.refuse_unused_corruption(self.base.kind)
        if self.task == "classify":
            _refuse_unfit_for_classify(self)
        if isinstance(self.base, New) and self.tokenizer is not None:
            _refuse_unfit_for_a_new_base(self.base, self.tokenizer)
        return self

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as a recipe that reads back to this one; what is not used is left out."""
        return self.model_dump(mode="json", exclude={"pretrain" if self.pretrain is None else "finetune"})

    @property
    def training(self) -> Finetune | Pretrain:
        """The one way in which this recipe trains."""
        return self.pretrain or self.finetune

    @property
    def training_key(self) -> str:
        """What that way is called in the recipe, and the stage as well."""
        return "finetune" if self.pretrain is None else "pretrain"

    @property
    def base_name(self) -> str:
        """What the base is called."""
        if isinstance(self.base, str):
            return self.base
        return f"new {self.base.new}" + ("" if self.base.kind == "decoder" else f" {self.base.kind}")
