"""Ready gates for the common cases: pass one as ``authorize=``."""

from __future__ import annotations

from collections.abc import Callable

from .errors import ConfigError


def login_attribute(name: str) -> Callable[[], bool]:
    """Return a gate that opens for a signed-in Flask-Login user whose attribute is true.

    Args:
        name: an attribute of the user, such as "is_admin"; a method is called.

    Raises:
        ConfigError: the name is no attribute's name, or Flask-Login is not installed.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(
            f"login_attribute takes the name of a user's attribute, such as "
            f'login_attribute("is_admin"), not {name!r}'
        )
    try:
        from flask_login import current_user
    except ImportError:
        raise ConfigError("login_attribute needs Flask-Login: pip install flask-login") from None

    def gate() -> bool:
        if not current_user or not current_user.is_authenticated:
            return False
        value = getattr(current_user, name, False)
        return bool(value() if callable(value) else value)

    return gate
