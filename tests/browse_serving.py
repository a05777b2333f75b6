"""`make check-serving`: a browser uses the page of `verydeep serve`, and axe-core looks for barriers.

Screenshots are left in build/serving. Without Chromium or Playwright it says so and ends.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "build" / "serving"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def serving(*words: str) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address, and the number of the process."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    log = SHOTS / "server.log"  # a pipe that nobody reads would stop it
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "verydeep", "serve", *words, "--port", "0"], stderr=file, stdout=file
        )
    try:
        wait(lambda: "serving at" in log.read_text() or process.poll() is not None)
        found = re.search(r"serving at (\S+);", log.read_text())
        assert found, log.read_text()
        yield found[1], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.returncode == 0, log.read_text()[-2000:]


def main() -> int:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from axe_playwright_python.sync_playwright import Axe
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("skipped: Playwright is not installed: pip install '.[browser]'")
        return 0
    if browser_path is None:
        print(f"skipped: there is no browser, one of {', '.join(BROWSERS)}")
        return 0
    SHOTS.mkdir(parents=True, exist_ok=True)
    first, second = SHOTS / "flower.jpg", SHOTS / "china.jpg"
    for path in (first, second):
        Image.fromarray(load_sample_image(path.name)).save(path)
    text = SHOTS / "text.txt"
    text.write_text("no image")
    violations: list[str] = []

    with (
        serving("cifar10", "again=cifar10", "--log-json") as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        for scheme, size in (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)):
            name = f"{scheme}-{size['width']}"
            page = browser.new_page(viewport=size, color_scheme=scheme)
            told: list[str] = []
            page.on(
                "console", lambda message, told=told: told.append(message.text) if message.type == "error" else 0
            )
            page.on("pageerror", lambda error, told=told: told.append(str(error)))
            page.goto(address)
            until(page, "document.querySelector('#model').options.length == 2")
            page.screenshot(path=SHOTS / f"{name}-1-empty.png", full_page=True)

            drop(page, "#drop", first)
            page.wait_for_selector(".bars button")
            assert page.locator(".bars button").count() == 5
            until(page, "document.querySelector('#photo').naturalWidth > 0")  # which moves what lies below
            page.locator(".bars button").first.hover()
            page.wait_for_selector("#frame.mapped")
            page.screenshot(path=SHOTS / f"{name}-2-map.png", full_page=True)
            page.mouse.move(0, 0)
            page.wait_for_selector("#frame:not(.mapped)")
            page.locator(".bars button").nth(1).focus()
            page.wait_for_selector("#frame.mapped")
            page.locator(".bars button").nth(1).blur()

            before = scores(page)
            slide(page, 128)
            wait_for_other_scores(page, before)
            before = scores(page)
            page.select_option("#views", "crops")
            wait_for_other_scores(page, before)

            page.select_option("#other", "again")
            until(page, "document.querySelectorAll('.bars').length == 2")
            page.select_option("#layer", "relu3_1")
            page.click("#show-channels")
            until(page, "document.querySelectorAll('#channels img').length == 12")

            page.set_input_files("#second-file", second)
            page.wait_for_selector("#distance:visible")
            assert re.match(r"content: [\d.]+", page.inner_text("#distance")), page.inner_text("#distance")
            until(page, "document.querySelector('#difference').naturalWidth > 0")
            page.click("#copy-python")
            check_program(page.inner_text("#code"))
            page.click("#copy-curl")
            assert page.inner_text("#code").startswith("curl --data-binary '@flower.jpg'")
            page.screenshot(path=SHOTS / f"{name}-3-all.png", full_page=True)

            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
            found = Axe().run(page)
            violations += [f"{name}: {one['id']}: {one['help']}" for one in found.response["violations"]]
            assert not told, told

            drop(page, "#drop", text)
            page.wait_for_selector("#answer-error:not(:empty)")
            assert "not a readable image" in page.inner_text("#answer-error")
            page.screenshot(path=SHOTS / f"{name}-4-error.png", full_page=True)
            page.click("#camera")
            page.wait_for_selector("#shoot:enabled")
            until(page, "document.querySelector('#video').videoWidth > 0")
            page.screenshot(path=SHOTS / f"{name}-5-camera.png")
            page.click("#shoot")
            page.wait_for_selector("#answer-error:empty", state="attached")
            page.close()
        browser.close()
    for one in violations:
        print(one)
    print(f"the page was used at two widths, light and dark: {len(violations)} violations; screenshots in {SHOTS}")
    return len(violations) > 0


def drop(page, where: str, file: Path) -> None:
    """Drop a file, as a browser tells it."""
    transfer = page.evaluate_handle(
        """([bytes, name, type]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
            return transfer;
        }""",
        [list(file.read_bytes()), file.name, "image/jpeg" if file.suffix == ".jpg" else "text/plain"],
    )
    page.dispatch_event(where, "drop", {"dataTransfer": transfer})


def slide(page, value: int) -> None:
    page.locator("#scale").fill(str(value))


def scores(page) -> list[str]:
    return page.locator(".bars button").all_inner_texts()


def wait_for_other_scores(page, before: list[str]) -> None:
    wait(lambda: len(scores(page)) == 5 and scores(page) != before)


def until(page, expression: str) -> None:
    """Wait until JavaScript is true. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    wait(lambda: page.evaluate(expression))


def wait(done: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def check_program(program: str) -> None:
    """The program that the page gives prints what the page shows."""
    found = subprocess.run([sys.executable, "-c", program], cwd=SHOTS, capture_output=True, text=True, check=True)
    assert re.match(r"\[\{'label': '\w+', 'score': ", found.stdout), found


if __name__ == "__main__":
    sys.exit(main())
