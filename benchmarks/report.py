"""How long the page takes for many photographs, how large it is, and whether it scrolls smoothly.

python benchmarks/report.py [--count 10000] [--seconds 6]

The photographs are random crops of scikit-image's, 500 x 375 pixels, in eight folders, which become their category. The
bundled pair embeds them, the colour probe and a comparison run, and `embprobe report` is timed. Then headless
Chromium scrolls the page up and down and drags the first map, while the page counts the milliseconds between frames.
Needs Chromium and playwright ('.[dev]').
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import skimage.data
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZE = (500, 375)
LATE = 25.0
"""Milliseconds after which a frame of a screen at 60 Hz was missed."""
FRAMES = """() => {
  let last = performance.now();
  window.waits = [];
  const tick = (now) => { waits.push(now - last); last = now; window.ticking = requestAnimationFrame(tick); };
  window.ticking = requestAnimationFrame(tick);
}"""
STOP = "() => { cancelAnimationFrame(window.ticking); return waits.slice(1); }"


def photographs(folder: Path, count: int) -> None:
    """Write crops of four photographs, no two the same."""
    sources = [Image.fromarray(getattr(skimage.data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    rng = np.random.default_rng(0)
    for i in range(count):
        source = sources[i % len(sources)]
        width = int(rng.uniform(0.3, 0.95) * min(source.width, source.height * SIZE[0] / SIZE[1]))
        height = width * SIZE[1] // SIZE[0]
        left, top = (int(rng.integers(0, room + 1)) for room in (source.width - width, source.height - height))
        path = folder / f"{i % 8}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.crop((left, top, left + width, top + height)).resize(SIZE).save(path, quality=85)


def embprobe(*arguments: str | Path, space: Path) -> float:
    """Run the command and return its seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "embprobe", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "EMBPROBE_WORKSPACE": str(space)})
    return time.perf_counter() - started


def frames(page: Page, act: str, seconds: float) -> str:
    """Describe the milliseconds between frames while the wheel turns over the page or the mouse drags its map."""
    if act == "drag":
        page.click("#zoom-in")
    canvas = page.locator("#panels canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    if act == "drag":
        page.mouse.down()
    page.evaluate(FRAMES)
    until = time.perf_counter() + seconds
    for step in itertools.count():
        if time.perf_counter() >= until:
            break
        if act == "drag":
            page.mouse.move(x + 60 * np.cos(step / 8), y + 60 * np.sin(step / 8))
        else:
            page.mouse.wheel(0, 120 if step // 60 % 2 == 0 else -120)
        page.wait_for_timeout(16)
    waits = np.array(page.evaluate(STOP))
    median, high, late = np.median(waits), np.quantile(waits, 0.95), (waits > LATE).mean()
    return f"{act:<6} {median:.1f} ms a frame, 95th percentile {high:.1f}, longest {waits.max():.0f}, {late:.1%} missed"


def main() -> None:
    """Print seconds, megabytes and frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        space, images = Path(temporary) / "space", Path(temporary) / "photographs"
        photographs(images, options.count)
        embprobe("probe", images, "--attribute", "color", "--quick", space=space)
        embprobe("compare", images, space=space)
        seconds = embprobe("report", images, space=space)
        page = space / "report.html"
        size = page.stat().st_size / 1e6
        print(f"{options.count:,} photographs of {SIZE[0]} x {SIZE[1]}: {seconds:.1f} s, a page of {size:.1f} MB")
        seconds = embprobe("report", images, space=space)
        print(f"once more: {seconds:.1f} s")
        scroll(page, options.seconds)


def scroll(file: Path, seconds: float) -> None:
    """Open the page in Chromium and print what moving it costs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        page.wait_for_function("panels.length > 0")
        points = page.evaluate("data.count")
        print(f"{points:,} points in {page.locator('#panels canvas').count()} maps, headless Chromium")
        for act in ("scroll", "drag"):
            print(frames(page, act, seconds))
        browser.close()


if __name__ == "__main__":
    main()
