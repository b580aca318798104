"""The page in a real browser: nothing goes wrong, nothing is fetched, nothing sticks out, everything loads and answers."""

from __future__ import annotations

import shutil

import pytest

from anyjepa.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser was found: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        # Containers often run as root and have little shared memory.
        started = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=120_000
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(ijepa_run, tmp_path_factory):
    return write_report(ijepa_run, out=tmp_path_factory.mktemp("page") / "report.html", images=20)


@pytest.fixture(params=[(390, "dark"), (1280, "light")], ids=["phone", "desktop"])
def shown(request, browser, file):
    """The page, and all that was said and asked for while it was loaded and used."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    outside = [url for url in page.requests if not url.startswith("data:")]
    assert page.complaints == [] and outside == [file.as_uri()]


def test_it_fits_and_everything_loads(shown):
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    sticking_out = """[...document.querySelectorAll("main *, header *")].filter((e) => !e.closest(".scroll, details")
        && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map((e) => e.outerHTML)"""
    assert shown.evaluate(sticking_out) == []
    widths = shown.evaluate("[...document.images].map((i) => i.complete ? i.naturalWidth : 0)")
    assert len(widths) > 100 and min(widths) > 0
    # The policy lets the page's own style through.
    assert shown.evaluate("getComputedStyle(document.querySelector('nav ul')).display") == "flex"


def test_its_links_lead_where_they_say(shown):
    targets = shown.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))")
    assert len(targets) == 10
    for target in (targets[1], targets[-2]):
        shown.locator(f"nav a[href='{target}']").click()
        shown.wait_for_function(
            "(id) => { const top = document.querySelector(id).getBoundingClientRect().top; return top > -5 && top < 790 }",
            arg=target,
        )


def test_pointing_at_a_chart_reads_all_of_them(shown):
    before = shown.locator(".chart output").all_inner_texts()
    chart = shown.locator(".chart svg.plot").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    shown.mouse.move(box["x"] + 0.14 * box["width"], box["y"] + box["height"] / 2)
    during = shown.locator(".chart output").all_inner_texts()
    steps = set(shown.locator(".chart .step").all_inner_texts())
    assert len(steps) == 1 and "at step 1" in steps.pop()
    assert len(during) == len(before) and during != before and all(during)
    shown.mouse.move(0, 0)
    assert shown.locator(".chart output").all_inner_texts() == before
    chart.focus()
    shown.keyboard.press("ArrowLeft")
    assert "at step 4" in shown.locator(".chart .step").first.inner_text()


def contrast(first: str, second: str) -> float:
    """Contrast of two CSS colours rgb(r, g, b), 1 to 21 (WCAG 2)."""

    def luminance(colour: str) -> float:
        parts = [float(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read(shown):
    pairs = shown.evaluate(
        """[".verdict p", ".verdict h2", ".note", "dt", "a", "figcaption", "td", ".changed td", "caption, thead th", "footer p"]
        .map((selector) => {
          const element = document.querySelector(selector);
          let ground = element;
          while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
          return [selector, getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
        })"""
    )
    assert {
        name: contrast(text, ground) for name, text, ground in pairs if contrast(text, ground) < 4.5
    } == {}


def test_paper_shows_what_was_folded(shown):
    shown.emulate_media(media="print")
    assert shown.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    shown.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.evaluate("[...document.querySelectorAll('details')].every((d) => d.open)")
