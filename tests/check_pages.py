"""`make check-pages`: a browser opens a page of each kind at two widths, and nothing is wider than its window.

Each page is shown in a frame of that width, since a browser's own window cannot be as narrow as a telephone. All
pages of the documentation's website are among them, if `make docs` has built it.
"""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pages import make_pages

WIDTHS = (1200, 400)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROBE = """<script>addEventListener("load", () => {
  const free = style => /auto|scroll/.test(style.overflowX) || style.clipPath !== "none";
  const inScroller = element => element && (free(getComputedStyle(element)) || inScroller(element.parentElement));
  const outside = [...document.body.querySelectorAll("*")].filter(element => {
    const box = element.getBoundingClientRect();
    return (box.right > innerWidth + 1 || box.left < -1) && !inScroller(element);
  });
  parent.postMessage(JSON.stringify({
    window: innerWidth, page: document.documentElement.scrollWidth,
    outside: outside.map(element => element.outerHTML.slice(0, 80)),
  }), "*");
})</script></body>"""
FRAME = """<script>
addEventListener("message", event => document.querySelector("pre").textContent = event.data)
</script>
<iframe src="{page}" style="border: 0; width: {width}px; height: 900px"></iframe><pre></pre>"""

SITE = Path(__file__).parent.parent / "build" / "docs"
ALL_PAGES = """<pre></pre><script>
const free = (element, view) => element && (
  /auto|scroll|hidden/.test(view.getComputedStyle(element).overflowX) || free(element.parentElement, view));
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  frame.src = page;
  const loaded = new Promise(done => frame.onload = done);
  document.body.append(frame);
  await loaded;
  const view = frame.contentWindow, text = frame.contentDocument;
  const outside = [...text.querySelectorAll("article *")].filter(element =>
    element.getBoundingClientRect().right > width + 1 && !free(element.parentElement, view));
  const seen = {page, width, wide: text.documentElement.scrollWidth,
    outside: outside.map(element => element.outerHTML.slice(0, 80))};
  frame.remove();
  return seen;
}
async function all(pages, widths) {
  const seen = [];
  for (const page of pages) for (const width of widths) seen.push(await look(page, width));
  document.querySelector("pre").textContent = JSON.stringify(seen);
}
all(PAGES, WIDTHS);
</script>"""


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"skipped: no browser is here ({', '.join(BROWSERS)})")
        return
    wrong = False
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with contextlib.redirect_stdout(io.StringIO()):
            pages = make_pages()
        for name, page in pages.items():
            for width in WIDTHS:
                seen = look(browser, page, width)
                print(f"{name}, {width} pixels: the page is {seen['page']} wide", *seen["outside"], sep="\n  ")
                wrong |= seen["window"] != width or seen["page"] > width or bool(seen["outside"])
    sys.exit(wrong | site_is_wrong(browser))


def site_is_wrong(browser: str) -> bool:
    """Whether a page of the website is wider than its window; such pages are named."""
    pages = [
        str(page.relative_to(SITE)) for page in sorted(SITE.rglob("*.html")) if "_downloads" not in page.parts
    ]
    if not pages:
        print("the website is skipped: `make docs` builds it")
        return False
    probe = SITE / "_all_pages.html"
    probe.write_text(ALL_PAGES.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS)))
    try:
        seen = json.loads(
            printed(browser, probe, "--virtual-time-budget=200000", "--allow-file-access-from-files")
        )
    finally:
        probe.unlink()
    wide = [one for one in seen if one["wide"] > one["width"] or one["outside"]]
    print(f"website: {len(pages)} pages, {len(wide)} wider than their window", *wide, sep="\n  ")
    return bool(wide)


def look(browser: str, page: Path, width: int) -> dict[str, Any]:
    """What a page says of itself in a frame of this width."""
    probed, frame = page.with_name("probed.html"), page.with_name("frame.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    frame.write_text(FRAME.format(page=probed.name, width=width), encoding="utf-8")
    answer = json.loads(printed(browser, frame, "--virtual-time-budget=5000"))
    assert isinstance(answer, dict)
    return answer


def printed(browser: str, page: Path, *options: str) -> str:
    """What the script of a page writes into its first <pre>."""
    # --no-sandbox: the pages are our own, and root's browser has no sandbox
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *options)
    done = subprocess.run(
        [browser, *words, page.resolve().as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    return html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout, re.S)[1])


if __name__ == "__main__":
    main()
