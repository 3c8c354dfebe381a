"""What a real browser tells of who makes a request: our page may end a session, others may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")

from tests.support.shop import Shop
from tests.support.waiting import DEADLINE_S, wait_until

#: What an admin is told whose request is not the dashboard's, or without its token.
REFUSED = {
    False: "only the dashboard itself may ask for this",
    True: "the page is too old, or was opened by somebody else; load it again",
}
SIGN_IN = "fetch('/sign-in', {method: 'POST', body: new URLSearchParams({name: 'ana'})})"
FETCH = """async ([path, token, mode]) => {
  const headers = token ? {'X-Monitor-Token': token} : {};
  const credentials = 'include';
  try {
    return (await fetch(path, {method: 'POST', headers, mode, credentials})).status;
  } catch {
    return 'blocked';
  }
}"""
FORM = """([action, enctype]) => {
  const form = document.createElement('form');
  Object.assign(form, {method: 'post', action, enctype});
  const field = document.createElement('input');
  Object.assign(field, {name: '{"a":"', value: '"}'});
  form.append(field);
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    yield made
    made.close()


@pytest.fixture
def admin(browser: Any, shop: Shop) -> Iterator[Any]:
    """A browser in which the admin is signed in, and the dashboard open."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(DEADLINE_S * 1000)
    page.goto(f"{shop.url}/")
    page.evaluate(SIGN_IN)  # by the browser itself, so that the cookie is as a form's would be
    page.goto(f"{shop.url}/monitor/")
    yield page
    context.close()


def guest(admin: Any, shop: Shop) -> Any:
    """A guest's session that a worker has told of."""
    shop.ask("/", User_Agent="a guest")
    url = f"{shop.url}/monitor/api/v1/sessions?who=guests"
    found = wait_until(lambda: admin.context.request.get(url).json()["items"], "a guest is seen")
    return found[0]


def is_there(admin: Any, shop: Shop, session: Any) -> bool:
    url = f"{shop.url}/monitor/api/v1/sessions/{session['id']}"
    status: int = admin.context.request.get(url).status
    return status == 200


@pytest.mark.parametrize("mode", ["cors", "same-origin"])
def test_the_dashboard_s_own_fetch_ends_a_session(admin: Any, shop: Shop, mode: str) -> None:
    session, token = guest(admin, shop), admin.locator("body").get_attribute("data-token")
    path = shop.end_path(session)
    assert admin.evaluate(FETCH, [path, "", mode]) == 403
    assert is_there(admin, shop, session)
    assert admin.evaluate(FETCH, [path, token, mode]) == 200
    wait_until(lambda: not is_there(admin, shop, session), "it has ended in all workers")


@pytest.mark.parametrize("is_own_site", [False, True])
def test_a_form_of_another_page_ends_nothing(admin: Any, shop: Shop, is_own_site: bool) -> None:
    session = guest(admin, shop)
    elsewhere = shop.url if is_own_site else shop.url.replace("127.0.0.1", "localhost")
    for enctype in ("text/plain", "application/x-www-form-urlencoded"):
        page = admin.context.new_page()
        page.goto(f"{elsewhere}/")
        with page.expect_navigation() as sent:
            page.evaluate(FORM, [shop.url + shop.end_path(session), enctype])
        # The admin's cookie came along, else it were "forbidden".
        assert (sent.value.status, sent.value.json()["error"]) == (403, REFUSED[is_own_site])
        page.close()
    assert is_there(admin, shop, session)


def test_a_script_of_another_site_ends_nothing(admin: Any, shop: Shop) -> None:
    session, token = guest(admin, shop), admin.locator("body").get_attribute("data-token")
    page = admin.context.new_page()
    page.goto(shop.url.replace("127.0.0.1", "localhost") + "/")
    url = shop.url + shop.end_path(session)
    # With a header of its own it has to ask first, and is not answered; without, it sees nothing.
    assert page.evaluate(FETCH, [url, token, "cors"]) == "blocked"
    assert page.evaluate(FETCH, [url, "", "no-cors"]) == 0
    assert is_there(admin, shop, session)
