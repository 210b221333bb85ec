"""The command hefa-grafana, which is there wherever `hefa` is installed, also without what it needs."""

import sys


def main() -> None:
    """Run it, or say what to install."""
    try:
        from hefa_grafana.commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("grafana_client", "grafana_foundation_sdk", "niquests"):
            raise
        sys.exit(f"hefa-grafana needs {error.name}: run make setup, or pip install 'hefa[grafana]' (docs/grafana.md)")
    app(prog_name="hefa-grafana")
