"""Episodes through an endpoint: many at once beside one after the other, in one run.

    python benchmarks/endpoint_throughput.py

The peer is the loop that published agents use: one episode, one request at a time. The endpoint is
scripted, on loopback, and takes 50 ms for an answer that depends on the request alone; both sides
must play the same episodes, turn by turn, before there is a ratio.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click

from alicebob.envs import World
from alicebob.envs.crafter import ACTIONS
from alicebob.policies import Task
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.server import Server
from alicebob.rollout import Actor, play_all
from alicebob.trace import Episode

SEED = re.compile(rb'"seed": ?(\d+)')


class Scripted(asyncio.Protocol):
    """An endpoint that answers after a time with an action that follows from the request's seed.

    It reads no more of a request than that: an endpoint that were itself short of time would
    answer later than it says.
    """

    def __init__(self, latency: float) -> None:
        self.latency, self.raw = latency, b""

    def connection_made(self, transport: Any) -> None:
        """Keep the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer later, once a request is whole; at once where it only asks who is there."""
        self.raw += data
        head, found, body = self.raw.partition(b"\r\n\r\n")
        if found and head.startswith(b"GET "):
            self.raw = b""
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not found or length is None or len(body) < int(length[1]):
            return
        self.raw = b""
        seed = SEED.search(body)
        assert seed is not None
        text = f"Action: {ACTIONS[int(seed[1]) % len(ACTIONS)]}"
        message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        said = json.dumps(message).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        answer += str(len(said)).encode() + b"\r\n\r\n" + said
        asyncio.get_running_loop().call_later(self.latency, self.transport.write, answer)


def serve(pipe: Connection, latency: float) -> None:
    """Answer, in a process of its own, until it is ended."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Scripted(latency), "127.0.0.1", 0)
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await server.serve_forever()

    asyncio.run(run())


def played(url: str, episodes: int, turns: int, at_once: int) -> tuple[list[Episode], float]:
    """Return the episodes and the seconds they took."""
    world = World("crafter", {"observation": "smartplay", "limit": turns})
    endpoint = Endpoint(url, "scripted", concurrency=at_once)
    tasks = [Task(f"e{n:03d}", n, "Survive.", max_turns=turns) for n in range(episodes)]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        found = play_all(
            tasks,
            world,
            Actor(lambda: Server(endpoint, ACTIONS), workers=at_once, threads=True),
            Path(folder),
        )
        return found, time.monotonic() - begun


@click.command()
@click.option("--at-once", default=16, show_default=True)
@click.option("--turns", default=100, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--latency", default=0.05, show_default=True, help="Seconds of an answer.")
def main(at_once: int, turns: int, rounds: int, latency: float) -> None:
    """Print the ratio of the two, its range, and its share of the most there can be."""
    ratios = []
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, latency), daemon=True)
    server.start()
    url = here.recv()
    played(url, 1, 2, 1)  # warm: numba compiles, connections open
    for _ in range(rounds):
        many, quick = played(url, at_once, turns, at_once)
        one, slow = played(url, at_once, turns, 1)
        if many != one:
            sys.exit("the two sides played different episodes")
        ratios.append(slow / quick)
    server.terminate()
    server.join()
    middle = statistics.median(ratios)
    click.echo(
        f"{at_once} at once: {middle:.2f} x one at a time ({min(ratios):.2f}-{max(ratios):.2f}), "
        f"{middle / at_once:.2f} of the most there can be"
    )


if __name__ == "__main__":
    main()
