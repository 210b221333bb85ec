"""The production app by REST: everything that its pages show, as JSON and as CSV."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from hefa_apps.client import Refused
from hefa_apps.production import answers
from hefa_apps.session import Asking
from hefa_apps.view import Asks

router = APIRouter(prefix="/api/production", tags=["production"])


@router.get("/overview", summary="Output against plan, OEE with its factors, on-cut hours, losses")
def overview(view: Asks) -> dict[str, Any]:
    """The figures of the site, a row per product, and where the rest of the possible output went."""
    return view.answer(answers.overview(view.r))


@router.get("/overview.csv", summary="The figures as CSV", response_class=StreamingResponse)
def overview_csv(view: Asks) -> Response:
    """A row per metric: of the site, then of each product."""
    found = answers.overview(view.r)
    rows = [*found["figures"], *(v for p in found["products"] for v in p.values() if isinstance(v, dict))]
    return view.csv(
        "production_overview", ("metric", "name", "value", "unit", "coverage", "from", "to", "reason"), rows
    )


@router.get("/output", summary="What was made in each step, beside the plan")
def output(view: Asks) -> dict[str, Any]:
    """kg REO by product in steps of 15 minutes (up to two days), an hour (a month) or a day; null: not known."""
    return view.answer(answers.output(view.r))


@router.get("/output.csv", summary="The same as CSV", response_class=StreamingResponse)
def output_csv(view: Asks) -> Response:
    """A row per step."""
    found = answers.output(view.r)
    return view.csv("production_output", ("start", "hours", *found["products"], "plan"), found["rows"])


@router.get("/downtime", summary="Stops with their reasons, as a Pareto by cause, and time in alarm")
def downtime(view: Asks) -> dict[str, Any]:
    """Feed stops, kilns that do not burn, machines that tripped. A note of kind `downtime` on them tells the reason."""
    return view.answer(answers.downtime(view.r))


@router.get("/downtime.csv", summary="The stops as CSV", response_class=StreamingResponse)
def downtime_csv(view: Asks) -> Response:
    """A row per stop."""
    rows = answers.downtime(view.r)["stops"]
    return view.csv("production_downtime", ("cause", "kind", "start", "end", "hours", "tag", "reason"), rows)


@router.get("/lots", summary="Lots in work by stage, and those packed, with what the laboratory says")
def lots(view: Asks) -> dict[str, Any]:
    """kg REO, age, verdict by the targets (on spec, off spec, open), results with sample and entry time."""
    return view.answer(answers.work(view.r, view.now))


@router.get("/lots.csv", summary="The lots as CSV", response_class=StreamingResponse)
def lots_csv(view: Asks) -> Response:
    """A row per lot: those in work, then those packed."""
    found = answers.work(view.r, view.now)
    columns = ("lot", "stage", "material", "product", "state", "equipment", "kg", "left_kg", "begun", "ended", "age_h", "verdict")  # fmt: skip
    return view.csv("production_lots", columns, [*found["in_work"], *found["packed"]])


@router.get("/log", summary="The handover log: shifts with crew and notes")
def log(view: Asks) -> dict[str, Any]:
    """The latest shift first. `crew_told` false: reckoned from the cycle, no gateway told of a change."""
    return view.answer(answers.log(view.r, view.now))


@router.get("/log.csv", summary="The notes as CSV", response_class=StreamingResponse)
def log_csv(view: Asks) -> Response:
    """A row per note."""
    shifts = answers.log(view.r, view.now)["shifts"]
    rows = [{"shift": s["start"], "crew": s["crew"], **n} for s in shifts for n in s["notes"]]
    return view.csv(
        "production_log", ("shift", "crew", "subject", "from", "to", "kind", "text", "author", "entered"), rows
    )


class NewNote(BaseModel):
    """A note of the log; without `from` it speaks of now. `subject` is a tag, a place or a lot; the site when empty."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=4000)]
    subject: Annotated[str, Field(max_length=200)] = ""
    start: Annotated[AwareDatetime | None, Field(alias="from")] = None
    end: Annotated[AwareDatetime | None, Field(alias="to")] = None
    kind: Literal["shift", "downtime"] = "shift"


class Changed(BaseModel):
    """What a note says from now on."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=4000)]


@router.post("/log", summary="Leave a note", status_code=201)
def leave(asking: Asking, body: NewNote) -> dict[str, Any]:
    """It stays with the readings that it speaks of. Needs the role operator."""
    start = body.start or body.end or datetime.now(UTC)
    if body.end is not None and body.end < start:
        raise Refused(422, "to", "`to` lies before `from`: a note speaks of a time that begins before it ends")
    subject = body.subject.strip() or asking.catalogue().root.site
    if not body.text.strip():
        raise Refused(422, "text", "the note says nothing: write a text")
    note = asking.leave_note(subject, start, body.end, body.text.strip(), body.kind)
    return {"note": note.note, "subject": note.subject, "from": note.from_, "to": note.to, "version": note.version}


@router.post("/log/{note}", summary="Say a note anew")
def change(asking: Asking, note: Annotated[str, Path(max_length=100)], body: Changed) -> dict[str, Any]:
    """What it said before stays readable at `GET /v1/notes/{note}`. Needs the role operator."""
    said = asking.edit_note(note, body.text.strip() or body.text)
    return {"note": said.note, "version": said.version, "text": said.text}
