"""One file, from the Hub to its blob: goes on at the byte where it stopped, and is checked.

The Hub's own client (since 1.x) throws away what it has when its process ends. So the bytes are
fetched here, over its session: proxies, certificates and the offline mode are its own.

    blobs/DIGEST.partial ── grows, also across processes ──► checked ──► blobs/DIGEST
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ..protocol.errors import DiskFull, DownloadFailed, FastMLXError
from .explain import explain, is_passing, retry_after_s
from .files import RemoteFile
from .redirects import guard

if TYPE_CHECKING:
    from .cache_folder import CacheFolder

LOCK_EVERY_S = 0.3
READ_BYTES = 1 << 20


class Patience(NamedTuple):
    """How long broken connections are put up with."""

    tries: int = 8  # in a row, without a byte in between
    first_s: float = 1.0
    longest_s: float = 30.0

    def wait_s(self, failures: int, asked_s: float | None = None) -> float | None:
        """Before the next try, after so many failures (1 …); None to give up. `asked_s` is what
        the server wants us to wait."""
        if failures >= self.tries:
            return None
        own = min(self.longest_s, self.first_s * 2.0 ** (failures - 1))
        return own if asked_s is None else min(max(own, asked_s), 10 * self.longest_s)


class Stopped(Exception):
    """Somebody paused or cancelled it; what is here stays."""


class Transfer:
    """Fetches one content. `report(bytes)` is told how much of it is here, from the thread that
    runs; it grows, and falls only when a damaged beginning had to be thrown away."""

    def __init__(
        self,
        model: str,
        commit: str,
        file: RemoteFile,
        folder: CacheFolder,
        stop: threading.Event,
        report: Callable[[int], None],
        patience: Patience,
    ) -> None:
        self._model = model
        self._commit = commit
        self._file = file
        self._folder = folder
        self._stop = stop
        self._report = report
        self._patience = patience

    def run(self) -> None:
        """Blocking. Returns when the blob is there and linked.

        Raises Stopped, or FastMLXError: no access, given up, disk full, wrong content twice.
        """
        file, folder = self._file, self._folder
        with self._locked():
            if not folder.has(self._commit, file):
                try:
                    with folder.partial(file).open("a+b") as target:
                        self._fetch(_Partial(target, file))
                    folder.partial(file).replace(folder.blob(file))
                except OSError as error:
                    raise _of_the_disk(error) from error
            self._report(file.size_bytes)
            folder.publish(self._commit, file)

    def _fetch(self, partial: _Partial) -> None:
        """Until the content is whole and right."""
        partial.take_up(self._check_stop)
        self._report(partial.size_bytes)
        failures = mismatches = 0
        furthest = partial.size_bytes  # bytes that came before count as no progress
        while partial.size_bytes < self._file.size_bytes or not partial.is_right():
            if partial.size_bytes >= self._file.size_bytes:
                mismatches += 1
                furthest = 0
                partial.restart()
                if mismatches == 2:
                    raise DownloadFailed(
                        f"{self._file.name} of {self._model} arrived damaged twice: its checksum "
                        f"is not {self._file.digest[:12]}…. It was thrown away."
                    )
            error = self._try(partial)
            if error is None:
                failures = 0
                continue
            failures = 1 if partial.size_bytes > furthest else failures + 1
            furthest = max(furthest, partial.size_bytes)
            wait_s = self._patience.wait_s(failures, retry_after_s(error))
            if wait_s is None:
                raise explain(self._model, None, error) from error
            if self._stop.wait(wait_s):
                raise Stopped
        partial.close()

    def _try(self, partial: _Partial) -> Exception | None:
        """One connection, until it ends or the file does. Returns what broke it; None when as much
        came as was promised. Raises what another try would not mend."""
        chunks = self._chunks(partial)
        while True:
            self._check_stop()
            try:
                chunk = next(chunks, None)
            except (Stopped, FastMLXError):
                raise
            except Exception as error:  # of the network: the client's HTTP library has many
                if not is_passing(error):
                    raise explain(self._model, None, error) from error
                return error
            if chunk is None:
                is_short = partial.size_bytes < self._file.size_bytes
                return ConnectionError("the connection ended too early") if is_short else None
            partial.write(chunk)
            self._report(partial.size_bytes)
            if partial.size_bytes >= self._file.size_bytes:
                chunks.close()
                return None

    def _chunks(self, partial: _Partial) -> Generator[bytes]:
        """The rest of the content, in pieces as they come."""
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        guard()
        url = hf_hub_url(self._model, self._file.name, revision=self._commit)
        # Compressed, a range would be one of other bytes.
        headers = build_hf_headers(library_name="fastmlx") | {"accept-encoding": "identity"}
        if partial.size_bytes:
            headers["range"] = f"bytes={partial.size_bytes}-"
        timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code == 416:  # the server's file is shorter than what is here
                partial.restart()
                raise ConnectionError("the server has no such part of the file")
            if response.status_code >= 400:
                response.read()
                hf_raise_for_status(response)
            if partial.size_bytes and not _goes_on(response, partial.size_bytes):
                partial.restart()  # the server sends it from its beginning
                if response.status_code != 200:
                    raise ConnectionError("the server sent another part of the file than asked")
            yield from response.iter_raw()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Against other processes, and other downloads of this one, that fetch the same content."""
        path = self._folder.lock(self._file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise _of_the_disk(error) from error
        with file:
            while True:
                self._check_stop()
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._stop.wait(LOCK_EVERY_S)
                except OSError as error:
                    if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
                        raise _of_the_disk(error) from error
                    break  # a file system without locks
            yield


class _Partial:
    """The beginning of a content, in its file and in its checksum."""

    def __init__(self, target: IO[bytes], file: RemoteFile) -> None:
        self._target = target
        self._file = file
        self._hash = _hash(file)
        self.size_bytes = 0

    def take_up(self, check_stop: Callable[[], None]) -> None:
        """What an earlier run has left counts, and is read once for the checksum."""
        self._target.seek(0)
        while piece := self._target.read(READ_BYTES):
            check_stop()
            self._hash.update(piece)
            self.size_bytes += len(piece)
        if self.size_bytes > self._file.size_bytes:
            self.restart()

    def write(self, chunk: bytes) -> None:
        try:
            self._target.write(chunk)
            self._target.flush()
        except OSError as error:
            raise _of_the_disk(error) from error
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def restart(self) -> None:
        self._target.truncate(0)
        self._hash = _hash(self._file)
        self.size_bytes = 0

    def is_right(self) -> bool:
        return self.size_bytes == self._file.size_bytes and (
            self._hash.hexdigest() == self._file.digest
        )

    def close(self) -> None:
        """On disk before the name says that it is whole."""
        self._target.flush()
        os.fsync(self._target.fileno())


def _hash(file: RemoteFile) -> Any:
    """What names a content: sha256 for LFS, else git's way of hashing a blob."""
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)


def _goes_on(response: Any, at: int) -> bool:
    """Whether the answer begins with byte `at`."""
    if response.status_code != 206:
        return False
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return found is not None and int(found[1]) == at


def _of_the_disk(error: OSError) -> FastMLXError:
    if isinstance(error, FastMLXError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("The disk is full; what was fetched is kept. Make room, then resume.")
    where = f"{error.filename}: " if error.filename else ""
    return DownloadFailed(f"The download cannot be written: {where}{error.strerror or error}.")
