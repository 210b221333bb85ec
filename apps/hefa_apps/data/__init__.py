"""How data gets in: refused data to decide about, the account of each gateway, and how fresh readings are."""

from hefa_apps.data.views import APP

__all__ = ["APP"]
