"""The menu-bar item of macOS, through rumps: the one seam to it. It was not run on the Linux
machines on which the tests run; what it shows is decided in `menu`, which is tested.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

from .menu import BETWEEN, Action, Menu, menu

EVERY_S = 2.0


class MenuBar:
    """`status` asks the daemon, None when there is none; `post` tells it to load or unload, and
    raises an Exception whose text is for people. Both block and are called in threads."""

    def __init__(
        self,
        rumps: Any,
        status: Callable[[], dict[str, Any] | None],
        post: Callable[[str, str], None],
    ) -> None:
        self._rumps = rumps
        self._status_of = status
        self._post = post
        self._status: dict[str, Any] | None = None
        self._problem: str | None = None
        self._shown: Menu | None = None
        self._asking = False
        # rumps adds a Quit of its own unless told not to.
        self._app = rumps.App("fastmlx", quit_button=None)
        self._timer = rumps.Timer(self._tick, EVERY_S)

    def run(self) -> None:
        """Until Quit."""
        self._timer.start()
        self._app.run()

    def _tick(self, _: Any) -> None:
        """On AppKit's thread, which alone may draw; asking may take long and goes elsewhere."""
        shown = menu(self._status, self._problem)
        if shown != self._shown:
            self._shown = shown
            self._draw(shown)
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            self._status = self._status_of()
        finally:
            self._asking = False

    def _draw(self, shown: Menu) -> None:
        self._app.title = shown.title
        self._app.menu.clear()
        for item in shown.items:
            if item == BETWEEN:
                self._app.menu.add(self._rumps.separator)
                continue
            line = self._rumps.MenuItem(item.text, callback=self._clicked(item.action))
            line.state = int(item.checked)
            self._app.menu.add(line)

    def _clicked(self, action: Action | None) -> Callable[[Any], None] | None:
        if action is None:
            return None  # rumps greys it out
        return lambda _: self._do(action)

    def _do(self, action: Action) -> None:
        if action.verb == "quit":
            self._rumps.quit_application()
        elif action.verb == "dashboard" and self._status is not None:
            webbrowser.open(f"{self._status['url']}/admin/")
        else:
            threading.Thread(target=self._carry_out, args=(action,), daemon=True).start()

    def _carry_out(self, action: Action) -> None:
        try:
            if action.verb in ("load", "unload"):
                self._post(action.model, action.verb)
            else:  # restart also starts an installed service that does not run
                self._restart()
            self._problem = None
        except Exception as error:  # whatever it is: it belongs into the menu
            self._problem = str(error) or type(error).__name__

    def _restart(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "fastmlx.daemon", "restart"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or "fastmlx restart failed")
