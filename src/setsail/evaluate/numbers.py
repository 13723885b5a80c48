"""How a figure is written for a person: one place, so that a verdict, a table and a page never disagree.

Nothing here depends on the reader's language; words do (`verdict.py`, `report/words.py`).
"""

from __future__ import annotations

from setsail.evaluate.interval import Interval

MINUS = "\N{MINUS SIGN}"
# Metrics that are shares of a whole, and their digits.
_RATES = {
    "exact_text": 1,
    "placeholders_kept": 1,
    "exact_stop": 0,
    "accuracy": 1,
    "macro_f1": 1,
    "macro_precision": 1,
    "macro_recall": 1,
    "ece": 1,
    "micro_f1": 1,
    "exact_match": 1,
    "entity_f1": 1,
    "entity_precision": 1,
    "entity_recall": 1,
    "token_f1": 1,
    "r2": 1,
    "preference_accuracy": 1,
    "tool_name": 1,
    "tool_arguments": 1,
    "recall_at_1": 1,
    "recall_at_10": 1,
    "recall_at_100": 1,
}
_DIGITS = {
    "bits_per_byte": 3,
    "bits_per_masked_byte": 3,
    "nats_per_row": 3,
    "nats_per_pair": 3,
    "preference_margin": 2,
    "auroc": 3,
    "rouge_1": 3,
    "rouge_2": 3,
    "mae": 3,
    "mse": 3,
    "spearman": 3,
    "kappa": 3,
    "ndcg_at_10": 3,
    "mrr_at_10": 3,
    "rouge_l": 3,
    "length_ratio": 2,
    "num_tokens": 0,
    "num_characters": 0,
}
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def metric_value(metric: str, value: float, *, signed: bool = False) -> str:
    """A metric's value with as many digits as it deserves; rates in percent.

    >>> metric_value("chrf", -1.26, signed=True), metric_value("exact_stop", 0.984)
    ('−1.3', '98 %')
    """
    if metric in _RATES:
        # A difference of two rates is in percentage points, not in percent of either.
        return _signed(f"{abs(value) * 100:.{_RATES[metric]}f} {'pp' if signed else '%'}", value, signed)
    digits = _DIGITS.get(metric, 1)
    return _signed(f"{abs(value):,.{digits}f}", value, signed)


def metric_interval(metric: str, interval: Interval, *, signed: bool = False) -> str:
    """The two ends of an interval.

    >>> metric_interval("chrf", Interval(4.0, 2.5, 5.52, num_units=40), signed=True)
    '[+2.5, +5.5]'
    """
    low, high = (metric_value(metric, end, signed=signed) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def count(number: float) -> str:
    """A whole number with thousands marked.

    >>> count(12345)
    '12,345'
    """
    return f"{number:,.0f}"


def size(num_bytes: float) -> str:
    """A size in decimal units with three digits.

    >>> size(137_300_000), size(12)
    ('137 MB', '12 B')
    """
    value, unit = float(num_bytes), 0
    while value >= 999.5 and unit < len(_BYTE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {_BYTE_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A time span in the two units that matter.

    >>> duration(4.21), duration(192), duration(7384)
    ('4.2 s', '3 min 12 s', '2 h 3 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def short(value: float) -> str:
    """A figure of unknown kind: four significant digits, never in more characters than it needs.

    >>> short(0.00021), short(1234567.0), short(3.0)
    ('0.00021', '1,234,567', '3')
    """
    if value == int(value) and abs(value) < 1e12:
        return _signed(count(abs(value)), value, False)
    return f"{value:.4g}".replace("-", MINUS, 1) if value < 0 else f"{value:.4g}"


def _signed(digits: str, value: float, signed: bool) -> str:
    # A value that rounds to nothing has no sign: "−0.0" would look like a loss.
    if not any(digit in "123456789" for digit in digits):
        return digits
    if value < 0:
        return MINUS + digits
    return "+" + digits if signed else digits
