"""Business: what the plant earns, whether it keeps its targets, what a lot earns, and what would be if."""

from hefa_apps.business.views import APP

__all__ = ["APP"]
