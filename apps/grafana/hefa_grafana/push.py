"""The one door to an existing Grafana: folder, data source, dashboards and alert rules, by its HTTP API.

What is there already and equal is left alone, so that a second push changes nothing and makes no new version.
Grafana's own fields (ids, versions, defaults that it adds) are not compared. Nothing is ever deleted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError, GrafanaTimeoutError
from niquests.exceptions import RequestException

OLDEST = (11, 0)  # `grafana-postgresql-datasource` and the alerting provisioning API in today's form
_MESSAGE = "hefa-grafana push"


class PushFailed(Exception):
    """Grafana did not take it. The text says what happened and what to do."""


@dataclass(frozen=True)
class Content:
    """What a Grafana should have. `datasource` as POST /api/datasources takes it, `alerts` as a rule group is PUT."""

    folder_uid: str
    folder_title: str
    datasource: Mapping[str, Any] | None
    dashboards: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, Any] | None


@dataclass(frozen=True)
class Step:
    """One thing looked at: `new` and `changed` were written (with a dry run: would be)."""

    kind: str
    name: str
    state: Literal["new", "changed", "unchanged"]


def push(url: str, token: str, content: Content, *, dry_run: bool = False, timeout: float = 10) -> Iterator[Step]:
    """Bring a Grafana to `content`, step by step. Raises PushFailed; what was done until then stays and is told.

    `token` is a service account's; the role Editor writes folder and dashboards, Admin data source and alert rules too.
    """
    grafana = _connect(url, token, timeout)
    try:
        _require_version(url, grafana)
        yield _folder(grafana, content, dry_run)
        if content.datasource is not None:
            yield _datasource(grafana, content.datasource, dry_run)
        for uid, model in content.dashboards.items():
            yield _dashboard(grafana, content.folder_uid, uid, model, dry_run)
        if content.alerts is not None:
            yield _alerts(grafana, content.folder_uid, content.alerts, dry_run)
    finally:
        grafana.client.s.close()


def _connect(url: str, token: str, timeout: float) -> GrafanaApi:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PushFailed(f"{url!r} is no address of a Grafana: http(s)://host[:port][/path]")
    prefix = parts.path.strip("/")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return GrafanaApi(
        token,
        protocol=parts.scheme,
        host=host,
        port=parts.port,
        url_path_prefix=f"{prefix}/" if prefix else "",
        timeout=timeout,
        user_agent="hefa-grafana",
    )


def _require_version(url: str, grafana: GrafanaApi) -> None:
    settings = _ask(f"GET {url}", lambda: grafana.client.GET("/frontend/settings"))
    build = settings.get("buildInfo") if isinstance(settings, dict) else None
    text = build.get("version") if isinstance(build, dict) else None
    if not isinstance(text, str):
        raise PushFailed(f"{url} answers, but not as a Grafana does: is this its address, with its path if it has one?")
    try:
        version = tuple(int(part) for part in text.split("-")[0].split("+")[0].split(".")[:2])
    except ValueError:
        return  # a build of one's own
    if version < OLDEST:
        raise PushFailed(f"{url} is Grafana {text}; the dashboards need {OLDEST[0]}.{OLDEST[1]} or newer: upgrade it")


def _folder(grafana: GrafanaApi, content: Content, dry_run: bool) -> Step:
    what = f"folder {content.folder_title!r}"
    there = _find(what, lambda: grafana.folder.get_folder(content.folder_uid))
    # A folder that people renamed keeps its name: the uid is what dashboards refer to.
    if there is None and not dry_run:
        _ask(what, lambda: grafana.folder.create_folder(content.folder_title, content.folder_uid))
    return Step("folder", content.folder_title, "unchanged" if there is not None else "new")


def _datasource(grafana: GrafanaApi, wanted: Mapping[str, Any], dry_run: bool) -> Step:
    uid, name = wanted["uid"], wanted["name"]
    what = f"data source {name!r}"
    there = _find(what, lambda: grafana.client.GET(f"/datasources/uid/{uid}"))
    if there is None:
        if not dry_run:
            _ask(what, lambda: grafana.datasource.create_datasource(dict(wanted)))
        return Step("data source", name, "new")
    # A password is never told back: one that is given is always written.
    if "secureJsonData" not in wanted and _covers(there, wanted):
        return Step("data source", name, "unchanged")
    if there.get("readOnly"):
        raise PushFailed(f"{what} is provisioned by a file on that Grafana's host: change it there, or push without it")
    if not dry_run:
        _ask(what, lambda: grafana.datasource.update_datasource_by_uid(uid, dict(wanted)))
    return Step("data source", name, "changed")


def _dashboard(grafana: GrafanaApi, folder: str, uid: str, model: Mapping[str, Any], dry_run: bool) -> Step:
    what = f"dashboard {model['title']!r}"
    there = _find(what, lambda: grafana.dashboard.get_dashboard(uid))
    wanted = {**model, "uid": uid, "id": None}
    if there is not None:
        stored, meta = there.get("dashboard", {}), there.get("meta", {})
        compared = {key: value for key, value in wanted.items() if key != "id"}
        if meta.get("folderUid") == folder and _covers(stored, compared):
            return Step("dashboard", model["title"], "unchanged")
        if meta.get("provisioned"):
            raise PushFailed(f"{what} is provisioned by a file on that Grafana's host: change it there")
    if not dry_run:
        body = {"dashboard": wanted, "folderUid": folder, "message": _MESSAGE, "overwrite": True}
        _ask(what, lambda: grafana.dashboard.update_dashboard(body))
    return Step("dashboard", model["title"], "new" if there is None else "changed")


def _alerts(grafana: GrafanaApi, folder: str, wanted: Mapping[str, Any], dry_run: bool) -> Step:
    title = wanted["title"]
    what = f"alert rules {title!r}"
    there = _find(what, lambda: grafana.alertingprovisioning.get_rule_group(folder, title))
    # Answered without rules by some versions, rather than with 404, where the group is not there.
    absent = there is None or not there.get("rules")
    # The organisation is the token's, whatever a rule says.
    compared = {**wanted, "rules": [{k: v for k, v in rule.items() if k != "orgID"} for rule in wanted["rules"]]}
    if not absent and _covers(there, compared):
        return Step("alert rules", title, "unchanged")
    if not dry_run:
        # Without the header the rules could not be changed by people in Grafana any more.
        _ask(what, lambda: grafana.alertingprovisioning.update_rule_group(folder, title, dict(wanted), True))
    return Step("alert rules", title, "new" if absent else "changed")


def _covers(stored: Any, wanted: Any) -> bool:
    """Whether everything `wanted` is stored; what Grafana adds does not count, nor 1 against 1.0."""
    if isinstance(wanted, Mapping):
        return isinstance(stored, Mapping) and all(
            _covers(stored[key], value) if key in stored else value in (None, False, "", 0, [], {})
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(stored, list)
            and len(stored) == len(wanted)
            and all(_covers(have, want) for have, want in zip(stored, wanted, strict=True))
        )
    return bool(stored == wanted)


def _find(what: str, ask: Callable[[], Any]) -> Any | None:
    """The answer, or None where there is no such thing."""
    return _ask(what, ask, absent_is_fine=True)


def _ask(what: str, ask: Callable[[], Any], *, absent_is_fine: bool = False) -> Any:
    """One request; every way it can fail becomes a PushFailed that says what to do."""
    try:
        answer = ask()
    except GrafanaTimeoutError as error:
        raise PushFailed(f"{what}: no answer in time; is Grafana overloaded? --timeout gives it longer") from error
    except GrafanaClientError as error:
        if error.status_code == 404 and absent_is_fine:
            return None
        raise PushFailed(f"{what}: {_refused(error)}") from error
    except GrafanaServerError as error:
        raise PushFailed(
            f"{what}: Grafana failed with {error.status_code} ({_said(error)}): its log says why; then push again"
        ) from error
    except ValueError as error:  # JSON errors are some of these, and of RequestException too
        raise PushFailed(
            f"{what}: the answer is no JSON: is this Grafana's address, and not a proxy's page?"
        ) from error
    except (GrafanaException, RequestException, OSError) as error:
        raise PushFailed(f"{what}: cannot be reached ({type(error).__name__}): check address, port and TLS") from error
    if not isinstance(answer, dict):
        raise PushFailed(f"{what}: the answer is not Grafana's: is this its address, and not a sign-in page's?")
    return answer


def _refused(error: GrafanaClientError) -> str:
    said = _said(error)
    match error.status_code:
        case 401:
            return "the token is wrong, expired or of another Grafana: make one under Administration > Service accounts"
        case 403:
            return f"the token may not do this ({said}): give its service account the role Admin, or Editor with --no-alerts and without --database"
        case 404:
            return f"not found ({said}): is the path in the address right?"
        case 409:
            return f"something else has that name ({said}): rename it in Grafana, or delete it"
        case 412:
            return f"it was changed by somebody else meanwhile, or is taken ({said}): look at it in Grafana, then push again"
        case status:
            return f"Grafana refused it with {status} ({said})"


def _said(error: GrafanaException) -> str:
    response = error.response
    text = response.get("message") if isinstance(response, dict) else response
    return " ".join(str(text or "no reason given").split())[:200]
