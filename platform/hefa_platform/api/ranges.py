"""What range a caller asks about, and whether the answer would be too long. Ranges are [from, to), in UTC."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hefa_platform.api.guard import Limits
from hefa_platform.api.problems import invalid
from hefa_platform.store.buckets import FIXED, MINUTE, Step, floor

# How long a bucket is at least: tells how many there will be before any is made.
_SHORTEST: dict[Step, timedelta] = FIXED | {
    "1d": timedelta(hours=23), "plantday": timedelta(hours=23), "shift": timedelta(hours=1),
    "month": timedelta(days=27),
}  # fmt: skip


def span(start: datetime, end: datetime | None) -> tuple[datetime, datetime]:
    """The range asked for; `to` is now when left away. 422 when it is empty."""
    end = end or datetime.now(UTC)
    if end <= start:
        raise invalid("query.from", "from must be before to (default now): the range [from, to) is empty.", "range")
    return start, end


def whole_minutes(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The whole minutes of a range, so that neighbouring ranges add up. 422 when there is none."""
    start, end = floor(start, MINUTE), floor(end, MINUTE)
    if end <= start:
        raise invalid("query.from", "from and to lie in the same minute: ask for step=raw or a longer range.", "range")
    return start, end


def check_points(buckets: int, columns: int, per_column: int, limits: Limits) -> None:
    """422 when an answer would be longer than it may be."""
    if buckets > per_column:
        raise invalid(
            "query.step",
            f"This range has {buckets} buckets of that step, more than {per_column}: take a larger step, a shorter "
            f"range, or more max_points (up to {limits.points_per_tag}).",
            "too-many-points",
        )
    if buckets * columns > limits.points:
        raise invalid(
            "query.tag",
            f"The answer would have {buckets * columns} points, more than {limits.points}: ask for fewer tags, a "
            "larger step or a shorter range.",
            "too-many-points",
        )


def check_range(step: Step, start: datetime, end: datetime, per_column: int) -> None:
    """422 for a range with far too many buckets, before any is made."""
    about = (end - start) // _SHORTEST[step]
    if about > 25 * per_column:
        raise invalid(
            "query.step", f"The range is too long for step={step}: take a larger step or a shorter range.",
            "too-many-points",
        )  # fmt: skip


def elapsed_s(starts: list[datetime], start: datetime, end: datetime, now: datetime) -> list[float]:
    """Of each bucket the seconds that lie in the range and are over."""
    until = min(end, floor(now, MINUTE))
    return [max(0.0, (min(right, until) - max(left, start)).total_seconds()) for left, right in pairwise(starts)]
