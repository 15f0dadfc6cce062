"""The built site, served on this machine, and a browser that may ask nobody else."""

import functools
import http.server
import pathlib
import shutil
import threading

import pytest

SITE = pathlib.Path(__file__).parents[2] / "build" / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def site():
    """The address of the site, on a port of its own."""
    if not (SITE / "index.html").exists():
        pytest.skip("the site is not built: make docs")
    handler = functools.partial(_Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as run:
        options = {"executable_path": program, "args": ["--no-sandbox"]}
        with run.chromium.launch(**options) as launched:
            yield launched


@pytest.fixture
def page(browser, site):
    """A page on which any fault that a browser reports fails the test."""
    faults = []
    with browser.new_context(base_url=site) as context:
        opened = context.new_page()
        opened.on("pageerror", lambda error: faults.append(f"error: {error}"))
        opened.on("console", lambda it: _report(it, faults))
        opened.on("request", lambda it: _ask(it, site, faults))
        opened.on("response", lambda it: _answer(it, faults))
        yield opened
    assert not faults, "\n".join(faults)


def _report(message, faults):
    if message.type in ("error", "warning"):
        faults.append(f"console: {message.text}")


def _ask(request, site, faults):
    if not request.url.startswith((site, "data:", "blob:")):
        faults.append(f"a request leaves the machine: {request.url}")


def _answer(response, faults):
    if response.status >= 400:
        faults.append(f"{response.status}: {response.url}")
