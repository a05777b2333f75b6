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
        import axe_playwright_python  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("skipped: Playwright is not installed: pip install '.[browser]'")
        return 0
    if browser_path is None:
        print(f"skipped: there is no browser, one of {', '.join(BROWSERS)}")
        return 0
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name in ("flower.jpg", "china.jpg"):
        Image.fromarray(load_sample_image(name)).save(SHOTS / name)
    (SHOTS / "text.txt").write_text("no image")
    violations: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        with serving("cifar10", "again=cifar10", "--log-json") as (address, _):
            for scheme, size in (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)):
                page = browser.new_page(viewport=size, color_scheme=scheme)
                violations += use(page, address, f"{scheme}-{size['width']}")
                page.close()
        with serving("cifar10", "--token", "sesame") as (address, _):
            log_in(browser, address)
        browser.close()
    for one in violations:
        print(one)
    print(f"the page was used at two widths, light and dark: {len(violations)} violations; screenshots in {SHOTS}")
    return len(violations) > 0


def use(page, address: str, name: str) -> list[str]:
    """Use all of the page; what axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe

    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(address)
    until(page, "document.querySelector('#model').options.length == 2")
    page.screenshot(path=SHOTS / f"{name}-1-empty.png", full_page=True)
    classify(page, name)
    look_and_compare(page)
    page.screenshot(path=SHOTS / f"{name}-3-all.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
    found = Axe().run(page).response["violations"]
    assert not told, told
    give_what_is_no_image(page)
    page.screenshot(path=SHOTS / f"{name}-4-error.png", full_page=True)
    take_a_picture(page, SHOTS / f"{name}-5-camera.png")
    return [f"{name}: {one['id']}: {one['help']}" for one in found]


def classify(page, name: str) -> None:
    """Drop an image; point at a class; change the test; paste another."""
    give(page, "drop", "#drop", SHOTS / "flower.jpg")
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
    for change in (
        lambda: page.locator("#scale").fill("128"),
        lambda: page.select_option("#views", "crops"),
        lambda: give(page, "paste", "#give", SHOTS / "china.jpg"),
        lambda: give(page, "drop", "#drop", SHOTS / "flower.jpg"),
    ):
        before = scores(page)
        change()
        wait_for_other_scores(page, before)


def look_and_compare(page) -> None:
    """The same by two models; channels of a layer; a second image; the calls as programs."""
    page.select_option("#other", "again")
    until(page, "document.querySelectorAll('.bars').length == 2")
    page.select_option("#layer", "relu3_1")
    page.click("#show-channels")
    until(page, "document.querySelectorAll('#channels img').length == 12")
    page.set_input_files("#second-file", SHOTS / "china.jpg")
    page.wait_for_selector("#distance:visible")
    assert re.match(r"content: [\d.]+", page.inner_text("#distance")), page.inner_text("#distance")
    until(page, "document.querySelector('#difference').naturalWidth > 0")
    for kind, prints in {
        "compare": "{'metric'",
        "channels": "[{'layer'",
        "map": "",
        "predict": "[{'label'",
    }.items():
        page.select_option("#call", kind)
        page.click("#copy-python")
        check_program([sys.executable, "-c", page.inner_text("#code")], prints)
        page.click("#copy-curl")
        check_program(["sh", "-c", page.inner_text("#code")], prints.replace("'", '"'))
    assert Image.open(SHOTS / "map.png").format == "PNG"


def give_what_is_no_image(page) -> None:
    give(page, "drop", "#drop", SHOTS / "text.txt")
    page.wait_for_selector("#answer-error:not(:empty)")
    assert "not a readable image" in page.inner_text("#answer-error")


def take_a_picture(page, shot: Path) -> None:
    page.click("#camera")
    page.wait_for_selector("#shoot:enabled")
    until(page, "document.querySelector('#video').videoWidth > 0")
    page.screenshot(path=shot)
    page.click("#shoot")
    page.wait_for_selector("#answer-error:empty", state="attached")
    page.wait_for_selector(".bars button")


def log_in(browser, address: str) -> None:
    """The token is the password that the browser asks for."""
    page = browser.new_context(http_credentials={"username": "anyone", "password": "sesame"}).new_page()
    page.goto(address)
    until(page, "document.querySelector('#model').options.length == 1")
    give(page, "drop", "#drop", SHOTS / "flower.jpg")
    page.wait_for_selector(".bars button")
    until(page, "state.token")
    page.click("#copy-curl")
    assert '-H "Authorization: Bearer $VERYDEEP_TOKEN"' in page.inner_text("#code")


def give(page, event: str, where: str, file: Path) -> None:
    """Drop or paste a file, as a browser tells it."""
    kind = "image/jpeg" if file.suffix == ".jpg" else "text/plain"
    page.evaluate(
        """([event, where, bytes, name, type]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, {type}));
            const options = {bubbles: true, cancelable: true};
            document.querySelector(where).dispatchEvent(
                event == "drop" ? new DragEvent("drop", {...options, dataTransfer: data})
                                : new ClipboardEvent("paste", {...options, clipboardData: data}));
        }""",
        [event, where, list(file.read_bytes()), file.name, kind],
    )


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


def check_program(words: list[str], prints: str) -> None:
    """A program that the page gives works where the images are."""
    found = subprocess.run(words, cwd=SHOTS, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.startswith(prints)) == (0, True), found


if __name__ == "__main__":
    sys.exit(main())
