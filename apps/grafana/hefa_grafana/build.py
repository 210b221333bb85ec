"""All boards of a plant, and the files that Grafana's provisioning reads. The same plant makes the same bytes."""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from hefa_contract.plant import Plant, load
from hefa_grafana import alerts, plant_boards
from hefa_grafana.frame import Site
from hefa_grafana.pipeline_board import pipeline


def read_plant(seeds: Path) -> Plant:
    """The plant model of a seeds folder. Raises PlantError with every mistake; OSError where there is no folder."""
    if not (seeds / "plant.toml").is_file():
        raise FileNotFoundError(f"{seeds} has no plant.toml: name the folder of the plant model with --seeds")
    return load({path.relative_to(seeds).as_posix(): path.read_text("utf-8") for path in sorted(seeds.rglob("*.toml"))})


def boards(plant: Plant, portal: str) -> dict[str, dict[str, Any]]:
    """Dashboards by uid, as Grafana's JSON model."""
    site = Site(plant, portal.rstrip("/"))
    made = [
        plant_boards.overview(site),
        plant_boards.energy(site),
        plant_boards.material(site),
        plant_boards.extraction(site),
        plant_boards.area(site),
        pipeline(site),
    ]
    return {str(item.uid): json.loads(json.dumps(item, cls=JSONEncoder)) for item in made if item is not None}


def files(plant: Plant, portal: str) -> dict[str, str]:
    """Texts by path below deploy/grafana: a file per dashboard, and one of alert rules."""
    texts = {f"dashboards/{uid}.json": _text(model) for uid, model in boards(plant, portal).items()}
    return texts | {"provisioning/alerting/hefa.json": _text(alerts.file())}


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
