"""API keys: who asks, for everybody; list, create, revoke, for admins."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from hefa_platform.api.guard import Admin, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Text
from hefa_platform.api.problems import Problem, invalid, not_found, responses
from hefa_platform.store import keys as store
from hefa_platform.store.keys import Role

router = APIRouter(prefix="/v1", tags=["access"])


class Key(Answer):
    """A key without its secret. `site` is the only site it sees, `*` all."""

    id: str
    name: str
    role: Role
    site: str
    state: Literal["valid", "expired", "revoked"]
    created: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    used: datetime | None


class Keys(Answer):
    items: list[Key]
    next: None = None


class NewKey(Asked):
    """What the key is for, and how far it reaches. A role includes those before it."""

    name: Annotated[Text, Field(examples=["night shift wall"])]
    role: Role = "viewer"
    site: Annotated[Text | None, Field(description="Default: the sites of the key that asks")] = None
    expires_at: Annotated[Instant | None, Field(description="Null: never")] = None


class CreatedKey(Key):
    """A new key with its secret, shown here and never again."""

    key: str


class Me(Answer):
    """The key that asks. A role may do what those before it may: viewer, operator, engineer, admin."""

    id: str
    name: str
    role: Role
    site: str


@router.get("/me", summary="Who asks", responses=responses())
def me(caller: Viewer) -> Me:
    """Say which key this is and what it may do, so that a page can tell beforehand what would be refused."""
    who = caller.principal
    return Me(id=who.key_id, name=who.name, role=who.role, site=who.site)


@router.get("/keys", summary="Keys", responses=responses(403))
def keys(caller: Admin) -> Keys:
    """All keys, newest first, without their secrets."""
    return Keys(items=[_key(row) for row in store.every(caller.database, caller.site)])


@router.post("/keys", summary="Create a key", status_code=201, responses=responses(400, 403, 413))
def create(caller: Admin, body: NewKey, response: Response) -> CreatedKey:
    """Make a key and show it once: only its hash is stored."""
    site = body.site or caller.site
    if caller.site not in ("*", site):
        raise Problem(403, "site", "Not allowed", f"This key is for the site {caller.site}: make keys for that one.")
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise invalid("body.expires_at", "expires_at is over already: name a time to come, or leave it away.")
    text, row = store.create(
        caller.database, name=body.name, role=body.role, site=site, expires_at=body.expires_at,
        by=caller.principal.key_id,
    )  # fmt: skip
    response.headers["Location"] = f"/v1/keys/{row.key_id}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey(**_key(row).model_dump(), key=text)


@router.delete("/keys/{id}", summary="Revoke a key", responses=responses(403, 404, 409))
def revoke(caller: Admin, id: Annotated[Text, Path(examples=["4f0c6a1e92bb"])]) -> Key:
    """Revoke a key for good; here at once, on other servers within a second."""
    if id == caller.principal.key_id:
        raise Problem(409, "own-key", "Own key", "This is the key you ask with: revoke it with another admin's key.")
    row = store.revoke(caller.database, id, site=caller.site, by=caller.principal.key_id)
    if row is None:
        raise not_found("key", id)
    caller.parts.access.forget()
    return _key(row)


def _key(row: store.Key) -> Key:
    return Key(
        id=row.key_id, name=row.name, role=row.role, site=row.site, state=row.state(datetime.now(UTC)),
        created=row.created_at, created_by=row.created_by, expires_at=row.expires_at, revoked_at=row.revoked_at,
        used=row.used_at,
    )  # fmt: skip
