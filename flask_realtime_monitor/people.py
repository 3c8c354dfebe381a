"""The users who have a session: a number each, given back when the last session ends."""

from __future__ import annotations

from collections.abc import Callable


class People:
    """Numbers users; a number lives as long as a session holds it."""

    def __init__(self, pseudonym: Callable[[str], int]) -> None:
        self._pseudonym = pseudonym
        self._numbers: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._names: list[str | None] = []
        self._hashes: list[int] = []
        self._keys: list[tuple[int, ...]] = []
        self._free: list[int] = []
        #: Grows whenever a user comes to have another name. What else a number may come to mean
        #: is told by the rows with it, which come and go then.
        self.named = 0
        #: Numbers whose user or name is new since somebody last took note; None: nobody does.
        self.renamed: set[int] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, user_id: str, name: str | None) -> int:
        """Return a user's number, giving one to a new user; a newer name replaces the older."""
        number = self._numbers.get(user_id)
        if number is None:
            if self._free:
                number = self._free.pop()
                self._ids[number], self._names[number] = user_id, name
                self._hashes[number] = self._pseudonym(user_id)
            else:
                number = len(self._ids)
                self._ids.append(user_id)
                self._names.append(name)
                self._hashes.append(self._pseudonym(user_id))
                self._keys.append(())
            self._numbers[user_id] = number
            if self.renamed is not None:
                self.renamed.add(number)
        elif name is not None:
            self.rename(number, name)
        return number

    def rename(self, number: int, name: str) -> None:
        """Keep a user's newest name."""
        if name != self._names[number]:
            self._names[number] = name
            self.named += 1
            if self.renamed is not None:
                self.renamed.add(number)

    def entry(self, number: int) -> tuple[int, str | None, str | None]:
        """Return (number, id, name); no id where the number was given back."""
        return number, self._ids[number], self._names[number]

    def each(self, first: int, step: int) -> list[tuple[int, str | None, str | None]]:
        """Return (number, id, name) of every so many numbers."""
        part = slice(first, None, step)
        numbers = range(first, len(self._ids), step)
        return list(zip(numbers, self._ids[part], self._names[part], strict=True))

    @property
    def size(self) -> int:
        """How many numbers there have ever been."""
        return len(self._ids)

    def find(self, user_id: str) -> int | None:
        """Return the number of a user who has one."""
        return self._numbers.get(user_id)

    def id(self, number: int) -> str | None:
        """Return the id of a number, None once it was given back."""
        return self._ids[number] if number < len(self._ids) else None

    def user(self, number: int) -> tuple[str, str | None] | None:
        """Return (id, name) of a number, None once it was given back."""
        user_id = self.id(number)
        return None if user_id is None else (user_id, self._names[number])

    def hash(self, number: int) -> int:
        """Return the pseudonym of a user by number."""
        return self._hashes[number]

    def keys_of(self, number: int) -> tuple[int, ...]:
        """Return the sessions of a user."""
        return self._keys[number]

    def hold(self, number: int, key: int) -> None:
        """A session of this user began."""
        self._keys[number] += (key,)

    def release(self, number: int, key: int) -> None:
        """A session of this user ended; with the last one the number is given back."""
        left = self._keys[number] = tuple(one for one in self._keys[number] if one != key)
        if not left:
            self._numbers.pop(self._ids[number] or "", None)
            self._ids[number] = self._names[number] = None
            self._free.append(number)
