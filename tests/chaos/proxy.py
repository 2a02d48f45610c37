"""A TCP proxy that misbehaves when told to: proxy.py LISTEN_PORT TARGET_PORT

Takes one command a line on standard input and answers each with one line, "ok N", N being the
connections concerned. It ends with its standard input.

    reset     every connection is dropped with RST
    cut N     each of the next N replies is cut in the middle, and its connection dropped
    hold      not a byte goes through any more, on new connections either
    release   what was held goes on
    calm      the same, and no more cuts
"""
import asyncio
import os
import socket
import struct
import sys

CHUNK = 65536
LINGER_NONE = struct.pack("ii", 1, 0)  # close() then sends RST


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


class Proxy:
    def __init__(self, target_port):
        self.target_port = target_port
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
            pumps = [asyncio.ensure_future(self.pump(link, reader, server_writer, False)),
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
        elif words in (["release"], ["calm"]):
            self.open.set()
            self.cuts = 0 if words == ["calm"] else self.cuts
        else:
            return f"bad command: {line!r}"
        return f"ok {concerned}"


async def main(listen_port, target_port):
    proxy = Proxy(target_port)
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
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
