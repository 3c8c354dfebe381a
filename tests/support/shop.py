"""The shop of docs/api.md, whose admin ends sessions, under a real gunicorn."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from .gunicorn_server import ROOT, GunicornServer


class Shop(GunicornServer):
    """Two workers; "ana" is the admin.

    Args:
        folder: an empty one for its files.
    """

    def __init__(self, folder: Path) -> None:
        *_, example = re.findall(
            r"^```python\n(.*?)^```", (ROOT / "docs/api.md").read_text(), re.M | re.S
        )
        name = f"shop_{os.getpid()}"  # an app's name: other tests run beside
        (folder / f"{name}.py").write_text(example)
        options = ("--workers", "2", "--keep-alive", "60", "--pythonpath", str(folder))
        environ = {"SECRET_KEY": "of the tests", "DATABASE": str(folder / "shop.sqlite")}
        super().__init__(f"{name}:app", *options, **environ)

    def end_path(self, session: dict[str, Any]) -> str:
        """Return where a session is ended."""
        return f"/monitor/api/v1/sessions/{session['id']}/end"
