"""A proxy that misbehaves when told to: proxy.py LISTEN_PORT TARGET_PORT [http]

Takes one command a line on standard input and answers each with one line, "ok N", N being the
connections concerned. It ends with its standard input.

    reset     every connection is dropped with RST
    cut N     each of the next N replies is cut in the middle, and its connection dropped
    hold      not a byte goes through any more, on new connections either
    release   what was held goes on
    calm      the same, and no more cuts, no more answers of our own

Where it speaks HTTP it also answers in the server's place, in the forms that gateways, expired keys
and full disks have (FORMS):

    say FORM [PART]   to each request, or those with PART in their path
"""
import asyncio
import json
import os
import socket
import struct
import sys

CHUNK = 65536
LINGER_NONE = struct.pack("ii", 1, 0)  # close() then sends RST
HEAD_END = b"\r\n\r\n"


def form(code, document, extra=b"", missing=0):
    """An answer; `missing` bytes of its body are promised and not sent."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    kind = b"text/html" if body.startswith(b"<") else b"application/json"
    return (b"HTTP/1.1 %d Said\r\nContent-Type: %s\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
            % (code, kind, len(body) + missing, extra) + body)


PAGE = b"<html><body><h1>Please log in</h1></body></html>"
FORMS = {
    "expired-key": form(401, {"error": "the key has expired"}),
    "quota": form(402, {"error": "quota exceeded"}),
    "read-only": form(403, {"error": "this token may not do that"}),
    "not-pulled": form(404, {"error": "model not found, try pulling it first"}),
    "busy": form(429, {"error": "slow down"}, b"Retry-After: 2\r\n"),
    "disk-full": form(500, {"error": "InternalError", "message": "database or disk is full"}),
    "gateway": form(502, PAGE),
    "restarting": form(503, b"", b"Retry-After: 1\r\n"),
    "log-in": form(200, PAGE),
    "error-object": form(200, {"error": {"message": "overloaded", "type": "server_error"}}),
    "empty": form(200, b""),
    "half": form(200, b'{"data": [{"index": 0, "embedding": [0.25,', missing=400),
}


class Link:
    """A connection's two sides."""

    def __init__(self, client):
        self.writers = [client]

    def drop(self):
        for writer in self.writers:
            try:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            except OSError:
                pass
            writer.transport.abort()

    def close(self):
        for writer in self.writers:
            writer.close()


def content_length(head):
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


class Proxy:
    def __init__(self, target_port, is_http):
        self.target_port, self.is_http = target_port, is_http
        self.said, self.said_to = None, b""
        self.links = set()
        self.cuts = 0
        self.open = asyncio.Event()
        self.open.set()

    async def serve(self, reader, writer):
        link = Link(writer)
        self.links.add(link)
        try:
            await self.open.wait()
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self.target_port)
            link.writers.append(server_writer)
            to_server = (self.pump_requests(link, reader, server_writer, writer) if self.is_http
                         else self.pump(link, reader, server_writer, False))
            pumps = [asyncio.ensure_future(to_server),
                     asyncio.ensure_future(self.pump(link, server_reader, writer, True))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            link.close()
        except OSError:
            link.drop()
        finally:
            self.links.discard(link)

    async def pump(self, link, reader, writer, is_reply):
        try:
            while data := await reader.read(CHUNK):
                await self.open.wait()
                if is_reply and self.cuts > 0 and len(data) > 1:
                    self.cuts -= 1
                    writer.write(data[:len(data) // 2])
                    await asyncio.sleep(0.02)
                    link.drop()
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            link.drop()

    async def pump_requests(self, link, reader, writer, client):
        """Whole requests, each forwarded or answered here. Nobody pipelines, so an answer of ours
        cannot overtake one of the server's."""
        try:
            while True:
                head = await reader.readuntil(HEAD_END)
                body = await reader.readexactly(content_length(head))
                await self.open.wait()
                target = head.split(b" ", 2)[1]
                if self.said is not None and self.said_to in target:
                    client.write(self.said)
                    await client.drain()
                    return
                writer.write(head + body)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # it hung up
        except OSError:
            link.drop()

    def obey(self, line):
        words = line.split()
        concerned = len(self.links)
        if words == ["reset"]:
            for link in list(self.links):
                link.drop()
        elif len(words) == 2 and words[0] == "cut":
            self.cuts += int(words[1])
        elif words == ["hold"]:
            self.open.clear()
        elif self.is_http and len(words) in (2, 3) and words[0] == "say" and words[1] in FORMS:
            self.said, self.said_to = FORMS[words[1]], "".join(words[2:]).encode()
        elif words == ["release"]:
            self.open.set()
        elif words == ["calm"]:
            self.open.set()
            self.cuts, self.said = 0, None
        else:
            return f"bad command: {line!r}"
        return f"ok {concerned}"


async def main(listen_port, target_port, is_http):
    proxy = Proxy(target_port, is_http)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", listen_port, backlog=512)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ok 0", flush=True)
    async with server:
        while line := await commands.readline():
            print(proxy.obey(line.decode().strip()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), "http" in sys.argv[3:]))
