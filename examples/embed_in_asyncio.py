"""One engine for a whole application: many streams at once, each at the pace of its reader.

Starts a small TCP service that sends back what it receives, compressed. Every connection is a
stream of its own; all share the engine's workers and memory. A slow client slows down nobody
else, and is never sent more than it reads.
"""

import asyncio

import zstandard

import aiocompress

CLIENTS = 20
PAYLOAD = b"".join(b"line %d of some log, all of it text\n" % n for n in range(50_000))


class Service:
    """Compresses what clients send."""

    def __init__(self, engine: aiocompress.Engine) -> None:
        self.engine = engine

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client; ``drain`` holds the stream back while the client is slow."""
        async with self.engine.compress_stream(reader, codec="zstd") as stream:
            async for data in stream:
                writer.write(data)
                await writer.drain()
        writer.close()
        await writer.wait_closed()


async def client(port: int, pause: float) -> int:
    """Send the payload, read the answer with pauses, check it; returns its size in bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PAYLOAD)
    writer.write_eof()
    answer = bytearray()
    while data := await reader.read(4096):
        answer += data
        await asyncio.sleep(pause)
    writer.close()
    await writer.wait_closed()
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(bytes(answer))
    if raw != PAYLOAD:
        raise SystemExit("not what was sent")
    return len(answer)


async def main() -> None:
    """Run the service and its clients, the last of them slow."""
    async with aiocompress.Engine() as engine:
        server = await asyncio.start_server(Service(engine).handle, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            pauses = [0.0] * (CLIENTS - 1) + [0.001]
            sizes = await asyncio.gather(*(client(port, pause) for pause in pauses))
        seen = engine.statistics()
        print(f"{len(sizes)} clients sent {len(PAYLOAD)} bytes each, and got {sizes[0]} back")
        print(
            f"at most {seen.slots_peak} of {seen.slots_total} slots in use, "
            f"{seen.memory_peak >> 20} MiB of {seen.memory_limit >> 20} MiB"
        )


if __name__ == "__main__":
    asyncio.run(main())
