"""Whoever reads one picture reads the same, where what is told is much, late or out of order."""

from __future__ import annotations

import pytest

from flask_realtime_monitor import outbox

from .support.several import Team


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_no_row_tells_is_told_of_all_rows_though_they_go_in_parts(
    monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    monkeypatch.setattr(outbox, "_MOST_ROWS", 20)
    team = Team(2, session_history_size=5)
    writer, reader = team.mates
    team.flush()
    reader.read()
    for visitor in range(1, 31):
        team.visit(0, visitor, None, path=f"/{visitor}", rule="/<x>")
    for number in range(9):
        team.visit(0, 25, None, path=f"/burst/{number}", rule="/<x>")
    team.visit(0, 0, None, path="/nobody", rule=None, kind="custom", name="event")
    if is_busy:  # what the row of a later part held still as the first was packed
        writer.flusher.flush()
        for number in range(9):
            team.visit(0, 30, None, path=f"/more/{number}", rule="/<x>")
    team.flush()
    team.check(writer, reader)
