"""The dashboard: pages rendered here, made live by htmx, working without it.

One module of `pages/` is one page; its template holds the whole page and, as blocks, the fragments
that it refreshes. `mount.blueprint()` joins them for `daemon.app`.
"""

from .mount import blueprint

__all__ = ["blueprint"]
