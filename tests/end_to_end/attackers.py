"""Attacks on the signalling port, one kind per process: offers, answers, silent or pings.

    python tests/end_to_end/attackers.py KIND PORT SECONDS HOST ADDRESS...

Each client binds one of the addresses, which are those of the attackers' machine. Counters are printed as JSON.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

SILENT_SOCKETS = 400
"""Per address at a time."""
PING_SOCKETS = 4
LINES_OF_OFFER, LINES_OF_ANSWER = 480, 1_200
"""Per attribute, of four: 60 and 150 kB, which take seconds in a parser with quadratic time."""

counts: Counter[str] = Counter()


def sdp_bomb(lines: int) -> str:
    """Return a session description with so many lines of codecs, feedback, sources and source groups."""
    head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"
    codecs = "".join(f"a=rtpmap:{96 + place % 30} VP9/{90000 + place}\r\n" for place in range(lines))
    feedback = "".join(f"a=rtcp-fb:{96 + place % 30} nack pli{place}\r\n" for place in range(lines))
    sources = "".join(f"a=ssrc:{place} cname:x\r\na=ssrc-group:FID {place} {place + 1}\r\n" for place in range(lines))
    return head + codecs + feedback + sources


async def connect(host: str, port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from this address."""
    return await asyncio.open_connection(host, port, local_addr=(address, 0))


async def post_bomb(host: str, port: int, address: str) -> None:
    """POST one large offer by WHIP, and read the response."""
    body = sdp_bomb(LINES_OF_OFFER).encode()
    reader, writer = await connect(host, port, address)
    try:
        writer.write(
            b"POST /whip/attack HTTP/1.1\r\nHost: %s\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s"
            % (host.encode(), len(body), body)
        )
        status = await reader.readline()
        counts[f"offers answered {status.split()[1].decode() if status else 'by a close'}"] += 1
    finally:
        writer.transport.abort()


async def answer_with_bomb(host: str, port: int, address: str) -> None:
    """Connect as a client, and respond to the offer with a large answer."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(f"ws://{host}:{port}/signaling") as socket,
    ):
        await socket.send_json({"type": "connect", "role": "sendonly", "channel_id": "attack"})
        await socket.receive()
        await socket.send_json({"type": "answer", "sdp": sdp_bomb(LINES_OF_ANSWER)})
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        counts[f"answers closed with {message.data if message.type is aiohttp.WSMsgType.CLOSE else None}"] += 1


async def keep_silent(host: str, port: int, address: str) -> None:
    """Open a connection, send nothing, and wait for its end."""
    reader, writer = await connect(host, port, address)
    counts["silent sockets"] += 1
    try:
        while await reader.read(1024):
            pass
    finally:
        writer.transport.abort()


async def flood_with_pings(host: str, port: int, address: str) -> None:
    """Upgrade to WebSocket, then send pings as fast as possible, and never read a pong."""
    reader, writer = await connect(host, port, address)
    key = base64.b64encode(os.urandom(16)).decode()
    try:
        writer.write(
            f"GET /signaling HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        frame = b"\x89\xfd" + os.urandom(4) + os.urandom(125)
        batch = frame * 500
        while True:
            writer.write(batch)
            await writer.drain()
            counts["ping bytes"] += len(batch)
    finally:
        writer.transport.abort()


ATTACKS: dict[str, tuple[Callable[[str, int, str], Awaitable[None]], int]] = {
    "offers": (post_bomb, 2),
    "answers": (answer_with_bomb, 2),
    "silent": (keep_silent, SILENT_SOCKETS),
    "pings": (flood_with_pings, PING_SOCKETS),
}
"""Each attack, and how many of it run at a time from each address."""


async def repeat_until(attack: Callable[[], Awaitable[None]], until_s: float) -> None:
    """Repeat an attack until the deadline, on a new connection each time."""
    while time.monotonic() < until_s:
        try:
            await attack()
        except (OSError, EOFError, aiohttp.ClientError, TypeError) as error:
            counts[type(error).__name__] += 1
            await asyncio.sleep(0.02)


async def main(kind: str, port: int, seconds: float, host: str, addresses: Sequence[str]) -> None:
    """Run one kind of attack from all addresses for so long, and print the counters."""
    attack, number = ATTACKS[kind]
    until_s = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(repeat_until(lambda address=address: attack(host, port, address), until_s))  # type: ignore[misc]
        for address in addresses
        for _ in range(number)
    ]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5:]))
