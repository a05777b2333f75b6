"""`make check-pages`: a browser opens a page of each kind at two widths, and nothing is wider than its window.

Each page is shown in a frame of that width, since a browser's own window cannot be as narrow as a telephone.
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
    sys.exit(wrong)


def look(browser: str, page: Path, width: int) -> dict[str, Any]:
    """What a page says of itself in a frame of this width."""
    probed, frame = page.with_name("probed.html"), page.with_name("frame.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    frame.write_text(FRAME.format(page=probed.name, width=width), encoding="utf-8")
    # --no-sandbox: the pages are our own, and root's browser has no sandbox
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom")
    done = subprocess.run(
        [browser, *words, frame.resolve().as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    answer = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout, re.S)[1]))
    assert isinstance(answer, dict)
    return answer


if __name__ == "__main__":
    main()
