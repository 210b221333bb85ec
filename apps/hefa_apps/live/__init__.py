"""Live wall: what the plant is doing now, and the trend of any tag."""

from hefa_apps.live.views import APP

__all__ = ["APP"]
