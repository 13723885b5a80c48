from __future__ import annotations

import pytest
import toy_evaluation as toy

from setsail.data.row import Message
from setsail.evaluate.baseline import fit_nearest


def asks(text: str) -> tuple[Message, ...]:
    return ({"role": "system", "content": "You help."}, {"role": "user", "content": text})


TRAIN = [
    toy.row("How do I reset my password?", "Use the link on the sign-in page."),
    toy.row("How do I export a report as PDF?", "File, then Export."),
    toy.row("打印机显示脱机怎么办？", "检查电源和网线。"),
    toy.row("怎么修改登录密码？", "在账户设置里修改。"),
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("password reset how?", "Use the link on the sign-in page."),
        ("Can I export reports to pdf", "File, then Export."),
        ("我的打印机脱机了", "检查电源和网线。"),
        ("登录的密码想改一下", "在账户设置里修改。"),
    ],
)
def test_the_nearest_question_answers_in_english_and_chinese(question: str, answer: str) -> None:
    [found] = fit_nearest(TRAIN).find([asks(question)])
    assert found.answer == answer
    assert 0 < found.similarity <= 1


def test_the_same_question_is_found_with_cosine_one() -> None:
    assert [found.similarity for found in fit_nearest(TRAIN).find([TRAIN[2].messages[:-1]])] == [1.0]


def test_ties_and_questions_unlike_any_other_do_not_depend_on_order() -> None:
    twins = [toy.row("Which axis?", f"answer {index}", origin=f"t.csv:{index}") for index in range(6)]
    asked = [asks("Which axis?"), asks("zzz"), asks("")]
    found = fit_nearest(twins).find(asked)
    assert found == fit_nearest(twins[::-1]).find(asked)
    assert {neighbour.row_id for neighbour in found} == {min(item.id for item in twins)}


def test_many_questions_come_back_in_order() -> None:
    train = toy.rows(300)
    found = fit_nearest(train).find([item.messages[:-1] for item in train])
    assert [neighbour.row_id for neighbour in found] == [item.id for item in train]


def test_as_a_system_it_claims_neither_tokens_nor_stops() -> None:
    system = fit_nearest(TRAIN).system()
    assert system.nats is None and system.answers is not None
    [answer] = system.answers([asks("reset password")])
    assert (answer.text, answer.stopped, answer.num_tokens) == ("Use the link on the sign-in page.", None, None)


def test_a_training_question_of_nothing_is_no_crash() -> None:
    assert fit_nearest([toy.row("", "blank")]).find([asks("?!")])[0].answer == "blank"
    with pytest.raises(ValueError, match="at least one"):
        fit_nearest([])
