"""The site in a browser: `make browser`. Skipped where it or a browser is missing."""

import functools
import html.parser
import urllib.parse

import numpy as np
import pytest

import dropjax as dj
from dropjax import linen, nnx
from tests.browser.conftest import SITE
from tests.test_explorer import SETTINGS, mask_of

pytestmark = pytest.mark.browser

FILES = sorted(it.relative_to(SITE).as_posix() for it in SITE.rglob("*.html"))
FILES = [it for it in FILES if not it.startswith("_static/")]
PAGES = [it for it in FILES if not it.startswith("_modules/")]
# One page of each kind, for what takes seconds.
KINDS = list({it.partition("/")[0]: it for it in PAGES}.values())
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# Elements that reach beyond the window and do not scroll inside of something.
WIDE = """() => [...document.querySelectorAll("main *")]
  .filter((it) => it.getBoundingClientRect().right > innerWidth + 1)
  .filter((it) => !it.closest("mjx-container, pre, .pst-scrollable-table-container"))
  .map((it) => it.outerHTML.slice(0, 100)).slice(0, 5)
"""
PUBLIC = [*dj.__all__, *linen.__all__, *nnx.__all__]


class _Anchors(html.parser.HTMLParser):
    """The targets on a page, and its links to files of the site."""

    def __init__(self, file):
        super().__init__()
        self.anchors, self.links = set(), set()
        self.feed((SITE / file).read_text())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[it] for it in ("id", "name") if values.get(it)}
        self.links |= {values[it] for it in ("href", "src") if values.get(it)}


@functools.cache
def anchors_of(file):
    return _Anchors(file)


@pytest.mark.parametrize("file", FILES)
def test_no_link_or_anchor_is_dead(file):
    dead = []
    for link in anchors_of(file).links:
        address = urllib.parse.urlsplit(link)
        if address.scheme or address.netloc:
            continue
        own = f"/{file}"
        path = urllib.parse.urljoin(own, urllib.parse.unquote(address.path) or own)[1:]
        path += "index.html" if path == "" or path.endswith("/") else ""
        anchor = urllib.parse.unquote(address.fragment)
        if not (SITE / path).is_file() or (
            anchor and path.endswith(".html") and anchor not in anchors_of(path).anchors
        ):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("file", PAGES)
def test_a_page_opens_without_a_fault_and_fits_a_phone(page, file):
    page.set_viewport_size(PHONE)
    page.goto(file)
    page.evaluate("() => window.MathJax?.startup?.promise")
    wide = page.evaluate(WIDE)
    size = page.evaluate("() => document.scrollingElement.scrollWidth")
    assert size <= PHONE["width"], wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("file", KINDS)
def test_axe_finds_no_serious_fault(page, file, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme=scheme)
    page.goto(file)
    page.evaluate("() => window.MathJax?.startup?.promise")
    assert page.evaluate("() => document.documentElement.dataset.theme") == scheme
    found = [
        f"{it['impact']}: {it['id']}, {it['help']}: {it['nodes'][0]['html'][:200]}"
        for it in axe.run(page, options={"preload": False}).response["violations"]
        if it["impact"] in ("serious", "critical")
    ]
    assert not found, "\n".join(found)


def test_search_finds_every_public_name(page):
    page.goto("search.html?q=dropout")
    page.wait_for_function("() => Search.hasIndex()")
    missing = page.evaluate(
        """(names) => names.filter((name) => !Search
          ._performSearch(...Search._parseQuery(name))
          .some(([file, title]) => /^(reference|methods)\\b/.test(file)
            && title.toLowerCase().includes(name.toLowerCase())))""",
        sorted(set(PUBLIC)),
    )
    assert not missing


def test_search_shows_what_it_finds(page):
    page.goto("search.html?q=spatial_dropout")
    result = page.locator("#search-results a", has_text="spatial_dropout").first
    result.click()
    assert "spatial_dropout" in page.url


# The page's controls have sizes of at most 32, or less, and seeds below 1000.
SHOWN = [it | {"seed": it["seed"] % 1000} for it in SETTINGS[::4]]
SHOWN += [it | {"seed": 1 + it["seed"] % 999} for it in SETTINGS[1::8]]


@pytest.mark.parametrize(
    "setting", SHOWN, ids=lambda it: f"{it['method']}-{it['rate']}"
)
def test_the_explorer_draws_the_masks_of_the_package(page, setting):
    query = setting | {"shape": ",".join(map(str, setting["shape"]))}
    page.goto(f"explorer.html?{urllib.parse.urlencode(query)}")
    shown = page.locator("#explorer")
    mask = shown.get_attribute("data-mask")
    expected = mask_of(**setting)
    assert mask == "".join("01"[int(kept)] for kept in np.ravel(expected))
    assert shown.get_attribute("data-mask-shape") == ",".join(map(str, expected.shape))


def test_the_controls_of_the_explorer_change_the_mask_and_the_program(page):
    page.goto("explorer.html")
    shown = page.locator("#explorer")
    before = shown.get_attribute("data-mask")
    page.get_by_label("method").select_option("drop_block")
    page.get_by_label("seed").press("ArrowRight")
    page.get_by_label("block_size").press("ArrowLeft")
    assert shown.get_attribute("data-mask") != before
    program = shown.locator("code").inner_text()
    drawn = {}
    exec(compile(program, "explorer", "exec"), drawn)
    assert "block_size=3" in program
    assert "jax.random.key(1, " in program
    expected = "".join("01"[int(kept)] for kept in np.ravel(drawn["mask"]))
    assert shown.get_attribute("data-mask") == expected
