"""What a recipe may say of its data: where rows come from and what is done to them before anything is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from setsail.base.recipe_part import Fraction, Number, Part, PositiveInt

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


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
        if "@" in self.url.split("/")[2]:
            raise ValueError("url should hold no name and password: put a key into a variable and name it in key_env")
        return self


class Augment(Part):
    """Rows made from training rows. A share of 0 leaves a way out; each way that is wanted makes `copies` of a row.

    `swap`, `delete`, `typo` and `synonym` are shares of the words; `lexicon` is a file of words that mean the same, a
    line each group. `paraphrase` and `back_translate` are shares of the rows, written anew by the model at `server`;
    `answer` is a share of the conversations that get its last answer from there too: a teacher's.
    """

    swap: Fraction = 0.0
    delete: Fraction = 0.0
    typo: Fraction = 0.0
    synonym: Fraction = 0.0
    lexicon: str | None = None
    paraphrase: Annotated[float, Number, Field(ge=0.0, le=1.0)] = 0.0
    back_translate: Annotated[float, Number, Field(ge=0.0, le=1.0)] = 0.0
    answer: Annotated[float, Number, Field(ge=0.0, le=1.0)] = 0.0
    server: Server | None = None
    copies: Annotated[int, Number, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Augment:
        if (self.synonym > 0) != (self.lexicon is not None):
            raise ValueError("synonym and lexicon, a file of words that mean the same, go together")
        if (self.paraphrase > 0 or self.back_translate > 0 or self.answer > 0) != (self.server is not None):
            raise ValueError("paraphrase, back_translate or answer, and server, the model that writes, go together")
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


Conversations = Literal["preference", "messages", "alpaca", "sharegpt", "prompt_completion", "squad"]
Lines = Literal["words_pos", "scored_lines"]
Texts = (
    Lines
    | Literal["text_label", "text_labels", "text_score", "text_spans", "tokens_tags", "text_relation", "graded_text"]
)
Pairs = Literal["graded", "scored_pair", "query_positive", "title_text"] | Literal["pair", "translation", "summary"]
Format = Literal["auto", "text"] | Conversations | Texts | Pairs


class Data(Part):
    """Where rows come from and what is done to them before anything is trained.

    `keep_out` names files of texts, such as a benchmark's questions, that no row may hold; `forget` a file of row ids.
    `languages` are those of source and target, in this order; `damage` makes sources of texts, which become targets;
    `no_answer` are texts that stand where a question has no answer, `no_relation` labels that say that two names have
    none.
    """

    source: str
    format: Format = "auto"
    columns: dict[str, str] = Field(default={})
    languages: tuple[LanguageCode, LanguageCode] | None = None
    damage: tuple[Literal["case", "punctuation"], ...] = ()
    no_answer: tuple[str, ...] = ()
    no_relation: tuple[str, ...] = ()
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
