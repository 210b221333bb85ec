"""Material: use of each reagent, in kg of the pure substance, by area, line and meter."""

from hefa_apps.material.views import APP

__all__ = ["APP"]
