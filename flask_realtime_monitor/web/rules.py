"""Our rules in the app's map of URLs, and the app's own that are in their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response
from werkzeug.routing import Rule


class _EveryMethod(set[str]):
    """The methods that a route of ours answers; any other is one of it, too.

    The gate is to be asked before anybody learns which they are, so that Werkzeug must let all of
    them through. To it None would say that, but the app's own code may list the rules with their
    methods, for a site map or ``flask routes``, and expects a set of names.
    """

    def __contains__(self, _: object) -> bool:
        return True


def add(
    app: Flask,
    path: str,
    endpoint: str,
    view: Callable[..., Response],
    methods: Iterable[str],
    **options: Any,
) -> None:
    """Add a rule that takes every method there is; ``add_url_rule`` would allow some alone.

    Args:
        methods: those that it answers, for who lists the rules.
    """
    map_ = app.url_map
    if map_.host_matching:
        options["host"] = "<_host>"
    rule = app.url_rule_class(
        path,
        endpoint=endpoint,
        methods=None,
        strict_slashes=False,
        merge_slashes=False,
        **options,
    )
    rule.methods = _EveryMethod(methods)
    rule.provide_automatic_options = False  # type: ignore[attr-defined]
    map_.add(rule)
    app.view_functions[endpoint] = view


def of_the_app(app: Flask, prefix: str, ours: str) -> list[Rule]:
    """Return the app's own rules at or under the prefix, where ours are.

    Args:
        ours: what our endpoints begin with.
    """
    map_ = app.url_map
    return [
        rule
        for rule in map_.iter_rules()
        if (rule.rule + "/").startswith(prefix + "/")
        and not rule.endpoint.startswith(ours)
        and (map_.host_matching or rule.subdomain == map_.default_subdomain)
    ]
