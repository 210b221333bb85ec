"""Keys become principals; roles, expiry, revocation and the rate are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hefa_platform.access import BELIEVED_S, Access, Forbidden, Principal, TokenBucket, TooMany, Unauthenticated
from hefa_platform.store import keys
from hefa_platform.store.keys import ROLES


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("held", ROLES)
@pytest.mark.parametrize("needed", ROLES)
def test_a_role_includes_those_below_it(held: keys.Role, needed: keys.Role) -> None:
    principal = Principal("id", "name", held, "*")
    if ROLES.index(held) >= ROLES.index(needed):
        principal.require(needed)
    else:
        with pytest.raises(Forbidden, match=needed):
            principal.require(needed)


def test_a_key_is_taken_apart_and_only_its_hash_is_like_it() -> None:
    text, key_id, secret = keys.generate()
    assert keys.parse(text) == (key_id, secret)
    assert text == f"hefa_{key_id}_{secret}"
    assert len(keys.digest(secret)) == 32
    assert keys.digest(secret) != keys.digest(secret + "x")


@pytest.mark.parametrize(
    "text", ["", "hefa", "hefa_abc", "hefa_ABCDEF_" + "x" * 43, "hefa_abcdef_short", "hefa_abcdef_" + "é" * 43, "x" * 9999]
)  # fmt: skip
def test_what_is_no_key(text: str) -> None:
    assert keys.parse(text) is None


def test_principal_of_a_key(site: Any) -> None:
    access = Access(site.api)
    text = site.key("operator", "HEFA-BT")
    for header in (f"Bearer {text}", f"bearer  {text} "):
        principal = access.principal(header)
        assert (principal.role, principal.site, principal.name) == ("operator", "HEFA-BT", "test operator")
    (used,) = site.execute("SELECT used_at IS NOT NULL FROM api_key WHERE key_id = %s", principal.key_id)
    assert used == (True,)
    (stored,) = site.execute("SELECT count(*) FROM api_key WHERE encode(hash, 'escape') LIKE '%%' || %s || '%%'", text)
    assert stored == (0,)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "A key is needed"),
        ("", "A key is needed"),
        ("Bearer", "A key is needed"),
        ("Basic aGVmYTpoZWZh", "A key is needed"),
        ("Bearer none", "not valid"),
        ("Bearer hefa_000000000000_" + "A" * 43, "not valid"),
        ("Bearer \udcff\x00", "not valid"),
    ],
)
def test_who_has_no_key_is_told_so(site: Any, header: str | None, says: str) -> None:
    with pytest.raises(Unauthenticated, match=says):
        Access(site.api).principal(header)


def test_a_wrong_secret_is_not_valid(site: Any) -> None:
    text = site.key("admin")
    with pytest.raises(Unauthenticated, match="not valid"):
        Access(site.api).principal(f"Bearer {text[:-1]}{'A' if text[-1] != 'A' else 'B'}")


def test_an_expired_key(site: Any) -> None:
    text = site.key("admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired"):
        Access(site.api).principal(f"Bearer {text}")


def test_a_revoked_key_is_believed_a_second_at_most(site: Any) -> None:
    clock = Clock()
    access = Access(site.api, clock=clock)
    text = site.key("admin")
    principal = access.principal(f"Bearer {text}")
    keys.revoke(site.api, principal.key_id, site="*", by="test")
    access.principal(f"Bearer {text}")
    clock.now += BELIEVED_S
    with pytest.raises(Unauthenticated, match="revoked"):
        access.principal(f"Bearer {text}")


def test_each_key_has_its_own_rate(site: Any) -> None:
    clock = Clock()
    access = Access(site.api, rate=2, burst=3, clock=clock)
    busy, calm = f"Bearer {site.key('viewer')}", f"Bearer {site.key('viewer')}"
    for _ in range(3):
        access.principal(busy)
    with pytest.raises(TooMany) as refused:
        access.principal(busy)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    access.principal(calm)
    clock.now += 0.5
    access.principal(busy)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=1, burst=2, now=0)
    assert [bucket.take(1000) for _ in range(3)] == [0, 0, 1]
    assert bucket.take(1000.5) == pytest.approx(0.5)


def test_an_address_has_a_rate_for_those_without_a_valid_key_and_many_people_may_share_it(site: Any) -> None:
    access = Access(site.api, address_rate=1, address_burst=2, clock=Clock())
    wrong = f"{site.key('viewer')[:-4]}0000"
    for header in (None, f"Bearer {wrong}"):
        with pytest.raises(Unauthenticated):
            access.principal(header, "192.0.2.1")
    for header in (None, f"Bearer {wrong}"):
        with pytest.raises(TooMany, match="This address"):
            access.principal(header, "192.0.2.1")
    for _ in range(5):  # behind one portal, each with a key of their own
        access.principal(f"Bearer {site.key('viewer')}", "192.0.2.1")
    with pytest.raises(Unauthenticated):
        access.principal(None, "192.0.2.2")


def test_who_guesses_keys_has_to_wait_and_the_others_go_on(site: Any) -> None:
    """Well-formed keys that do not exist, or whose secret is wrong; the same one again is no new guess."""
    clock = Clock()
    access = Access(site.api, guess_rate=0.5, guess_burst=3, clock=clock)
    good, late = site.key("viewer"), site.key("viewer")
    access.principal(f"Bearer {good}", "a")
    wrong = [f"{good[:-4]}{n:04}" for n in range(4)]
    for text in (*wrong[:3], wrong[2], "Bearer", "hefa_x"):
        with pytest.raises(Unauthenticated):
            access.principal(f"Bearer {text}", "a")
    with pytest.raises(TooMany, match="not valid") as refused:
        access.principal(f"Bearer {wrong[3]}", "a")
    assert refused.value.retry_after_s == pytest.approx(2)
    with pytest.raises(TooMany):
        access.principal(f"Bearer {late}", "a")  # a key that was not seen yet cannot be told from a guess
    clock.now += BELIEVED_S / 2
    access.principal(f"Bearer {good}", "a")
    clock.now += BELIEVED_S
    access.principal(f"Bearer {good}", "a")  # looked up anew: it was good before
    access.principal(f"Bearer {late}", "b")  # another address
    clock.now += 2
    access.principal(f"Bearer {late}", "a")


def test_keys_that_are_good_are_no_guesses(site: Any) -> None:
    access = Access(site.api, guess_rate=0.001, guess_burst=1, clock=Clock())
    for _ in range(3):
        access.principal(f"Bearer {site.key('viewer')}", "a")
