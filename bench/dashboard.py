"""What does the dashboard cost when a month of requests lies in the database?

Makes a database of 1,000,000 usage rows of the last 30 days, written as the daemon writes them, and
opens the pages in Chromium: time to the first paint (median), bytes of a first visit (nothing
cached), and CPU of the daemon while the Overview is open. OpenBLAS is not preloaded here.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import models  # noqa: F401  (puts the tests' modules on the path)
import psutil
from fastmlx.admin.nav import PAGES
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import UsageRow
from live import LiveDaemon
from openblas import plain_environment
from playwright.sync_api import Browser, sync_playwright
from report import Report, arguments, median

PAINT_MS, WEIGHT_KB, CPU_PERCENT = 300.0, 150.0, 2.0
CONFIG = "models:\n" + "".join(
    f"  {name}:\n    path: builtin:demo\n" for name in ("qwen", "gemma", "embedder")
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
DAY_MS = 86_400_000
DAYS = 30
BATCH = 20_000


def rows(count: int) -> Iterator[UsageRow]:
    """Of the last 30 days, in order: half by one model, a fifth with a key, one in 200 failed."""
    numbers = random.Random(0)
    end_ms = int(time.time() * 1000)
    start_ms = end_ms - DAYS * DAY_MS
    for number in range(count):
        ttft_ms = numbers.lognormvariate(5, 0.8)
        prompt = int(numbers.lognormvariate(6.5, 1.2))
        output = numbers.randrange(2, 600)
        failed = numbers.random() < 0.005
        yield UsageRow(
            at_ms=start_ms + (end_ms - start_ms) * number // count,
            request_id=f"chatcmpl-{number:032x}",
            model=numbers.choice(("qwen", "qwen", "gemma", "embedder")),
            dialect=numbers.choice(("openai_chat", "anthropic_messages", "ollama_chat")),
            key="laptop" if numbers.random() < 0.2 else None,
            client="127.0.0.1",
            prompt_tokens=prompt,
            cached_tokens=prompt // 2,
            output_tokens=output,
            queue_ms=2.0,
            ttft_ms=None if failed else ttft_ms,
            duration_ms=ttft_ms + output * numbers.lognormvariate(3, 0.3),
            finish_reason=None if failed else "stop",
            error="engine_died: made up" if failed else None,
            stream=True,
        )


def fill(home: Path, count: int) -> None:
    home.mkdir(parents=True, exist_ok=True)
    database = Database(home / "fastmlx.db")
    batch: list[UsageRow] = []
    for row in rows(count):
        batch.append(row)
        if len(batch) == BATCH:
            database.write(batch)
            batch = []
    if batch:
        database.write(batch)
    database.close()


def visit(browser: Browser, url: str) -> tuple[float, float]:
    """A first visit: (milliseconds to the first contentful paint, bytes that came)."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(url)
    weight = sum(sizes)
    while (paint := page.evaluate(PAINTED)) is None:
        page.wait_for_timeout(20)
    context.close()
    return paint, weight


def busy(browser: Browser, url: str, pid: int, seconds: float) -> float:
    """CPU of the daemon in percent of a core while the page is open."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_timeout(2000)
    process = psutil.Process(pid)
    before, began = process.cpu_times(), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, elapsed_s = process.cpu_times(), time.monotonic() - began
    page.close()
    busy_s = (after.user - before.user) + (after.system - before.system)
    return max(0.0, busy_s) / elapsed_s * 100


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="made with these rows unless it is there; kept")
    parser.add_argument("--visits", type=int, default=5, help="medians are shown")
    parser.add_argument("--seconds", type=float, default=15.0, help="of an open Overview")
    options = parser.parse_args()
    count, visits, seconds = options.rows, options.visits, options.seconds
    if options.quick:
        count, visits, seconds = 2_000, 1, 1.0
    report = Report(
        f"The dashboard over {count:,} usage rows (median of {visits} visits)",
        ("what", "measured", "aim", "measured ÷ aim"),
        "as MLX was built",
        options.quick,
    )
    with tempfile.TemporaryDirectory(prefix="fastmlx-bench-") as folder:
        home = options.home or Path(folder) / "home"
        if not (home / "fastmlx.db").exists():
            fill(home, count)
        daemon = LiveDaemon(home, CONFIG, environment=plain_environment())
        with daemon, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            overview = daemon.url + "/admin/"
            visit(browser, overview)  # templates are compiled by their first use
            for query in ("", "?range=30d"):
                paint = median(visit(browser, overview + query)[0] for _ in range(visits))
                report.add(f"first paint, Overview{query}, ms", paint, PAINT_MS, paint / PAINT_MS)
            for page in PAGES[:3] if options.quick else PAGES:
                paint, weight = visit(browser, daemon.url + page.address)
                kilobytes = weight / 1000
                what = f"first visit, {page.name}, kB (painted after {paint:.0f} ms)"
                report.add(what, kilobytes, WEIGHT_KB, kilobytes / WEIGHT_KB)
            cpu = busy(browser, overview, daemon.pid, seconds)
            report.add("CPU, Overview open, % of a core", cpu, CPU_PERCENT, cpu / CPU_PERCENT)
            browser.close()
    report.finish(options.json)


if __name__ == "__main__":
    main()
