from __future__ import annotations

from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.tokens.size import LEAST_GAIN, Point, choose, measure, table
from setsail.tokens.train import MARKS, learn_bpe

TEXTS = [f"The fisherman {number} went to the sea and the sea was grey; 床前明月光 {number}." for number in range(300)]


def points(*values: tuple[int, float, float]) -> list[Point]:
    return [Point(*value) for value in values]


def test_the_knee_is_where_a_doubling_no_longer_pays() -> None:
    curve = points((1024, 2.0, 0.01), (2048, 2.5, 0.02), (4096, 3.0, 0.04), (8192, 3.1, 0.08), (16384, 4.0, 0.16))
    assert choose(curve).vocabulary == 4096


def test_embeddings_take_a_third_of_the_model_at_most() -> None:
    curve = points((1024, 2.0, 0.1), (2048, 2.5, 0.3), (4096, 3.5, 0.4))
    assert choose(curve).vocabulary == 2048


def test_what_the_texts_fill_last_counts_for_its_part_of_a_doubling() -> None:
    step = 1 / (1 - 0.6 * LEAST_GAIN)
    assert choose(points((1024, 2.0, 0.1), (1536, 2.0 * step, 0.1))).vocabulary == 1536
    assert choose(points((1024, 2.0, 0.1), (2048, 2.0 * step, 0.1))).vocabulary == 1024


def test_the_curve_is_measured_on_one_training() -> None:
    cut, marks = PRE_TOKENIZERS["qwen2"](), MARKS["decoder"]
    learned = learn_bpe(TEXTS, marks, vocabulary=2000, pre_tokenizer=cut)
    measured = measure(learned, marks, cut, TEXTS[:20], lambda size: size / 100_000)
    assert [point.vocabulary for point in measured][-1] == len(learned.tokens)
    assert measured[-1].bytes_per_token > 1
    assert len(table(measured, choose(measured))) == len(measured) + 1
