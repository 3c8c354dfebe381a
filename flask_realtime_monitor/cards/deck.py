"""The cards that an app adds: checked when they are added, contained when they fail."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigError, MonitorError
from .base import Card
from .reader import Reader

logger = logging.getLogger("flask_realtime_monitor")

_STEM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_STEM = 40
_MOST_TOLD = 100
_EXAMPLE = 'Card("baskets", "Baskets", baskets, folder=Path(__file__).parent / "cards")'


class CardFailed(MonitorError):
    """A card's own code failed; the log has been told."""


class Template(Protocol):
    """What a template's text becomes."""

    def render(self, **names: Any) -> str:
        """Return the HTML."""


class FirstSight(NamedTuple):
    """A card as the page first shows it.

    Attributes:
        stem: the card's.
        title: the card's.
        html: what is inside, None where the card failed.
    """

    stem: str
    title: str
    html: str | None


class Deck:
    """The own cards of one RealtimeMonitor, in the order in which they were added.

    Their files are read when they are added, so that no path is followed at a request, and all
    workers that fork later serve the same.

    Args:
        taken: the stems of the cards that are there anyway.
    """

    def __init__(self, taken: Collection[str]) -> None:
        self._taken = taken
        self._cards: dict[str, tuple[Card, Template]] = {}
        self._told: set[tuple[str, str, str]] = set()
        #: Scripts and styles, by their names among the page's files.
        self.files: dict[str, bytes] = {}

    def __contains__(self, stem: str) -> bool:
        return stem in self._cards

    def add(self, card: Any, compiled: Callable[[str], Template]) -> None:
        """Add a card.

        Args:
            card: a Card with a folder.
            compiled: makes a template of its text; a ValueError of its says what is wrong with it.

        Raises:
            ConfigError: something about the card is wrong; the text says what to write instead.
        """
        if not isinstance(card, Card):
            raise ConfigError(
                f"add_card takes a Card, not {type(card).__name__}; write add_card({_EXAMPLE})"
            )
        self._check(card)
        folder = _folder(card)
        template = _compile(card, folder, compiled)
        script = _file(card, folder, "js")
        self.files[f"cards/{card.stem}.js"] = script
        if (folder / f"{card.stem}.css").is_file():
            self.files[f"cards/{card.stem}.css"] = _file(card, folder, "css")
        self._cards[card.stem] = card, template

    def data(self, stem: str, reader: Reader) -> Any:
        """Return what a card's data function gives, as plain JSON data.

        Raises:
            CardFailed: it raised, or returned what JSON does not have.
        """
        card, _ = self._cards[stem]
        try:
            return json.loads(json.dumps(card.data(reader), allow_nan=False))
        except Exception as error:  # the app's own code: the page lives on without this card
            self._tell(stem, "data", error)
            raise CardFailed(stem) from error

    def sights(self, reader: Reader) -> list[FirstSight]:
        """Return all cards as the page first shows them. A card that fails is told of, no more."""
        return [
            FirstSight(stem, card.title, self._html(stem, template, reader))
            for stem, (card, template) in self._cards.items()
        ]

    def _html(self, stem: str, template: Template, reader: Reader) -> str | None:
        try:
            shown = self.data(stem, reader)
        except CardFailed:
            return None
        try:
            html = template.render(shown=shown)
            html.encode()  # half a character would break the whole page
        except Exception as error:  # likewise
            self._tell(stem, "template", error)
            return None
        return html

    def _tell(self, stem: str, part: str, error: Exception) -> None:
        """Log the first failure of a kind."""
        kind = (stem, part, type(error).__name__)
        is_first = kind not in self._told and len(self._told) < _MOST_TOLD
        if is_first:
            self._told.add(kind)
        logger.log(
            logging.WARNING if is_first else logging.DEBUG,
            "the %s of card %r failed: %s (further ones of this kind at debug level)",
            *(part, stem, kind[2]),
            exc_info=error if is_first else None,
        )

    def _check(self, card: Card) -> None:
        stem, title, data = card.stem, card.title, card.data
        if not isinstance(stem, str) or not _STEM.fullmatch(stem) or len(stem) > _LONGEST_STEM:
            raise ConfigError(
                f"a card's stem is a name such as 'baskets' or 'late-orders' (small letters, "
                f"digits, dashes, at most {_LONGEST_STEM}), not {stem!r}"
            )
        if stem in self._taken or stem in self._cards:
            raise ConfigError(
                f"there is a card {stem!r} already; give yours another stem, such as 'our-{stem}'"
            )
        if not isinstance(title, str) or not title.strip():
            raise ConfigError(f"card {stem!r}: the title is the heading, a text, not {title!r}")
        if not callable(data):
            raise ConfigError(
                f"card {stem!r}: data is a function that takes a Reader and returns JSON data, "
                f"not {type(data).__name__}"
            )
        if iscoroutinefunction(data):
            raise ConfigError(f"card {stem!r}: data is an async def; write a plain def")


def _folder(card: Card) -> Path:
    """Return where a card's files lie."""
    if card.folder is None:
        raise ConfigError(
            f"card {card.stem!r} has no folder; say where {card.stem}.html and {card.stem}.js "
            f'lie: folder=Path(__file__).parent / "cards"'
        )
    try:
        folder = Path(card.folder)
    except TypeError:
        raise ConfigError(
            f"card {card.stem!r}: folder is a path, not {type(card.folder).__name__}"
        ) from None
    if not folder.is_absolute():
        raise ConfigError(
            f"card {card.stem!r}: the folder {str(folder)!r} is relative, and would depend on "
            f"where the server is started; write Path(__file__).parent / {str(folder)!r}"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"card {card.stem!r}: there is no folder {str(folder)!r}; make it, with "
            f"{card.stem}.html and {card.stem}.js in it"
        )
    return folder


def _file(card: Card, folder: Path, suffix: str) -> bytes:
    """Return a file of a card."""
    path = folder / f"{card.stem}.{suffix}"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"card {card.stem!r}: {str(path)!r} cannot be read ({error.strerror}); a card has "
            f"{card.stem}.html, {card.stem}.js and, if you like, {card.stem}.css in its folder"
        ) from error


def _compile(card: Card, folder: Path, compiled: Callable[[str], Template]) -> Template:
    content = _file(card, folder, "html")
    try:
        return compiled(content.decode())
    except ValueError as error:
        raise ConfigError(f"card {card.stem!r}: {card.stem}.html: {error}") from error
