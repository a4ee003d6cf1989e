"""Numbers as people read them: as many digits as are known, thousands apart, never a false precision."""

from math import floor, isfinite, log10

from concord.results import Interval

__all__ = ["MISSING", "number", "share", "spelled", "whole", "with_interval"]

MISSING = "-"
"""What stands where there is no number."""

_SIGNIFICANT = 3
_MOST_DECIMALS = 6
_LEAST_SHARE = 10**-_MOST_DECIMALS
_ROUNDING = 1e-9  # of a value: what order of summing leaves is no width
_LARGE = 10**15  # from here on no one reads the digits


def number(value: float | None, *, decimals: int | None = None) -> str:
    """A number alone: whole ones in full, others with three significant digits, or so many decimals."""
    if value is None:
        return MISSING
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < _LARGE else _large(value)
    if decimals is not None or not isfinite(value):
        return spelled(value, decimals or 0)
    return spelled(value, _SIGNIFICANT - 1 - _magnitude(value)) if value else "0"


def share(value: float | None) -> str:
    """A share in per cent, which says 0% and 100% only where it is all or nothing."""
    if value is None:
        return MISSING
    per_cent = 100 * value
    from_end = min(abs(per_cent), abs(100 - per_cent))
    if not from_end or not isfinite(from_end):
        return f"{per_cent:g}%"
    if from_end < _LEAST_SHARE:
        return f"<{_LEAST_SHARE:f}%" if per_cent < 1 else f">{100 - _LEAST_SHARE:f}%"
    return f"{spelled(per_cent, max(1, -_magnitude(from_end)))}%"


def whole(value: float) -> str:
    """A place on an axis or a count: without decimals where it has none."""
    return number(int(value) if isfinite(value) and value == int(value) else value)


def with_interval(
    value: float | None, interval: Interval | None, *, per_cent: bool = False, decimals: int = 0
) -> str:
    """A value and where it may lie, as `value [low, high]`; the width of the interval decides the digits.

    `decimals` is the least number of them beside an interval, for numbers that are to agree with others.
    """
    if value is None:
        return MISSING
    if interval is None:
        return share(value) if per_cent else number(value)
    by = 100 if per_cent else 1
    width = by * (interval.high - interval.low)
    if not isfinite(width) or width <= _ROUNDING * by * abs(value):
        parts = [share(one) if per_cent else number(one) for one in (value, interval.low, interval.high)]
    else:
        decimals = max(decimals, _decimals(width / 2))
        parts = [spelled(by * one, decimals) for one in (value, interval.low, interval.high)]
        parts[0] += "%" if per_cent else ""
    return f"{parts[0]} [{parts[1]}, {parts[2]}]"


def spelled(value: float, decimals: int) -> str:
    """A number with so many decimals; with an exponent, where it is beyond reading so."""
    if not isfinite(value):
        return f"{value:g}"
    if abs(value) >= _LARGE:
        return _large(value)
    if decimals > _MOST_DECIMALS and not value:
        return "0"
    if decimals > _MOST_DECIMALS:
        return f"{value:.{max(decimals + _magnitude(value), 0)}e}"
    text = f"{value:,.{min(max(decimals, 0), _MOST_DECIMALS)}f}"
    return text if text.strip("-0.,") else text.removeprefix("-")


def _decimals(uncertainty: float) -> int:
    """Two digits of an uncertainty that begins with 1, 2 or 3, and one of any other: the rest is noise."""
    place = _magnitude(uncertainty)
    return -place + (uncertainty < 3.55 * 10.0**place)


def _magnitude(value: float) -> int:
    """The place of the first digit: 0 for 1 to 9.99, -1 for 0.1 to 0.99."""
    return floor(log10(abs(value)))


def _large(value: float) -> str:
    """A number beyond reading as a power of ten; also one beyond what a float holds."""
    power = _magnitude(value)
    return f"{'-' * (value < 0)}{10 ** (log10(abs(value)) - power):.2f}e+{power}"
