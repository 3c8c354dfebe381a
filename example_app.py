"""A small tea shop that is watched, and the people who visit it.

- ``make run``: the shop under gunicorn, with visitors.
- ``gunicorn example_app:app``: the shop alone.
- ``python example_app.py visitors --count 5``: visitors for a shop that runs.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from hmac import compare_digest
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    flash,
    redirect,
    render_template,
    request,
    send_file,
    session,
    url_for,
)
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from jinja2 import DictLoader
from werkzeug.wrappers import Response as AnyResponse

from flask_realtime_monitor import RealtimeMonitor, User
from flask_realtime_monitor.gates import login_attribute

# -- goods and people -------------------------------------------------------------------------


class Product(NamedTuple):
    """Something to buy; ``hue`` is the colour of its picture in degrees."""

    id: int
    name: str
    price: float
    hue: int
    text: str


PRODUCTS = (
    Product(1, "Morning Assam", 7.50, 18, "Malty and strong, for before the first meeting."),
    Product(2, "Sencha", 9.20, 128, "Fresh as cut grass; wants water well below the boil."),
    Product(3, "Silver Needle", 16.00, 200, "White tea of buds only. Quiet, a little like melon."),
    Product(4, "Smoked Souchong", 8.90, 345, "Dried over pine. The campfire among the teas."),
    Product(5, "Mountain Oolong", 13.40, 75, "Rolled by hand, good for five pots in a row."),
    Product(6, "Camomile", 4.80, 48, "No tea at all, and the right thing at eleven at night."),
    Product(7, "Clay Teapot", 39.00, 26, "Half a litre, unglazed, remembers what it brewed."),
    Product(8, "Bamboo Whisk", 18.50, 95, "Eighty tines for a bowl of matcha without lumps."),
)

FIRST = ("Maria", "Yusuf", "Ingrid", "Kwame", "Mei", "Tomas", "Aisha", "Liam", "Priya", "Marek")
LAST = ("Lopez", "Demir", "Larsen", "Mensah", "Chen", "Novak", "Hassan", "Byrne", "Nair", "Rossi")
# One shift of the last names after the other, so that the first people share no name at all.
PEOPLE = [f"{FIRST[n]} {LAST[(n + shift) % 10]}" for shift in range(10) for n in range(10)]


class Account(UserMixin):  # type: ignore[misc]
    """Somebody who can sign in; the password is the id again, for this is an example."""

    def __init__(self, name: str, is_admin: bool = False) -> None:
        self.id = name.lower().replace(" ", ".")
        self.name = name
        self.is_admin = is_admin


ACCOUNTS = {
    account.id: account
    for account in (
        Account("Demo"),
        Account("Guest"),
        Account("Admin", is_admin=True),
        *map(Account, PEOPLE),
    )
}

# -- the shop ---------------------------------------------------------------------------------

shop = Blueprint("shop", __name__)
login_manager = LoginManager()
login_manager.user_loader(ACCOUNTS.get)

# Who may watch: whoever is signed in and has a true ``is_admin``.
monitor = RealtimeMonitor(authorize=login_attribute("is_admin"))


def create_app() -> Flask:
    """Return the shop."""
    app = Flask(__name__)
    app.config.update(
        # gunicorn.conf.py makes one key for all its workers; any other server makes its own.
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_hex(32),
        SESSION_COOKIE_NAME="tea_shop",
        SESSION_COOKIE_SAMESITE="Lax",
        # "auto" is right on one host; a Redis can be tried from the command line.
        REALTIME_MONITOR_STORE=os.environ.get("REALTIME_MONITOR_STORE", "auto"),
    )
    app.jinja_loader = DictLoader(PAGES)
    login_manager.init_app(app)
    monitor.init_app(app)
    app.register_blueprint(shop)
    app.logger.addFilter(is_news)
    return app


@monitor.identify
def who() -> User | None:
    """Give the dashboard names; without this it shows ids."""
    return User(current_user.id, current_user.name) if current_user.is_authenticated else None


class KettleError(Exception):
    """What /fail raises."""


def is_news(record: logging.LogRecord) -> bool:
    """Keep the tracebacks of /fail out of the log: visitors make many."""
    return not (record.exc_info and isinstance(record.exc_info[1], KettleError))


@shop.before_app_request
def refuse_other_sites() -> None:
    """Let no form on another site act here; SameSite alone lets other local ports in."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if request.method == "POST" and site != "same-origin":
        abort(403)


@shop.app_context_processor
def basket_size() -> dict[str, int]:
    """Tell every page how much is in the basket."""
    return {"in_basket": sum(session.get("basket", {}).values())}


@shop.get("/")
def home() -> str:
    """Show all products."""
    return render_template("home.html", title="Teas and what they need", products=PRODUCTS)


@shop.get("/product/<int:id>")
def product(id: int) -> str:
    """Show one product."""
    chosen = find_product(id)
    return render_template("home.html", title=chosen.name, products=[chosen])


@shop.get("/search")
def search() -> str:
    """Find products by a part of their name or text."""
    q = request.args.get("q", "").strip()
    found = [one for one in PRODUCTS if q.lower() in f"{one.name} {one.text}".lower()]
    return render_template("home.html", title=f"Found for “{q}”", products=found, q=q)


@shop.get("/cart")
def cart() -> str:
    """Show what is in the basket."""
    rows = [(find_product(int(id)), count) for id, count in session.get("basket", {}).items()]
    total = sum(one.price * count for one, count in rows)
    return render_template("cart.html", title="Basket", rows=rows, total=total)


@shop.post("/cart")
def add_to_cart() -> AnyResponse:
    """Put one of a product into the basket."""
    chosen = find_product(request.form.get("product", 0, type=int))
    basket = session.get("basket", {})
    session["basket"] = {**basket, str(chosen.id): basket.get(str(chosen.id), 0) + 1}
    monitor.track("added to cart", product=chosen.name)
    flash(f"{chosen.name} is in your basket.")
    return redirect(url_for(".cart"), 303)


@shop.post("/checkout")
def checkout() -> AnyResponse:
    """Order what is in the basket."""
    if session.pop("basket", None):
        number = random.randint(100, 999)
        monitor.annotate(f"Order {number}")
        flash(f"Thank you! Order {number} is on its way, as far as an example can send tea.")
    return redirect(url_for(".home"), 303)


@shop.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | tuple[str, int]:
    """Sign in."""
    status = 200
    if request.method == "POST":
        account = ACCOUNTS.get(request.form.get("username", "").strip().lower())
        password = request.form.get("password", "")
        if account and compare_digest(password.encode(), account.id.encode()):
            login_user(account)
            return redirect(url_for(".home"), 303)
        flash("No such username and password.")
        status = 401
    return render_template("login.html", title="Sign in"), status


@shop.post("/logout")
def logout() -> AnyResponse:
    """Sign out, and leave the basket behind."""
    logout_user()
    session.pop("basket", None)
    return redirect(url_for(".home"), 303)


@shop.get("/slow")
def slow() -> str:
    """Take about two seconds; meanwhile the dashboard shows the request in flight."""
    time.sleep(2)
    return render_template("note.html", title="Steeped", text="Good tea takes its time.")


@shop.get("/fail")
def fail() -> str:
    """Raise."""
    raise KettleError("the kettle is empty")


@shop.get("/download")
def download() -> AnyResponse:
    """Send a file: this one."""
    return send_file(__file__, mimetype="text/x-python", as_attachment=True)


@shop.get("/report")
def report() -> Response:
    """Stream a line every half second, for some seconds."""

    def lines() -> Iterator[str]:
        for one in PRODUCTS:
            yield f"{one.name:<16} {random.randint(0, 99):>3} in stock\n"
            time.sleep(0.5)

    return Response(lines(), mimetype="text/plain")


@shop.app_errorhandler(404)
@shop.app_errorhandler(500)
def sorry(error: Exception) -> tuple[str, int]:
    """Answer in the shop's own clothes."""
    status = getattr(error, "code", 500)
    text = "There is no such page." if status == 404 else "Something broke in the kitchen."
    return render_template("note.html", title="Sorry", text=text), status


def find_product(id: int) -> Product:
    """Return a product, or end the request with a 404."""
    return next((one for one in PRODUCTS if one.id == id), None) or abort(404)


PAGES = {
    "layout.html": """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }} · Leaf &amp; Kettle</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --ink: light-dark(#22302a, #e6ece8);
    --paper: light-dark(#f6f4ee, #141a17); --card: light-dark(#fff, #1d2521);
    --line: light-dark(#d5d0c2, #3b4841); --quiet: light-dark(#55635b, #a3b3aa);
    --leaf: light-dark(#1f6b4a, #6fd0a2); --on-leaf: light-dark(#fff, #0d1a14) }
  * { box-sizing: border-box }
  body { margin: 0 auto; max-width: 62rem; padding: 0 1rem; background: var(--paper);
    color: var(--ink); font: 1rem/1.55 system-ui, sans-serif }
  header, footer, form, .row { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem;
    align-items: center; padding: .9rem 0 }
  header { border-bottom: 1px solid var(--line); padding: .2rem 0 }
  header > :first-child { font: 600 1.35rem Georgia, serif; margin-right: auto; color: inherit;
    text-decoration: none }
  header input { width: 10rem }
  h1, h2 { font-family: Georgia, serif; line-height: 1.2; margin: 1.2rem 0 .8rem }
  h2 { font-size: 1.15rem; margin: 0 }
  a, .link { color: var(--leaf) }
  input, button, .button { font: inherit; padding: .4rem .9rem; border-radius: .5rem;
    border: 1px solid var(--line); background: var(--card); color: inherit; max-width: 100% }
  button, .button { background: var(--leaf); color: var(--on-leaf); text-decoration: none }
  .link { background: none; border: 0; padding: 0; text-decoration: underline }
  :focus-visible { outline: 3px solid var(--leaf); outline-offset: 2px }
  .grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)) }
  .card { background: var(--card); border: 1px solid var(--line); border-radius: .8rem;
    padding: 1rem; overflow: hidden; display: flex; flex-direction: column }
  .note { border-left: .35rem solid var(--leaf); margin: 1rem 0; flex-flow: row wrap; gap: 1rem }
  .picture { height: 7rem; margin: -1rem -1rem 1rem; background:
    radial-gradient(circle at 50% 120%, hsl(var(--hue) 55% 34%) 50%, #0000 51%),
    linear-gradient(160deg, hsl(var(--hue) 60% 84%), hsl(var(--hue) 45% 62%)) }
  .card p { flex: 1; margin: .4rem 0 } .card form { padding: 0; justify-content: space-between }
  p, footer { color: var(--quiet) }
  td, th { padding: .3rem 2rem .3rem 0; text-align: left }
</style>
<header>
  <a href="{{ url_for('shop.home') }}">Leaf &amp; Kettle</a>
  <form action="{{ url_for('shop.search') }}" role="search">
    <input type="search" name="q" value="{{ q }}" aria-label="Search">
    <button class="link">Search</button>
  </form>
  <a href="{{ url_for('shop.cart') }}">Basket ({{ in_basket }})</a>
  {% if current_user.is_authenticated %}<form action="{{ url_for('shop.logout') }}" method="post">
    {{ current_user.name }} <button class="link">Sign out</button></form>
  {% else %}<a href="{{ url_for('shop.login') }}">Sign in</a>{% endif %}
</header>
<main>
  {% for text in get_flashed_messages() %}
  <div class="card note" role="status">{{ text }}</div>{% endfor %}
  <h1>{{ title }}</h1>
  {% block body %}{% endblock %}
</main>
<footer>
  <a href="{{ url_for('realtime_monitor.page') }}">Live dashboard</a>
  Give it something to show:
  <a href="{{ url_for('shop.slow') }}">a slow page</a>
  <a href="{{ url_for('shop.fail') }}">a failing page</a>
  <a href="/no-such-page">a missing page</a>
  <a href="{{ url_for('shop.report') }}">a streaming page</a>
  <a href="{{ url_for('shop.download') }}">a download</a>
</footer>
</html>""",
    "home.html": """{% extends "layout.html" %}{% block body %}
{% if request.path == "/" %}<div class="card note">
  <span>Everybody in this shop is on the live dashboard, you too.
  {% if not current_user.is_admin %}<a href="{{ url_for('shop.login') }}">Sign in</a> as
  <code>admin</code> with the password <code>admin</code>, then:{% endif %}</span>
  <a class="button" href="{{ url_for('realtime_monitor.page') }}">Open the dashboard</a>
</div>{% endif %}
<div class="grid">{% for product in products %}<article class="card">
  <div class="picture" style="--hue: {{ product.hue }}"></div>
  <h2><a href="{{ url_for('shop.product', id=product.id) }}">{{ product.name }}</a></h2>
  <p>{{ product.text }}</p>
  <form action="{{ url_for('shop.add_to_cart') }}" method="post">
    <strong>€ {{ "%.2f" % product.price }}</strong>
    <button name="product" value="{{ product.id }}"
      aria-label="Add {{ product.name }} to the basket">Add</button>
  </form>
</article>{% else %}<p>Nothing. Try “tea”.</p>{% endfor %}</div>{% endblock %}""",
    "cart.html": """{% extends "layout.html" %}{% block body %}
{% if rows %}<div class="card"><table>
  <tr><th scope="col">What</th><th scope="col">Count</th><th scope="col">Price</th></tr>
  {% for product, count in rows %}<tr><td>{{ product.name }}</td><td>{{ count }}</td>
    <td>€ {{ "%.2f" % (product.price * count) }}</td></tr>{% endfor %}
</table></div>
<form action="{{ url_for('shop.checkout') }}" method="post">
  <button>Order for € {{ "%.2f" % total }}</button>
</form>{% else %}<p>Nothing in it yet.</p>{% endif %}{% endblock %}""",
    "login.html": """{% extends "layout.html" %}{% block body %}
<form method="post">
  <label>Username <input name="username" autocomplete="username" required></label>
  <label>Password
    <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Sign in</button>
</form>
<p>There are <code>demo</code> / <code>demo</code> and <code>guest</code> / <code>guest</code>, who
may buy, and <code>admin</code> / <code>admin</code>, who may watch the dashboard, too.</p>
{% endblock %}""",
    "note.html": '{% extends "layout.html" %}{% block body %}<p>{{ text }}</p>{% endblock %}',
}

# -- the visitors -----------------------------------------------------------------------------

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
# {0} is a version: with it every visitor has an agent of their own.
AGENTS = (
    f"(Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/{{0}}.0.0.0 Safari/537.36",
    f"(iPhone; CPU iPhone OS 18_6 like Mac OS X) {_APPLE} CriOS/{{0}}.0 Mobile/15E148 Safari/604.1",
    "(X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    f"(Linux; Android 10; K) {_WEBKIT} Chrome/{{0}}.0.0.0 Mobile Safari/537.36",
    f"(Macintosh; Intel Mac OS X 10_15_7) {_APPLE} Version/17.6.{{0}} Safari/605.1.15",
    f"(Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/{{0}}.0.0.0 Safari/537.36 Edg/{{0}}.0.0.0",
    f"(iPad; CPU OS 17_7 like Mac OS X) {_APPLE} Version/17.6.{{0}} Mobile/15E148 Safari/604.1",
)


# What people do, and how often beside each other; a form, be it empty, makes it a POST.
DEEDS: tuple[tuple[str, float, dict[str, str] | None], ...] = (
    ("/", 5, None),
    ("/product/{number}", 8, None),
    ("/search?q=tea", 3, None),
    ("/cart", 3, {"product": "{number}"}),
    ("/checkout", 1, {}),
    ("/slow", 1, None),
    ("/fail", 0.4, None),
    ("/no-such-page", 0.4, None),
    ("/report", 0.4, None),
    ("/download", 0.4, None),
    ("/logout", 0.3, {}),
)
WEIGHTS = [weight for _, weight, _ in DEEDS]


class Visitor(threading.Thread):
    """One person with a browser: even numbers have an account, odd ones stay guests."""

    def __init__(self, number: int, url: str, is_over: threading.Event) -> None:
        super().__init__(daemon=True)
        version = 156 - number // len(AGENTS)
        self.agent = "Mozilla/5.0 " + AGENTS[number % len(AGENTS)].format(version)
        self.username = None if number % 2 else Account(PEOPLE[number // 2]).id
        self._url = url
        self._is_over = is_over
        self._arrive()

    def run(self) -> None:
        """Do one thing after the other, until it is over."""
        pause_s = random.uniform(0, 3)
        while not self._is_over.wait(pause_s):
            pause_s = random.uniform(1, 6)
            try:
                self._act()
            except HTTPError as answer:  # an error page is a page
                answer.close()
            except (OSError, HTTPException):  # no server, or one that starts again
                self._arrive()

    def _arrive(self) -> None:
        # Without ProxyHandler, a proxy set in the environment would be asked for this machine.
        self._browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
        self._browser.addheaders = [("User-Agent", self.agent)]
        self._is_signed_in = False
        # Half of them look around first: guests who become users.
        self._is_in_a_hurry = random.random() < 0.5

    def _act(self) -> None:
        if self.username and self._is_in_a_hurry and not self._is_signed_in:
            self._open("/login", {"username": self.username, "password": self.username})
            self._is_signed_in = True
            return
        self._is_in_a_hurry = True
        path, _, form = random.choices(DEEDS, WEIGHTS)[0]
        if path == "/logout" and not self._is_signed_in:
            return
        self._open(path, form)
        if path == "/logout":
            self._arrive()

    def _open(self, path: str, form: dict[str, str] | None) -> None:
        number = random.choice(PRODUCTS).id
        url = self._url + path.format(number=number)
        data = None
        if form is not None:
            filled = {name: value.format(number=number) for name, value in form.items()}
            data = urlencode(filled).encode()
        with self._browser.open(url, data, timeout=30) as page:
            page.read()


def visit(count: int, url: str, parent: int, make: int | None) -> None:
    """Let ``count`` visitors browse a shop until told to stop, or until the shop has gone.

    Args:
        count: how many; half of them sign in.
        url: where the shop is; it may come later, and go and come again.
        parent: the process that started this one; with it the visitors go.
        make: the process of ``make run``; when it was killed, the shop is stopped as well.
    """
    is_over = threading.Event()
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, lambda *_: is_over.set())
    for number in range(count):
        Visitor(number, url, is_over).start()
    while os.getppid() == parent and not is_over.wait(0.5):
        if make and not is_running(make) and os.getppid() == parent:
            os.kill(parent, signal.SIGTERM)
            return


def is_running(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    """Read the command line."""
    most = 2 * len(PEOPLE)
    parser = argparse.ArgumentParser(description="People who visit the example shop.")
    parser.add_argument("what", choices=["visitors"])
    parser.add_argument("--count", type=int, default=20, help=f"0 to {most}, 20 by default")
    parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="a process to end with")
    parser.add_argument("--make", type=int, help="a process whose end ends the parent, too")
    args = parser.parse_args()
    if not 0 <= args.count <= most:
        parser.error(f"--count is {args.count}; write a number from 0 to {most}")
    visit(args.count, args.url, args.parent, args.make)


app = create_app()

if __name__ == "__main__":
    main()
