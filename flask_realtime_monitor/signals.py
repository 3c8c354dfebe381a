"""Blinker signals an application can listen to; the sender is always the Flask app.

They are sent from the background, outside any request, in the order things happened; but
``viewer_connected`` of a page or wall that is opened is sent within that request.
"""

from __future__ import annotations

from blinker import Namespace

_namespace = Namespace()

#: ``activity=`` the activity as a dict.
activity_recorded = _namespace.signal("activity-recorded")

#: ``session=`` the new session as a dict; sent by the worker that saw it first.
session_started = _namespace.signal("session-started")

#: ``session=`` the session as it was when it ended (time-out, sign-out, eviction, or by an admin).
session_ended = _namespace.signal("session-ended")

#: ``user=`` the viewer ``{id, name}`` or None, ``role=`` what the gate granted; a page and its
#: stream are told one each.
viewer_connected = _namespace.signal("viewer-connected")

#: ``user=``, ``role=`` as above.
viewer_disconnected = _namespace.signal("viewer-disconnected")

__all__ = [
    "activity_recorded",
    "session_ended",
    "session_started",
    "viewer_connected",
    "viewer_disconnected",
]
