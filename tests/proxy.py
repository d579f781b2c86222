"""A proxy before the server: it counts round trips, can hold back every message, and can go silent or hang up."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL


class Proxy:
    """Forwards connections to a server.

    Attributes:
        url: where a client connects.
        round_trips: how many times a client sent something after the server had answered.
        delay: seconds that each message takes in each direction.
    """

    def __init__(self, server: URL, listener: socket.socket) -> None:
        self.url = server.set(host="127.0.0.1", port=listener.getsockname()[1], query={})
        self.round_trips = 0
        self.delay = 0.0
        self._server = server
        self._listener = listener
        self._sockets: list[socket.socket] = []
        self._silent: list[socket.socket] = []

    def hang_up(self) -> None:
        """Close every connection, as a pooler that drops idle ones."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def silence(self) -> None:
        """Forward nothing of these connections any more, as a firewall that forgot them; new ones work."""
        self._silent += self._sockets

    def refuse(self) -> None:
        """Close every connection and take no other."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server.query.get("host", self._server.host), self._server.port or 5432
        if isinstance(host, str) and host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(Path(host) / f".s.PGSQL.{port}"))
            return server
        server = socket.create_connection((str(host), port))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        answered = True
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    try:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        if source is client:
                            self.round_trips += answered
                        answered = source is server
                        if self.delay:
                            time.sleep(self.delay)
                        if client not in self._silent:
                            target.sendall(data)
                    except OSError:
                        return


@contextmanager
def proxy(server: URL) -> Iterator[Proxy]:
    """A proxy that lasts for the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Proxy(server, listener)
        thread = threading.Thread(target=made._serve, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            made.hang_up()
            thread.join()
