"""How long to wait for an ack before an envelope is sent again, learnt from the acks as TCP does (RFC 6298).

A delay that is fixed is wrong as soon as the platform is slower than it: then everything is sent twice, which makes the
platform slower still. Nothing here reads a clock or draws lots; times are seconds.
"""

from __future__ import annotations

CEILING_S = 120.0  # the longest first wait, however slow the acks are
_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4  # RFC 6298, 2.3


class ResendDelay:
    """The delay of one outbox, never below `floor_s`, never above CEILING_S or the floor, whichever is longer."""

    def __init__(self, floor_s: float) -> None:
        self._floor, self._ceiling = floor_s, max(floor_s, CEILING_S)
        self._mean = self._deviation = 0.0
        self._measured = self._backed_off = floor_s
        self._any = False

    @property
    def floor_s(self) -> float:
        """The shortest it can be."""
        return self._floor

    @property
    def measured_s(self) -> float:
        """What the acks say: their mean and four deviations, at least the floor above the mean."""
        return self._measured

    @property
    def first_s(self) -> float:
        """How long to wait for the ack of an envelope that is sent for the first time."""
        return max(self._measured, self._backed_off)

    def acknowledged(self, took_s: float) -> None:
        """Learn from an envelope that was sent once (Karn: of one sent twice nobody knows which copy is answered).

        It also ends what `expired` began: the way is open.
        """
        if self._any:
            self._deviation += _BETA * (abs(took_s - self._mean) - self._deviation)
            self._mean += _ALPHA * (took_s - self._mean)
        else:
            self._any, self._mean, self._deviation = True, took_s, took_s / 2
        # RFC 6298 adds the grain of the clock at least; acks come by transactions, whose grain the floor stands for.
        self._measured = min(self._mean + max(self._floor, _K * self._deviation), self._ceiling)
        self._backed_off = self._floor

    def expired(self, next_s: float) -> None:
        """An envelope was not acknowledged in time and now waits for `next_s`: new ones are given as long."""
        self._backed_off = min(max(self._backed_off, next_s), self._ceiling)
