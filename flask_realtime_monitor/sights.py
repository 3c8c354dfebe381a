"""How much of a picture somebody is shown: everything, or all but who people are.

Masked is what docs/json.md calls so: nothing in it is a visitor's own but what they did, and when.
Only the developer's words stay: endpoints, rules, methods, names of activities and exceptions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .source import Person

_MOST_KNOWN = 20_000

Json = dict[str, Any]


class Sight:
    """Shows what was recorded."""

    is_masked = False

    def user_id(self, user_id: str) -> str:
        """Return what a user's id is shown as."""
        return user_id

    def person(self, person: Person | None) -> Person | None:
        """Return id and name as they are shown."""
        return person

    def text(self, text: str | None) -> str | None:
        """Return what is shown of an address or a title."""
        return text

    def path(self, path: str | None, rule: str | None) -> str | None:
        """Return what is shown of a path, where ``rule`` is that of its route, if known."""
        return path

    def data(self, data: Json | None) -> Json:
        """Return what is shown of custom data."""
        return data or {}

    def forget(self) -> None:
        """Keep nothing of anybody."""


REVEALED = Sight()


class Masked(Sight):
    """Shows nobody's id, name, address, titles, data, nor what stood in a path.

    Args:
        pseudonym: returns what stands for a user's id; the same in every worker.
    """

    is_masked = True

    def __init__(self, pseudonym: Callable[[str], str]) -> None:
        self._pseudonym = pseudonym
        self._known: dict[str, str] = {}

    def user_id(self, user_id: str) -> str:
        """Return a user's pseudonym."""
        found = self._known.get(user_id)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[user_id] = self._pseudonym(user_id)
        return found

    def person(self, person: Person | None) -> Person | None:
        """Return the pseudonym and a name made of it."""
        if person is None:
            return None
        shown = self.user_id(person[0])
        return shown, f"User {shown[:4].upper()}"

    def text(self, text: str | None) -> str | None:
        """Return nothing."""
        return None

    def path(self, path: str | None, rule: str | None) -> str | None:
        """Return the rule; None where no route matched."""
        return rule

    def data(self, data: Json | None) -> Json:
        """Return nothing."""
        return {}

    def forget(self) -> None:
        """Keep no id of anybody's."""
        self._known = {}
