"""A User-Agent in three words: browser family, operating system, kind of device.

Plain searches, no regular expression, on a text that was cut before; done when read, not when
recorded.
"""

from __future__ import annotations

from functools import lru_cache

_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Opera", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Headless Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Safari/", "Safari"),
    ("MSIE ", "Internet Explorer"),
    ("Trident/", "Internet Explorer"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("python-requests/", "Requests"),
    ("python-httpx/", "HTTPX"),
    ("Python-urllib/", "urllib"),
    ("aiohttp/", "aiohttp"),
    ("Go-http-client/", "Go"),
    ("okhttp/", "OkHttp"),
    ("PostmanRuntime/", "Postman"),
    ("Werkzeug/", "Werkzeug"),
)
_SYSTEMS = (
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
)
_BOTS = ("bot", "crawl", "spider", "slurp", "preview", "monitor", "headless", "probe", "scan")


@lru_cache(maxsize=4096)
def describe(agent: str) -> dict[str, object]:
    """Return ``{browser, os, device, is_bot}``; what is not known is None."""
    lower = agent.lower()
    browser = next((name for mark, name in _BROWSERS if mark in agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    is_bot = any(mark in lower for mark in _BOTS)
    device = None
    if "iPad" in agent or "Tablet" in agent or (system == "Android" and "Mobile" not in agent):
        device = "tablet"
    elif "Mobi" in agent or "iPhone" in agent:
        device = "phone"
    elif system is not None and browser is not None:
        device = "desktop"
    return {"browser": browser, "os": system, "device": device, "is_bot": is_bot}
