"""What a client may ask of a model that predicts: the bodies of `/predict`, `/v1/embeddings` and `/v1/rerank`.

As strict as `schema.py`, by whose words they are refused. The invariant: what is repeated in an answer is text that
UTF-8 can write, and nothing deep.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from setsail.serve.errors import shown
from setsail.serve.schema import many, without_what_asks_for_nothing
from setsail.serve.schema_part import Part
from setsail.tasks.prediction import Fields

MOST_INPUTS = 2048
# No context is near to it: it bounds what tokenising one text costs. What is longer than the context is cut, and told.
LONGEST_INPUT = 65_536
_DEEPEST = 4

# Fields of other servers of this API that we do not have, with the values that ask for nothing.
_NOT_HERE: dict[str, tuple[object, ...]] = {
    "max_chunks_per_doc": (),
    "max_tokens_per_doc": (),
    "rank_fields": (["text"],),
    "truncation": (True,),
}


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("question", "{text}", {"text": text})


def _each(value: object) -> object:
    """One question as a tuple of one; a list as a tuple."""
    return (value,) if isinstance(value, dict) else many(value)


def _question(value: object) -> Fields:
    """The columns of a question: an object with them, or a text alone."""
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise _wrong(f"an input must be a text, or an object with columns, not {shown(value)}")
    _refuse_unwritable(value, _DEEPEST)
    return value


def _text(value: object) -> str:
    """A text that says something."""
    if not isinstance(value, str):
        raise _wrong(f"must be a text, not {shown(value)}")
    _refuse_unwritable(value, 0)
    if not value.strip():
        raise _wrong("a text is empty")
    return value


def _texts(value: object) -> object:
    """One text as a tuple of one; ids of tokens are those of another tokenizer."""
    if isinstance(value, list) and value and all(isinstance(item, int | list) for item in value):
        raise _wrong("input must be text: token ids would be another tokenizer's")
    return many(value)


def _refuse_unwritable(value: object, deepest: int) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST_INPUT:
            raise _wrong(f"a text of {len(value)} characters; the longest may have {LONGEST_INPUT}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _wrong("must be Unicode text without lone surrogates") from None
    elif isinstance(value, list | dict):
        if not deepest:
            raise _wrong("an input is nested too deeply")
        for part in value:
            _refuse_unwritable(part, deepest - 1)
            if isinstance(value, dict):
                _refuse_unwritable(value[part], deepest - 1)


Question = Annotated[dict[str, Any], PlainValidator(_question)]
Questions = Annotated[tuple[Question, ...], BeforeValidator(_each), Field(min_length=1, max_length=MOST_INPUTS)]
Text = Annotated[str, PlainValidator(_text)]
Name = Annotated[str, Field(min_length=1)]


class PredictBody(Part):
    """`POST /predict`: `inputs`; or for a ranker `query` and `texts`. Without `model` the first one answers."""

    model: Name | None = None
    inputs: Questions | None = None
    query: Text | None = None
    texts: Questions | None = None
    probabilities: bool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), {})


class EmbeddingsBody(Part):
    """`POST /v1/embeddings`, OpenAI's."""

    model: Name
    input: Annotated[tuple[Text, ...], BeforeValidator(_texts), Field(min_length=1, max_length=MOST_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), {})


class RerankBody(Part):
    """`POST /v1/rerank`, Cohere's and Jina's; all documents are given back unless `top_n` says how many."""

    model: Name
    query: Text
    documents: Questions
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), _NOT_HERE)
