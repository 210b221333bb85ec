"""Baselines of anybody's own figures: the same maths as the plant's, on daily totals that a request brings along."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hefa_apps.energy import answers, baseline
from hefa_apps.energy.baseline import NoFit

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Days = Annotated[list[Finite], Field(max_length=2000)]


class Totals(BaseModel):
    """Daily totals: energy, and for each driver one value per day. `day` numbers the days; without it they are in a row."""

    model_config = ConfigDict(extra="forbid")

    energy: Days
    drivers: Annotated[dict[Annotated[str, Field(max_length=60)], Days], Field(max_length=8)] = {}
    day: Annotated[list[Annotated[int, Field(ge=0, le=1_000_000)]], Field(max_length=2000)] | None = None

    @model_validator(mode="after")
    def _equal(self) -> "Totals":
        for name, values in self.drivers.items():
            if len(values) != len(self.energy):
                raise ValueError(f"the driver {name!r} has {len(values)} values for {len(self.energy)} days of energy")
        if self.day is not None and (len(self.day) != len(self.energy) or sorted(set(self.day)) != self.day):
            raise ValueError("day has one number for each day of energy, rising")
        return self


_EXAMPLE: dict[str, Any] = {
    "unit": "MW.h",
    "baseline": {
        "energy": [42.6, 44.1, 45.6, 46.0, 43.6, 41.1, 45.8, 43.4],
        "drivers": {"production": [26, 28, 30, 31, 29, 27, 32, 30], "temperature": [-10, -5, 0, 5, 10, 15, 20, 25]},
    },
    "report": {
        "energy": [43.5, 44.2, 42.4],
        "drivers": {"production": [30, 31, 29], "temperature": [10, 12, 8]},
    },
    "level": 0.95,
}


class Trial(BaseModel):
    """A baseline period and, where savings are asked for, the days to compare with it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    baseline: Totals
    report: Totals | None = None
    level: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    unit: Annotated[str, Field(max_length=20)] = ""

    @model_validator(mode="after")
    def _same(self) -> "Trial":
        if self.report is not None and set(self.report.drivers) != set(self.baseline.drivers):
            raise ValueError("report names the same drivers as baseline")
        return self


def judged(trial: Trial, words: answers.Sentences) -> dict[str, Any]:
    """Return fit, statistics, refusals and the saving of the figures given."""
    names = tuple(trial.baseline.drivers)
    days = trial.baseline.day or list(range(len(trial.baseline.energy)))
    try:
        fit = baseline.fit(trial.baseline.energy, [trial.baseline.drivers[n] for n in names], names, days)
    except NoFit as none:
        return {
            "unit": trial.unit,
            "accepted": False,
            "reasons": answers.reasons(words, [none.reason]),
            "doubts": [],
            "fit": None,
            "saving": None,
            "verdict": "refused",
            "text": words("energy.verdict.refused"),
            "days": [],
        }
    refused = baseline.judge(fit)
    answer = {
        "unit": trial.unit,
        "accepted": not refused,
        "reasons": answers.reasons(words, refused),
        "doubts": answers.reasons(words, baseline.doubts(fit)),
        "fit": answers.fitted(fit),
        "saving": None,
        "verdict": None,
        "text": None,
        "days": [],
    }
    if trial.report is None:
        return answer
    energy = trial.report.energy
    after = trial.report.day or list(range(days[-1] + 1, days[-1] + 1 + len(energy)))
    told = baseline.saving(fit, energy, [trial.report.drivers[n] for n in names], after, level=trial.level)
    verdict = answers.verdict(told)
    return answer | {
        "reasons": answers.reasons(words, told.reasons),
        "saving": answers.saved(told, trial.unit),
        "verdict": verdict,
        "text": words(f"energy.verdict.{verdict}"),
        "days": [
            {
                "day": after[i],
                "value": energy[i],
                "expected": told.expected_by_day[i],
                "difference": energy[i] - told.expected_by_day[i],
                "cusum": told.cusum[i],
                "outside": told.outside[i],
            }
            for i in range(len(energy))
        ],
    }
