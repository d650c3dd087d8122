"""The dashboard in a real browser, on the real thing behind it."""

import re
from collections.abc import Callable

import pytest
import requests
from flask import Flask
from playwright.sync_api import Page, Route, expect

import settings
from app import dashboard
from scripts import charts
from scripts.bootstrap import ROOT
from tests.page.conftest import Shop

pytestmark = [pytest.mark.page, pytest.mark.long]

#: Milliseconds from a webhook to the figure that it changes: the worker's batch and the page's next question.
SOON = 15_000

HOSTILE_NAME = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'
RIGHT_TO_LEFT = "\u202egnp.exe\u202d" + "A" * 200 + "👩‍👩‍👧‍👦"


@pytest.fixture
def sign_in(new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the page for a shop: signed in with its token, or as the administrator."""

    def enter(shop: Shop, *, as_admin: bool = False, **options: object) -> Page:
        page = new_page(**options)
        page.goto(f"{shop.url}/?shop={shop.domain}" if as_admin else shop.url)
        if as_admin:
            configured = settings.load()
            page.get_by_label("Username").fill(configured.admin_username)
            page.get_by_label("Password").fill(configured.admin_password.get_secret_value())
        else:
            page.get_by_text("One shop", exact=True).click()
            page.get_by_label("API token").fill(shop.api_token)
        page.get_by_role("button", name="Sign in").click()
        return page

    return enter


def test_the_administrator_sees_the_shop_that_the_address_names_and_switches(shop, open_shop, sign_in):
    other = open_shop()
    shop.order("12.50")
    page = sign_in(shop, as_admin=True)

    expect(page.locator("#shop-domain")).to_have_text(shop.domain)
    expect(page.locator("#revenue")).to_have_text("€12.50", timeout=SOON)

    # When the other shop is chosen, its figures and its address stand there
    page.get_by_label("Shop", exact=True).select_option(other.domain)
    expect(page.locator("#shop-domain")).to_have_text(other.domain)
    expect(page.locator("#orders")).to_have_text("0")
    expect(page).to_have_url(re.compile(rf"\?shop={re.escape(other.domain)}$"))


def test_a_shop_sees_itself_and_no_switcher(shop, sign_in):
    shop.order("12.50")
    page = sign_in(shop)

    expect(page.locator("#revenue")).to_have_text("€12.50", timeout=SOON)
    expect(page.locator("#shop-switcher")).to_be_hidden()


def test_a_wrong_password_is_told_in_words_and_without_a_dialog_of_the_browser_s(live_server, new_page):
    page = new_page()
    page.goto(live_server)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_contain_text("password")
    expect(page.locator("#dashboard")).to_be_hidden()


def test_no_secret_is_in_the_address_and_signing_out_forgets_it(shop, sign_in):
    page = sign_in(shop)
    expect(page.locator("#orders")).to_have_text("0")
    assert shop.api_token not in page.url

    page.reload()
    expect(page.locator("#orders")).to_have_text("0")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert shop.api_token not in page.evaluate(
        "JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
    )
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_token_that_is_revoked_ends_the_session_with_a_reason(shop, sign_in):
    page = sign_in(shop)
    expect(page.locator("#orders")).to_have_text("0")

    configured = settings.load()
    requests.post(
        f"{shop.url}/api/tenants/{shop.id}/token",
        json={},
        auth=(configured.admin_username, configured.admin_password.get_secret_value()),
        timeout=10,
    ).raise_for_status()

    expect(page.get_by_role("alert")).to_contain_text("sign in", timeout=SOON)
    expect(page.locator("#dashboard")).to_be_hidden()


def test_the_figures_change_after_a_webhook_without_a_reload(shop, sign_in):
    # Given a shop on the screen with one order
    customer_id = shop.customer("Freya", "Lindqvist", "freya@example.com")
    shop.order("100.00", customer_id=customer_id)
    page = sign_in(shop)
    expect(page.locator("#revenue")).to_have_text("€100.00", timeout=SOON)
    # When another order comes in
    shop.order("700000000000000.05", customer_id=customer_id)
    # Then every figure moves, exactly: this sum is beyond what a float can hold with its cents
    expect(page.locator("#revenue")).to_have_text("€700,000,000,000,100.05", timeout=SOON)
    expect(page.locator("#orders")).to_have_text("2")
    expect(page.locator("#average")).to_have_text(re.compile(r"€350,000,000,000,050\.0[23]"))
    expect(page.locator("#customers")).to_have_text("1")
    row = page.locator("#top-customers-body tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Freya Lindqvist")
    expect(page.get_by_role("log")).to_contain_text("orders/create")


def test_shoppers_text_is_shown_and_never_run(shop, sign_in):
    for name in (HOSTILE_NAME, RIGHT_TO_LEFT):
        shop.order("20.00", customer_id=shop.customer(name, "</td></tr></table>", "<b>a@example.com</b>"))
    page = sign_in(shop, width=390, height=844)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    names = page.locator("#top-customers-body .name")
    expect(names).to_have_count(2, timeout=SOON)
    assert {HOSTILE_NAME, RIGHT_TO_LEFT} == {
        name.removesuffix(" </td></tr></table>") for name in names.all_text_contents()
    }
    assert page.locator("#top-customers-body :is(img, script, b)").count() == 0
    assert page.evaluate("window.hacked") is None
    assert dialogs == []
    assert page.evaluate("window.violations") == []
    assert _overflow(page) <= 0


def test_the_policy_stops_markup_made_of_strings_should_someone_write_it(shop, sign_in):
    page = sign_in(shop)
    expect(page.locator("#orders")).to_have_text("0")

    stopped = page.evaluate(
        "() => { try { document.body.innerHTML = '<b></b>'; } catch (error) { return error.name; } }"
    )
    assert stopped == "TypeError"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(shop, sign_in, scheme):
    shop.order("1234567.89", customer_id=shop.customer())
    page = sign_in(shop, as_admin=True, width=390, height=844, color_scheme=scheme, is_mobile=True, has_touch=True)
    expect(page.locator("#revenue")).to_have_text("€1,234,567.89", timeout=SOON)

    assert _overflow(page) <= 0
    page.get_by_text("Custom", exact=True).click()
    expect(page.get_by_label("From", exact=True)).to_be_visible()
    assert _overflow(page) <= 0


def test_the_range_narrows_the_figures_and_stays_in_the_address(shop, sign_in):
    shop.order("1.00", days_ago=40)
    shop.order("2.00", days_ago=10)
    shop.order("4.00")
    page = sign_in(shop)
    expect(page.locator("#revenue")).to_have_text("€7.00", timeout=SOON)

    page.get_by_text("30 days", exact=True).click()
    expect(page.locator("#revenue")).to_have_text("€6.00")
    page.get_by_text("7 days", exact=True).click()
    expect(page.locator("#revenue")).to_have_text("€4.00")
    page.reload()
    expect(page.locator("#revenue")).to_have_text("€4.00")
    assert page.url.endswith("?period=7")

    page.get_by_text("Custom", exact=True).click()
    page.get_by_label("From", exact=True).fill("2026-02-02")
    page.get_by_label("To", exact=True).fill("2026-02-01")
    expect(page.locator("#range-problem")).to_have_text("The first day is after the last.")


def test_the_trend_is_a_chart_and_on_demand_a_table(shop, sign_in):
    problem = charts.install(ROOT)
    if problem is not None:
        pytest.skip(f"the chart library cannot be installed: {problem}")
    shop.order("5.00", days_ago=2)
    shop.order("7.00")
    page = sign_in(shop)

    expect(page.locator("#trend-chart canvas")).to_be_visible(timeout=SOON)
    expect(page.locator("#trend-table")).to_be_hidden()
    page.get_by_role("button", name="Show as table").click()
    expect(page.locator("#trend-chart")).to_be_hidden()
    rows = page.locator("#trend-table tbody tr")
    expect(rows).to_have_count(3)  # every day, also the one without an order
    expect(rows.first).to_contain_text("€7.00")
    page.get_by_role("button", name="Show as chart").click()
    expect(page.locator("#trend-chart canvas")).to_be_visible()
    assert page.evaluate("window.violations") == []


def test_without_the_chart_library_the_page_says_so_and_shows_a_table(shop, sign_in, monkeypatch):
    # Given the page as a server without node_modules makes it
    monkeypatch.setattr(dashboard, "CHART_LIBRARY_PLACES", ())
    bare = Flask("page", static_folder=None)
    bare.register_blueprint(dashboard.blueprint)
    answer = bare.test_client().get("/")
    shop.order("5.00")

    def serve(route: Route) -> None:
        route.fulfill(body=answer.text, headers=dict(answer.headers))

    page = sign_in(shop)
    expect(page.locator("#shop")).to_be_visible()
    page.route(f"{shop.url}/", serve)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()

    expect(page.locator("#trend-without-charts")).to_contain_text("uPlot is not installed")
    expect(page.locator("#trend-table tbody tr")).to_have_count(1, timeout=SOON)
    expect(page.get_by_role("button", name="Show as chart")).to_be_hidden()
    assert not [url for url in asked if "/vendor/" in url]


def test_the_terminal_filters_by_level(shop, sign_in):
    # Given a stored order and one that cannot be stored
    shop.order("5.00")
    shop.order("6.00", note="a NUL: \x00")
    page = sign_in(shop)
    events = page.get_by_role("log")
    error, info = (events.locator(f"[data-level={level}]") for level in ("error", "info"))
    expect(error.first).to_be_visible(timeout=SOON)
    expect(info.first).to_be_attached()
    # When the level info is switched off
    chip = page.get_by_role("group", name="Levels shown").get_by_role("button", name="info")
    chip.click()
    # Then only the others are left, and it comes back
    expect(chip).to_have_attribute("aria-pressed", "false")
    expect(info.locator("visible=true")).to_have_count(0)
    expect(error.first).to_be_visible()
    chip.click()
    expect(info.first).to_be_visible()


def test_the_terminal_stays_where_one_reads_until_one_jumps_to_the_newest(shop, sign_in):
    # Given a terminal with more lines than it shows at once
    page = sign_in(shop, height=1400)
    for _ in range(30):
        shop.customer()
    lines = page.locator("#terminal .line")
    expect(lines.nth(29)).to_be_attached(timeout=SOON)
    expect(page.locator("#jump")).to_be_hidden()
    # When one scrolls up and more lines come
    page.evaluate("document.getElementById('terminal').scrollTop = 0")
    expect(page.locator("#jump")).to_be_visible()
    before = lines.count()
    shop.customer()
    expect(lines.nth(before)).to_be_attached(timeout=SOON)
    # Then the terminal has not moved, and says how many are new
    assert page.evaluate("document.getElementById('terminal').scrollTop") == 0
    expect(page.locator("#jump")).to_contain_text("new")
    # And a click brings the end
    page.locator("#jump").click()
    expect(page.locator("#jump")).to_be_hidden()
    expect(lines.last).to_be_in_viewport()


def test_a_sync_is_started_shown_and_cancelled(shop, sign_in):
    page = sign_in(shop)
    expect(page.locator("#sync-body")).to_contain_text("Never synced")

    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#sync-body .badge").first).to_have_text("running", timeout=SOON)
    expect(page.locator("#sync-body progress").first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#sync-body .badge").first).to_have_text("cancelled", timeout=SOON)
    expect(page.get_by_role("button", name="Sync now")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (429, {"Retry-After": "1"}, "Too many requests"),
        (503, {"Retry-After": "1"}, "cannot answer right now"),
        (500, {}, "Something went wrong"),
    ],
)
def test_a_trouble_is_told_and_passes_by_itself(shop, sign_in, status, headers, words):
    page = sign_in(shop)
    expect(page.locator("#connection")).to_have_text("Live")

    page.route("**/api/sync-status*", lambda route: route.fulfill(status=status, headers=headers, body="{}"))
    expect(page.locator("#page-notice")).to_contain_text(words, timeout=SOON)
    expect(page.locator("#orders")).to_have_text("0")  # what was known stays
    page.unroute("**/api/sync-status*")
    expect(page.locator("#page-notice")).to_be_hidden(timeout=SOON)
    expect(page.locator("#connection")).to_have_text("Live")


def test_a_server_out_of_reach_is_told_at_sign_in(shop, new_page):
    page = new_page()
    page.goto(shop.url)
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_text("One shop", exact=True).click()
    page.get_by_label("API token").fill(shop.api_token)
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


def _overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
