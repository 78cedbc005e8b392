"""The pictures of the docs, made from the running product: the demo, its console, and a browser.

python -m tests.console.screenshots     # `make screenshots`; writes docs/images/console-*.png
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.console.browser.finding import ARGUMENTS, MISSING, find_browser

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
DESK: Final[ViewportSize] = {"width": 1280, "height": 860}
PHONE: Final[ViewportSize] = {"width": 390, "height": 780}
SETTLED_MS: Final = 800
"""Until the stream is open, and what it brings at once is shown."""


@contextmanager
def demo() -> Iterator[str]:
    """The demo at its end, and the link that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from licet.cli import main; main()", "demo", "--port", "0", "--keep", f"{folder}/shop"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            yield next(line.strip() for line in process.stdout if "/console/sign-in?link=" in line)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def main() -> None:
    """Write them all."""
    program = find_browser()
    if program is None:
        sys.exit(MISSING)
    IMAGES.mkdir(exist_ok=True)
    with demo() as link, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        address = link.partition("/console")[0]
        page = browser.new_context(viewport=DESK).new_page()
        for attempt in range(50):  # it listens in a moment
            try:
                page.goto(link)
                break
            except Exception:
                if attempt == 49:
                    raise
                page.wait_for_timeout(100)
        page.click("main button.btn-main")
        page.wait_for_url(lambda url: "/sign-in" not in url)
        page.wait_for_timeout(SETTLED_MS)
        on_a_desk(page, address)
        elsewhere(browser, page, address)
        browser.close()


def on_a_desk(page: Page, address: str) -> None:
    """A picture of each part."""
    page.goto(f"{address}/console/inbox")
    request = page.locator("a.ask").first.get_attribute("href")
    page.goto(f"{address}/console/audit?verdict=allow&tool=billing.adjust")
    record = page.locator("tr[data-row] a").first.get_attribute("href")
    for name, path in {
        "overview": "/console/overview",
        "inbox": request,
        "audit": "/console/audit",
        "record": record,
        "subject": "/console/subjects?tenant=acme&type=Customer&id=C-412",
        "trace": "/console/traces/ticket-1007",
        "permissions": "/console/permissions",
    }.items():
        shoot(page, f"{address}{path}", name)


def elsewhere(browser: Browser, page: Page, address: str) -> None:
    """On a phone, and in the dark."""
    state = page.context.storage_state()
    page.goto(f"{address}/console/inbox")
    request = page.locator("a.ask").first.get_attribute("href")
    phone = browser.new_context(viewport=PHONE, storage_state=state, device_scale_factor=2).new_page()
    shoot(phone, f"{address}{request}", "inbox-phone")
    dark = browser.new_context(viewport=DESK, storage_state=state, color_scheme="dark").new_page()
    shoot(dark, f"{address}/console/overview", "overview-dark")


def shoot(page: Page, address: str, name: str) -> None:
    """One picture."""
    answer = page.goto(address)
    assert answer is not None
    assert answer.ok, address
    page.wait_for_timeout(SETTLED_MS)
    expect(page.locator("time.at:not([data-zoned])")).to_have_count(0)
    page.screenshot(path=IMAGES / f"console-{name}.png")


if __name__ == "__main__":
    main()
