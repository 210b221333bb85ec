"""Networks that a request brings along: what `POST /api/material/reconcile` takes and answers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hefa_apps.client import Refused
from hefa_apps.material.network import MAX_NODES, MAX_STREAMS, Network, NetworkError, Node, Stream
from hefa_apps.material.reconcile import CONFIDENCE, Reconciled, reconcile

Name = Annotated[str, Field(min_length=1, max_length=200)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Names = Annotated[list[Name], Field(max_length=MAX_STREAMS)]


class AskedStream(BaseModel):
    """One flow; `value` null: not measured; `sd` 0: known exactly."""

    name: Name
    value: Finite | None
    sd: Finite | None = None


class AskedNode(BaseModel):
    """What is balanced: streams that come in, and streams that go out."""

    name: Name
    enters: Annotated[Names, Field(alias="in")]
    leaves: Annotated[Names, Field(alias="out")]


_EXAMPLE: dict[str, Any] = {
    "streams": [
        {"name": "feed", "value": 1262, "sd": 12.6},
        {"name": "LaCe", "value": 935, "sd": 18.7},
        {"name": "PrNd", "value": 296, "sd": 5.9},
        {"name": "oxide", "value": 283, "sd": 2.8},
        {"name": "loss", "value": 5, "sd": 1.0},
    ],
    "nodes": [
        {"name": "extraction", "in": ["feed"], "out": ["LaCe", "PrNd"]},
        {"name": "calcination", "in": ["PrNd"], "out": ["oxide", "loss"]},
    ],
}


class AskedNetwork(BaseModel):
    """Any network of streams and nodes, in one unit; `confidence` is that of both tests."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    streams: Annotated[list[AskedStream], Field(max_length=MAX_STREAMS)]
    nodes: Annotated[list[AskedNode], Field(max_length=MAX_NODES)]
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = CONFIDENCE


def judged(asked: AskedNetwork) -> dict[str, Any]:
    """Return the reconciled network. Raises `Refused` with the sentence that says what is wrong with it."""
    try:
        streams = tuple(Stream(s.name, s.value, s.sd) for s in asked.streams)
        nodes = tuple(Node(n.name, tuple(n.enters), tuple(n.leaves)) for n in asked.nodes)
        return document(reconcile(Network(streams, nodes), asked.confidence)) | {"confidence": asked.confidence}
    except NetworkError as error:
        raise Refused(422, "network", str(error)) from None


def document(found: Reconciled) -> dict[str, Any]:
    """Return a reconciled network as JSON has it; `suspects` are all streams that may be off, the likeliest first."""
    return {
        "reconciled": found.value,
        "chi2": found.chi2,
        "chi2_limit": found.chi2_limit,
        "degrees_of_freedom": found.freedom,
        "accepted": found.accepted,
        "z": found.z,
        "z_limit": found.z_limit,
        "beyond": found.beyond,
        "suspects": [name for group in found.suspects for name in group.streams],
        "groups": [vars(group) for group in found.suspects],
        "equivalents": found.equivalent,
        "sd": found.sd,
        "adjustment": found.adjustment,
        "status": found.status,
        "unobservable": [name for name, status in found.status.items() if status == "unobservable"],
        "nodes": [
            {
                "name": b.node,
                "residual": b.residual,
                "sd": b.sd,
                "z": b.z,
                "reconciled": b.closed,
                "suspect": b.suspect,
            }
            for b in found.balances
        ],
    }
