"""Energy: use of electricity, water, gas, steam by area, line and meter."""

from hefa_apps.energy.views import APP

__all__ = ["APP"]
