"""A TCP proxy on loopback that misbehaves on request."""

import queue
import random
import socket
import struct
import threading
import time

PIECE = 16384


class Link:
    """One proxied connection."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.sockets = (client, server)
        self.frozen = False
        self.closed = False
        for source, target in (self.sockets, self.sockets[::-1]):
            pieces = queue.Queue(maxsize=64)
            for work in (self._read, self._write):
                threading.Thread(target=work, args=(source, target, pieces),
                                 daemon=True).start()

    def _read(self, source, _, pieces):
        proxy = self.proxy
        while not self.closed:
            try:
                data = source.recv(PIECE)
            except OSError:
                data = b""
            if self.frozen:
                return
            if not data:
                pieces.put((0, b""))
                return
            delay = proxy.delay
            if proxy.loss and proxy.random.random() < proxy.loss:
                delay += 0.3  # a segment sent again
            pieces.put((time.monotonic() + delay, proxy.spoil(data)))
            if proxy.rate:
                time.sleep(len(data) / proxy.rate)

    def _write(self, _, target, pieces):
        while not self.closed:
            due, data = pieces.get()
            time.sleep(max(0, due - time.monotonic()))
            if self.frozen:
                return
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                self.close()
                return

    def close(self, reset=False):
        self.closed = True
        for each in self.sockets:
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
            else:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            each.close()


class Proxy:
    """Listens on a port of its own and passes bytes on to `target`."""

    def __init__(self, target, seed=0):
        self.target = target
        self.random = random.Random(seed)
        self.delay = 0.0      # seconds each way
        self.loss = 0.0       # share of pieces that come late
        self.rate = 0         # bytes a second and connection; 0: no limit
        self.flip_after = -1  # bytes until one bit is turned over; -1: never
        self.links = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            host, port = self.target.rsplit(":", 1)
            try:
                server = socket.create_connection((host, int(port)), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            self.links.append(Link(self, client, server))

    def spoil(self, data):
        if self.flip_after < 0:
            return data
        if self.flip_after >= len(data):
            self.flip_after -= len(data)
            return data
        spoiled = bytearray(data)
        spoiled[self.flip_after] ^= 1 << self.random.randrange(8)
        self.flip_after = -1
        return bytes(spoiled)

    def reset(self):
        """RST on both sides of every connection."""
        links, self.links = self.links, []
        for link in links:
            link.close(reset=True)

    def freeze(self):
        """Connections that stand stay open for ever and carry nothing."""
        for link in self.links:
            link.frozen = True

    def heal(self):
        self.delay = self.loss = self.rate = 0
        self.flip_after = -1

    def close(self):
        self.listener.close()
        for link in self.links:
            link.close()
