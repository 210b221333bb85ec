"""How asking the platform fails: `Unavailable` (wait), `Denied` (the key), `Missing` and `Refused` (the question)."""


class Unavailable(Exception):
    """The platform does not answer, or says that it cannot yet. The same request may succeed later."""


class Denied(Exception):
    """The platform does not accept this key for this request."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status  # 401: sign in again; 403: the key is good, its role is not enough; 429: wait
        self.detail = detail


class Refused(Exception):
    """The platform refuses the question itself; `detail` is its sentence about what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail = status, title, detail


class Missing(Refused):
    """There is no such tag, edge or place."""
