"""Sockets that launchd, systemd or the program before us opened."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastmlx.launchd import activation
from fastmlx.launchd.activation import HandedOver, of_launchd, take


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def first(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of the descriptor from which on they are passed; 3 may be pytest's."""
    number = os.dup(listener.fileno())
    monkeypatch.setattr(activation, "FIRST", number)
    return number


def test_systemd_s_socket_is_taken_and_the_variables_are_gone(listener, first):
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "x", "A": "b"}
    handed = take(environ, platform="linux")
    assert handed is not None
    with handed.listener:
        assert handed.listener.getsockname() == listener.getsockname()
        assert handed.listener.get_inheritable() is False
        assert (handed.manager, handed.asked) == ("systemd", None)
    assert environ == {"A": "b"}


def test_a_socket_for_another_process_is_not_ours(first):
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)}
    assert take(environ, platform="linux") is None
    assert environ == {}, "nor our children's"
    os.close(first)


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}])
def test_usually_there_is_none(environ):
    assert take(environ, platform="linux") is None


def test_what_is_no_listening_socket_is_refused(monkeypatch):
    with socket.socket() as unbound:
        monkeypatch.setattr(activation, "FIRST", os.dup(unbound.fileno()))
        with pytest.raises(OSError, match="no listening TCP socket"):
            take({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, platform="linux")


def test_one_s_own_socket_says_what_it_was_opened_for(first):
    said = {"manager": None, "asked": ["127.0.0.1", 0]}
    environ = {
        "LISTEN_FDS": "1",
        "LISTEN_PID": str(os.getpid()),
        activation.OURS: json.dumps(said),
    }
    handed = take(environ, platform="darwin", launchd=lambda _: [])
    assert handed is not None
    handed.listener.close()
    assert (handed.manager, handed.asked) == (None, ("127.0.0.1", 0))


def test_launchd_s_socket_is_taken(listener):
    asked: list[str] = []

    def launchd(name: str) -> list[int]:
        asked.append(name)
        return [os.dup(listener.fileno()), os.dup(listener.fileno())]

    handed = take({}, platform="darwin", launchd=launchd)
    assert isinstance(handed, HandedOver)
    assert handed.manager == "launchd"
    assert asked == ["Listener"]
    handed.listener.close()


class Libc:
    """C's library with a launch_activate_socket that behaves as launch(3) says."""

    def __init__(self, status: int, numbers: list[int]) -> None:
        self._libc = ctypes.CDLL(None)
        self.name = b""

        def ask(name: bytes, out: ctypes._Pointer, count: ctypes._Pointer) -> int:
            self.name = name
            if status == 0:
                self._libc.malloc.restype = ctypes.c_void_p
                memory = self._libc.malloc(ctypes.c_size_t(4 * len(numbers)))
                array = ctypes.cast(memory, ctypes.POINTER(ctypes.c_int))
                for index, number in enumerate(numbers):
                    array[index] = number
                out[0], count[0] = array, len(numbers)
            return status

        pointer = ctypes.POINTER(ctypes.c_int)
        self.launch_activate_socket = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.POINTER(pointer),
            ctypes.POINTER(ctypes.c_size_t),
        )(ask)
        self.free = self._libc.free


def test_launchd_is_asked_through_c():
    library = Libc(0, [7, 9])
    assert of_launchd("Listener", library) == [7, 9]
    assert library.name == b"Listener"


@pytest.mark.parametrize("status", [errno.ENOENT, errno.ESRCH, errno.EALREADY])
def test_without_such_a_socket_launchd_gives_none(status):
    assert of_launchd("Listener", Libc(status, [])) == []


def test_another_error_of_launchd_is_said():
    with pytest.raises(OSError, match="launchd's socket"):
        of_launchd("Listener", Libc(errno.EINVAL, []))


PROGRAM = """
import socket, sys
from fastmlx.launchd import activation
handed = activation.take()
if handed is None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    activation.pass_on(listener, None, ("127.0.0.1", 0))
print(handed.listener.getsockname()[1], handed.asked, sys.argv[1:], flush=True)
"""


def test_a_program_passes_its_socket_on_to_itself(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(file), "a b", "--c"], capture_output=True, text=True, timeout=60
    )
    before, after = done.stdout.splitlines()
    assert after == f"{before} ('127.0.0.1', 0) ['a b', '--c']", done.stderr
