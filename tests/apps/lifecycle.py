"""One app with a route for each way a request can go."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from threading import Event
from typing import Any

import gevent
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    request,
    send_file,
    stream_with_context,
)
from greenlet import GreenletExit
from werkzeug.wrappers import Response as AnyResponse

from flask_realtime_monitor import RealtimeMonitor, User

blueprint = Blueprint("shop", __name__, url_prefix="/shop")


class TeapotError(Exception):
    """An error with a handler of its own."""


@blueprint.get("/item/<int:number>")
def item(number: int) -> str:
    return f"item {number}"


@blueprint.get("/reset/<token>")
def reset(token: str) -> str:
    return "reset"


def plain() -> str:
    return "plain"


def data() -> Response:
    return jsonify(a=1)


def fail() -> str:
    raise ValueError("on purpose")


def teapot() -> str:
    raise TeapotError("handled")


def gone() -> str:
    abort(410)


def fault() -> str:
    abort(500)


def nothing() -> Any:
    return None


def body() -> Response:
    def pieces() -> Iterator[str]:
        for _ in range(3):
            Event().wait(0.1)
            yield "piece"

    return Response(pieces())


def broken_body() -> Response:
    def pieces() -> Iterator[str]:
        yield "piece"
        raise OSError("in the middle")

    return Response(pieces())


def with_context() -> Response:
    def pieces() -> Iterator[str]:
        yield request.path
        yield " and more"

    return Response(stream_with_context(pieces()))


def endless() -> Response:
    def pieces() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000
            Event().wait(0.01)

    return Response(pieces())


def file() -> AnyResponse:
    return send_file(BytesIO(b"file" * 1000), download_name="file.txt")


def disk_file() -> AnyResponse:
    return send_file(__file__)


def away() -> AnyResponse:
    return redirect("/")


def slow() -> str:
    Event().wait(1.2)
    return "slow"


def wsgi() -> Any:
    def answer(_: Any, start_response: Any) -> list[bytes]:
        start_response("202 Accepted", [("Content-Type", "text/plain")])
        return [b"from another app"]

    return answer


def leave(kind: str) -> str:
    kinds = {
        "exit": SystemExit,
        "interrupt": KeyboardInterrupt,
        "greenlet": GreenletExit,
        "timeout": gevent.Timeout,
    }
    raise kinds[kind]


def echo() -> str:
    return f"{len(request.get_data())} bytes"


def health() -> str:
    return "ok"


def early() -> str | None:
    return "early" if request.path == "/early" else None


def before() -> None:
    if request.path == "/before-fails":
        raise RuntimeError("in before_request")


def after(response: Response) -> Response:
    if request.path == "/after-fails":
        raise RuntimeError("in after_request")
    return response


def teardown(_: BaseException | None) -> None:
    if request.path == "/teardown-fails":
        raise RuntimeError("in teardown_request")


def handled(error: TeapotError) -> tuple[str, int]:
    return "short and stout", 418


ROUTES = {
    "/": plain,
    "/data": data,
    "/fail": fail,
    "/teapot": teapot,
    "/gone": gone,
    "/fault": fault,
    "/nothing": nothing,
    "/body": body,
    "/broken-body": broken_body,
    "/with-context": with_context,
    "/endless": endless,
    "/file": file,
    "/disk-file": disk_file,
    "/away": away,
    "/slow": slow,
    "/wsgi": wsgi,
    "/leave/<kind>": leave,
    "/healthz": health,
    "/folder/": plain,
    "/after-fails": plain,
    "/before-fails": plain,
    "/teardown-fails": plain,
}


def bare_app(name: str = "lifecycle") -> Flask:
    """Return the app without a monitor."""
    app = Flask(name, static_folder=None)
    for number, (path, view) in enumerate(ROUTES.items()):
        app.add_url_rule(path, f"{view.__name__}_{number}", view)
    app.add_url_rule("/echo", "echo", echo, methods=["POST", "PUT"])
    app.register_blueprint(blueprint)
    app.before_request(early)
    app.before_request(before)
    app.after_request(after)
    app.teardown_request(teardown)
    app.register_error_handler(TeapotError, handled)
    return app


def create_app(name: str = "lifecycle", **settings: Any) -> tuple[Flask, RealtimeMonitor]:
    """Return the app and its monitor."""
    app = bare_app(name)
    app.config.update({f"REALTIME_MONITOR_{name}": value for name, value in settings.items()})
    monitor = RealtimeMonitor(app, authorize=lambda: request.headers.get("X-Admin") == "yes")

    @monitor.identify
    def who() -> User | None:
        name = request.headers.get("X-User")
        return User(name) if name else None

    return app, monitor


def served() -> Flask:
    """What gunicorn serves: quick to beat, quick to ask the gate again.

    By a name of its own, or the same app in a test process would read this one's picture.
    """
    app, monitor = create_app(
        "served", UPDATE_INTERVAL=0.2, HEARTBEAT_INTERVAL=1, REAUTHORIZE_INTERVAL=1, MAX_VIEWERS=8
    )

    @app.post("/forget/<user>")
    @monitor.exempt
    def forget(user: str) -> str:
        monitor.forget(user)
        return "forgotten"

    return app
