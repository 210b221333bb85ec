"""Production: output against plan, effectiveness after ISO 22400, losses and stops, lots, the handover of shifts."""

from hefa_apps.production.views import APP

__all__ = ["APP"]
