"""What a figure means and what it was reckoned from: the metric catalogue, by page and by JSON."""

from hefa_apps.explain.views import APP

__all__ = ["APP"]
