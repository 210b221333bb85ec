"""Who the key is: its name, its role and its site."""

from dataclasses import dataclass

from hefa_apps.client.connection import Asking

ROLES = ("viewer", "operator", "engineer", "admin")  # each may do what those before it may
ME_TTL = 10.0  # as long as the platform itself believes a key


@dataclass(frozen=True)
class Me:
    """The key that asks, as the platform knows it."""

    id: str
    name: str
    role: str
    site: str

    def may(self, role: str) -> bool:
        """Say whether the key has this role or a higher one; an unknown role is the lowest."""
        return role in ROLES and self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)


class AccessCalls(Asking):
    """The key itself."""

    def me(self) -> Me:
        """Return who asks, at most `ME_TTL` seconds old."""
        return self._connection.held(("me", self._key), ME_TTL, lambda: self._one(Me, "me", {}))
