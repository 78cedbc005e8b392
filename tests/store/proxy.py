"""A way to a server that can be cut: a proxy on loopback which knows when a COMMIT passes through it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from typing import Literal

Cut = Literal["before", "after", "answered"]
"""What becomes of the next COMMIT: it is not passed on; passed on and cut at once; passed on, carried out, and its answer not passed on."""

_COMMIT = b"COMMIT\0"


class Proxy:
    """Passes on what comes, until told otherwise. `port` is where it listens on loopback."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._guard = threading.Lock()
        self._cut: Cut | None = None
        self._refuses = False
        self._silent = False
        self.commits = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut_next_commit(self, how: Cut, *, then_refuse: bool = False) -> None:
        """The connection ends with the next COMMIT; `then_refuse`: and nobody gets through any more."""
        self._cut, self._then_refuse = how, then_refuse

    def cut_all(self) -> None:
        """Every connection ends."""
        with self._guard:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _end(one)

    def refuse(self, *, refuses: bool = True) -> None:
        """Whoever connects is cut off at once; nobody any more with `refuses=False`."""
        self._refuses = refuses

    def fall_silent(self, *, silent: bool = True) -> None:
        """Nothing passes any more, and nobody is told."""
        self._silent = silent

    def close(self) -> None:
        """Nothing listens, and all connections have ended."""
        self._closed = True
        _end(self._listening)
        self.cut_all()
        self._accepting.join(10)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._refuses:
                _end(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._guard:
                self._pairs.append((client, server))
            thread = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ)
        selector.register(server, selectors.EVENT_READ)
        mute = False
        try:
            while not self._closed:
                for key, _ in selector.select(0.05):
                    if self._silent:
                        continue
                    data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                    if not data or (mute and key.fileobj is server):
                        return
                    if key.fileobj is server:
                        client.sendall(data)
                        continue
                    how = self._seen(data)
                    if how == "before":
                        return
                    server.sendall(data)
                    if how == "after":
                        return
                    mute = mute or how == "answered"
        except (OSError, ValueError):
            return
        finally:
            selector.close()
            _end(client)
            _end(server)

    def _seen(self, data: bytes) -> Cut | None:
        if _COMMIT not in data:
            return None
        self.commits += 1
        how, self._cut = self._cut, None
        if how is not None and self._then_refuse:
            self._refuses = True
        return how


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy as long as the block runs."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
