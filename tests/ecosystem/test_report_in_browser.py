"""A report in Chromium: it draws, answers, escapes, and asks nothing of the network."""

import json
import re
import shutil

import pytest

import gradcli as package

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def opened(browser):
    """Open a file; the page must not complain, and must not ask for anything."""
    contexts, said = [], []

    def open_file(path, **more):
        context = browser.new_context(**more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda one: said.append(one.url) if one.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture(scope="module")
def reports(gradcli_once, runs_dir_with_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name in ("one", "arms"):
        gradcli_once("report", name, "-o", str(folder / f"{name}.html"), runs_dir_with_runs)
    return folder


@pytest.mark.parametrize(("name", "megabytes"), [("one", 1), ("arms", 2)])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn_and_nothing_overflows(
    opened, reports, name, megabytes, width, scheme
):
    path = reports / f"{name}.html"
    assert path.stat().st_size < megabytes * 1e6
    page = opened(path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    charts = page.locator(".chart")
    assert charts.count() >= 3
    for chart in charts.all():
        assert chart.locator("canvas").count() == 1
        assert int(chart.get_attribute("data-drawn")) >= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pointing_at_a_chart_and_at_a_map_shows_values(opened, reports, runs_dir_with_runs):
    page = opened(reports / "one.html", viewport={"width": 1400, "height": 900})
    data = json.loads(page.locator('script[data-for="loss"]').text_content())
    chart = page.locator('[data-chart="loss"]')
    chart.scroll_into_view_if_needed()
    chart.focus()
    page.keyboard.press("Home")
    said = page.locator('[data-readout="loss"]').text_content()
    assert said.startswith(f"step {data['x'][0]}: training batches")
    value = float(re.search(r"training batches ([\d.e-]+)", said).group(1))
    assert value == pytest.approx(data["series"][0]["values"][0], rel=1e-4)

    picture = page.locator("svg[data-map-of]:not([hidden])").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    told = page.locator('output[data-readout="layer-norms"]').text_content()
    norms = json.loads(page.locator('script[data-map="layer-norms"]').text_content())
    assert told.startswith(f"{norms['layers'][0]}, step 1: ")
    shown = float(told.rpartition(" ")[2])
    assert shown == pytest.approx(norms["values"][0][0], rel=1e-3)


def test_zoom_is_shared_and_taken_back(opened, reports):
    page = opened(reports / "one.html", viewport={"width": 1400, "height": 900})
    picture = page.locator("svg[data-map-of]").first
    whole = picture.get_attribute("viewBox")
    page.locator('[data-chart="loss"]').focus()
    page.keyboard.press("End")
    page.keyboard.press("+")
    assert picture.get_attribute("viewBox") != whole
    page.keyboard.press("0")
    assert picture.get_attribute("viewBox") == whole


def test_tables_sort_by_numbers(opened, reports):
    page = opened(reports / "arms.html")
    table = page.locator("#trials table")
    heads = table.locator("thead th").all_text_contents()
    column = heads.index("val_accuracy")
    table.locator("thead button").nth(column).click()
    cells = table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
    values = [float(cell) for cell in cells]
    assert values == sorted(values)


def test_what_a_run_says_of_itself_does_not_run(opened, gradcli_once, tmp_path):
    package.train(
        *("data=mnist5k", "model.hidden=[8]", "max_steps=5", "name=nasty"), runs_dir=tmp_path
    )
    gradcli_once("runs", "label", "nasty", "--tag", "x", "--note", NASTY, tmp_path)
    gradcli_once("report", "nasty", "-o", str(tmp_path / "nasty.html"), tmp_path)
    page = opened(tmp_path / "nasty.html")
    assert page.get_by_text(NASTY).count() == 1
    assert page.locator("img").count() == 0
