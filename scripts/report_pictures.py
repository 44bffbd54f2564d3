"""Takes the pictures of a report's first screen that docs/ shows, light and dark, in Chromium.

    python scripts/report_pictures.py demo/unlearned docs/images/report-demo [--width 1000] [--height 1250]

writes docs/images/report-demo-light.png and docs/images/report-demo-dark.png.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with a report.html")
    parser.add_argument("pictures", help="path of the pictures without -light.png and -dark.png")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1250)
    arguments = parser.parse_args()
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        parser.error("Expected Chromium on the PATH, but there is none; do `apt-get install chromium`.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        page = browser.new_page(viewport={"width": arguments.width, "height": arguments.height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.goto((arguments.run / "report.html").absolute().as_uri())
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.quantize(256, dither=Image.Dither.NONE).save(f"{arguments.pictures}-{scheme}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
