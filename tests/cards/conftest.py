"""An app with people in it, and its page as a stranger's browser would get it."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask, abort, request

from flask_realtime_monitor import RealtimeMonitor, User
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.testing import strict


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


class House:
    """A small app, its visitors and its dashboard."""

    def __init__(self) -> None:
        self.app = Flask("house")
        self.monitor = RealtimeMonitor(self.app, authorize=lambda: True)
        strict(self.app)

        @self.monitor.identify
        def who() -> User | None:
            name = request.headers.get("X-User")
            return User(name, request.headers.get("X-Name")) if name else None

        @self.app.get("/<path:name>")
        def page(name: str) -> str:
            if name == "fail":
                abort(500)
            return name

    def visit(self, path: str, user: str = "", name: str = "", agent: str = "tests") -> None:
        headers = {"User-Agent": agent}
        if user:
            headers |= {"X-User": user, "X-Name": name}
        self.app.test_client().get(path, headers=headers)

    @property
    def picture(self) -> Picture:
        picture: Picture = self.app.extensions["realtime_monitor"].live.picture
        return picture

    def page(self) -> Text:
        text = Text()
        text.feed(self.app.test_client().get("/monitor/").text)
        return text

    def card(self, stem: str) -> str:
        return self.page().cards[stem]

    def get(self, path: str) -> Any:
        return self.app.test_client().get(path)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def visit(house: House) -> Callable[..., None]:
    return house.visit
