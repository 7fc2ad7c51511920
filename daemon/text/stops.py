"""Stop strings: found wherever the stream is cut, never leaked, any number of them.

Aho & Corasick's automaton ("Efficient string matching: an aid to bibliographic search", 1975). Its
state after some text is the longest suffix of that text that begins a stop string, which is exactly
what has to be held back; so the work per character does not depend on how many strings there are.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache


class _Node:
    __slots__ = ("depth", "fail", "match", "next")

    def __init__(self, depth: int) -> None:
        self.next: dict[str, _Node] = {}
        self.fail: _Node | None = None  # the longest proper suffix that is in the tree
        self.depth = depth
        self.match: str | None = None  # the longest stop string that ends here


@lru_cache(maxsize=8)  # the choices of a request, and requests of one client, share it
def _automaton(stops: tuple[str, ...]) -> _Node:
    root = _Node(0)
    for stop in stops:
        node = root
        for character in stop:
            node = node.next.setdefault(character, _Node(node.depth + 1))
        if node is not root:
            node.match = stop
    queue: deque[_Node] = deque([root])
    while queue:
        node = queue.popleft()
        for character, child in node.next.items():
            fail = node.fail
            while fail is not None and character not in fail.next:
                fail = fail.fail
            child.fail = root if fail is None else fail.next[character]
            if child.match is None:
                child.match = child.fail.match
            queue.append(child)
    return root


class StopMatcher:
    """Passes text on until a stop string is complete in it.

    The match that is complete first wins, the longest one of those that end together. `matched` is
    the stop string once that happened; the text before it was passed on, the rest is dropped.
    Empty stop strings are ignored.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._root = self._node = _automaton(stops)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """What of the text so far can no longer be part of a stop string."""
        if self.matched is not None:
            return ""
        root, node = self._root, self._node
        for position, character in enumerate(text):
            while (after := node.next.get(character)) is None and node is not root:
                assert node.fail is not None  # only the root has none
                node = node.fail
            node = after or root
            if node.match is not None:
                self.matched = node.match
                seen = self._held + text[: position + 1]
                self._held = ""
                return seen[: len(seen) - len(node.match)]
        self._node = node
        seen = self._held + text
        cut = len(seen) - node.depth
        self._held = seen[cut:]
        return seen[:cut]

    def flush(self) -> str:
        """What is held back, because nothing follows it; the matcher starts anew."""
        held, self._held, self._node = self._held, "", self._root
        return held
