import base64
import secrets

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from hefa_apps.client import Denied
from hefa_apps.config import Settings
from hefa_apps.session import COOKIE, Guesses, Sessions, key_of, plausible

KEY = base64.urlsafe_b64encode(secrets.token_bytes(32))


def test_a_cookie_hides_the_key_and_opens_again() -> None:
    sessions = Sessions(KEY, hours=1)
    cookie = sessions.seal("hefa_id_secret")
    assert "secret" not in cookie
    assert base64.urlsafe_b64decode(cookie + "==").find(b"secret") < 0
    opened = sessions.open(cookie)
    assert opened is not None
    assert opened.key == "hefa_id_secret"


@pytest.mark.parametrize("cookie", [None, "", "nonsense", "gAAAAAB" + "x" * 80, "\u00e9"])
def test_what_is_no_cookie_of_ours_is_no_session(cookie: str | None) -> None:
    assert Sessions(KEY, hours=1).open(cookie) is None


def test_another_portals_cookie_is_no_session() -> None:
    other = Sessions(base64.urlsafe_b64encode(secrets.token_bytes(32)), hours=1)
    assert Sessions(KEY, hours=1).open(other.seal("hefa_id_secret")) is None


def test_a_cookie_grows_old() -> None:
    cookie = Sessions(KEY, hours=1).seal("hefa_id_secret")
    assert Sessions(KEY, hours=-1 / 3600).open(cookie) is None


def test_who_tries_wrong_keys_waits_and_others_do_not() -> None:
    now = [1000.0]
    guesses = Guesses(clock=lambda: now[0])
    for _ in range(Guesses.AT_ONCE):
        assert guesses.wait("a") == 0
        guesses.wrong("a")
    assert guesses.wait("a") == pytest.approx(Guesses.EACH_S)
    assert guesses.wait("b") == 0
    now[0] += Guesses.EACH_S
    assert guesses.wait("a") == 0
    guesses.wrong("a")
    assert guesses.wait("a") > 0
    now[0] += Guesses.AT_ONCE * Guesses.EACH_S
    assert guesses.wait("a") == 0


def test_a_form_is_good_for_one_browser() -> None:
    sessions = Sessions(KEY, hours=1)
    token = sessions.csrf("mine")
    assert sessions.proves("mine", token)
    assert not sessions.proves("yours", token)
    assert not sessions.proves("", sessions.csrf(""))
    assert not sessions.proves("mine", "")


@pytest.mark.parametrize(
    ("text", "is_plausible"),
    [
        ("hefa_ab12_secret", True),
        ("short", False),
        ("with space in it", False),
        ("line\nbreak_in_key", False),
        ("ключ_ключ_ключ", False),
        ("x" * 300, False),
    ],
)
def test_only_what_fits_a_header_is_sent_on(text: str, is_plausible: bool) -> None:
    assert plausible(text) is is_plausible


def test_the_sealing_key_comes_from_the_setting_before_the_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEFA_SESSION_KEY", raising=False)
    monkeypatch.delenv("HEFA_SECRETS_DIR", raising=False)
    assert Settings().sealing_key()[1] is False
    assert Settings().sealing_key()[0] != Settings().sealing_key()[0]
    (tmp_path / "session_key").write_text("from the file\n")
    monkeypatch.setenv("HEFA_SECRETS_DIR", str(tmp_path))
    kept, lasting = Settings().sealing_key()
    assert lasting
    assert Settings().sealing_key()[0] == kept
    monkeypatch.setenv("HEFA_SESSION_KEY", "from the environment")
    assert Settings().sealing_key()[0] != kept
    Sessions(Settings().sealing_key()[0], hours=1)


def request(method: str, **headers: str) -> tuple[Request, Sessions]:
    app = Starlette()
    app.state.sessions = Sessions(KEY, hours=1)
    app.state.guesses = Guesses()
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/api/x", "query_string": b"", "headers": raw, "app": app}
    return Request(scope), app.state.sessions


def test_a_bearer_key_needs_no_proof_and_wins_over_the_cookie() -> None:
    _, sessions = request("GET")
    cookie = f"{COOKIE}={sessions.seal('hefa_cookie_key')}"
    asked, _ = request("POST", authorization="Bearer hefa_bearer_key", cookie=cookie)
    assert key_of(asked) == "hefa_bearer_key"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic aGVmYTpoZWZh", "Bearer a b c d e f g"])
def test_what_is_no_bearer_key_is_nobody(header: str) -> None:
    asked, _ = request("GET", authorization=header)
    with pytest.raises(Denied) as denied:
        key_of(asked)
    assert denied.value.status == 401


@pytest.mark.parametrize(
    ("method", "site", "proof", "may"),
    [
        ("GET", "cross-site", False, True),
        ("POST", "same-origin", True, True),
        ("POST", "same-origin", False, False),
        ("POST", "cross-site", True, False),
        ("DELETE", "same-origin", False, False),
    ],
)
def test_a_write_by_cookie_proves_where_it_comes_from(method: str, site: str, proof: bool, may: bool) -> None:
    _, sessions = request("GET")
    cookie = sessions.seal("hefa_cookie_key")
    opened = sessions.open(cookie)
    assert opened
    headers = {"cookie": f"{COOKIE}={cookie}", "sec_fetch_site": site}
    if proof:
        headers["x_csrf_token"] = sessions.csrf(opened.nonce)
    asked, _ = request(method, **headers)
    if may:
        assert key_of(asked) == "hefa_cookie_key"
    else:
        with pytest.raises(Denied) as denied:
            key_of(asked)
        assert denied.value.status == 403
