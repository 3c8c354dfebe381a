"""An app with people in it, and its page as a stranger's browser would get it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from tests.support import apps


class Text(HTMLParser):
    """The text of a page's cards, by stem."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: dict[str, str] = {}
        self.tags: list[str] = []
        self._card = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self._card = named.get("data-card") or self._card
        assert not [name for name in named if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        shown = self.cards.get(self._card, "") + " " + data
        self.cards[self._card] = " ".join(shown.split())


class House(apps.House):
    """The app and its page."""

    def page(self) -> Text:
        """Return the text of the page."""
        text = Text()
        text.feed(self.html())
        return text

    def html(self) -> str:
        """Return the page."""
        return self.client.get("/monitor/").text

    def card(self, stem: str) -> str:
        """Return the text of one card."""
        return self.page().cards[stem]


@pytest.fixture
def house() -> House:
    return House()
