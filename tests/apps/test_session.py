import base64
import secrets

import pytest

from hefa_apps.config import Settings
from hefa_apps.session import Sessions, plausible

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
