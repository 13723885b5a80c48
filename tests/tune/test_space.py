"""Spaces: what belongs to which kind, and that values survive the way into a database and back."""

from __future__ import annotations

from objectives import BOWL, KINDS

from setsail.tune.space import Choices, Setting, Space, label_of
from setsail.tune.trial import at_ticks


def test_mappings_come_back_as_they_were() -> None:
    choices = Choices(("linear", {"new": "1m", "kind": "lstm"}, 4, 0.5, None))
    assert [choices.value(label) for label in choices.labels] == list(choices.values)
    assert all(label is None or isinstance(label, str | int | float) for label in choices.labels)


def test_the_kind_is_drawn_first_and_decides_what_else_is() -> None:
    later = Space({"rate": Setting(Choices((1, 2)), only_for=("net",)), "kind": Setting(Choices(("net",)))}, "kind")
    assert later.order() == ["kind", "rate"]
    lstm = label_of({"new": "1m", "kind": "lstm"})
    applying = {kind: [name for name in KINDS.order() if KINDS.applies(name, kind)] for kind in ("linear", "net", lstm)}
    assert applying == {"linear": ["base", "penalty"], "net": ["base", "rate", "rank"], lstm: ["base", "rate"]}


def test_what_a_space_holds() -> None:
    assert BOWL.holds({"x": 5.0, "y": -5.0}) and not BOWL.holds({"x": 5.1, "y": 0.0}) and not BOWL.holds({"x": 1.0})
    assert KINDS.holds({"base": "linear", "penalty": 1.0})
    assert not KINDS.holds({"base": "linear", "rate": 0.01})
    assert KINDS.holds({"base": {"new": "1m", "kind": "lstm"}, "rate": 0.01})


def test_curves_of_other_validations_are_compared_at_the_same_places() -> None:
    coarse = at_ticks([(0.0, 10.0), (0.4, 6.0), (0.8, 2.0), (1.0, 1.0)])
    fine = at_ticks([(step / 20, 10.0 - step / 2) for step in range(21)])
    assert list(coarse) == list(fine) == list(range(1, 11))
    assert coarse[4] == 6.0 and coarse[9] == 1.5 and fine[9] == 1.0
    assert at_ticks([(0.0, 3.0), (0.05, 2.0)]) == {} and at_ticks([]) == {}
