"""The client of etcd's gateway against real servers: named errors, failover, TLS, login."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rokuga.devtools.etcd_servers import free_ports
from rokuga.devtools.serving import serving
from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.cluster.etcd_client import Etcd, UnknownOutcome
from rokuga.recorder.store.cluster.etcd_wire import absent, put
from tests.support.etcd import Servers, one_server, ready
from tests.webhooks.certificates import Authority


@pytest.mark.system
async def test_a_server_behind_tls_is_called_with_both_certificates(tmp_path: Path) -> None:
    """A client without a certificate is refused; a certificate that cannot be read is a named error."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    tls = ["--cert-file", str(certificate), "--key-file", str(key), "--trusted-ca-file", str(authority.ca_file)]
    with one_server(tmp_path, *tls, "--client-cert-auth", scheme="https") as url:
        config = ClusterConfig((url,), ca_file=authority.ca_file, client_cert=certificate, client_key=key)
        async with Etcd(config) as client:
            await ready(client)
            assert (await client.transact([absent("a")], [put("a", b"1")]))["succeeded"]
        async with Etcd(ClusterConfig((url,), ca_file=authority.ca_file), budget_s=0.5) as stranger:
            with pytest.raises(MinorityError):
                await stranger.get("a")
        async with Etcd(ClusterConfig((url,), client_cert=certificate, client_key=key), budget_s=0.5) as doubter:
            with pytest.raises(MinorityError, match="certificate verify failed"):
                await doubter.get("a")
    with pytest.raises(StoreError, match="certificates"):
        async with Etcd(ClusterConfig((url,), ca_file=tmp_path / "none")):
            pass


@pytest.mark.system
async def test_a_user_logs_in_by_password_and_again_when_the_token_has_expired(tmp_path: Path) -> None:
    with one_server(tmp_path) as url:
        async with Etcd(ClusterConfig((url,))) as root:
            await ready(root)
            await root.call("auth/user/add", {"name": "root", "password": "secret"})
            await root.call("auth/user/grant", {"user": "root", "role": "root"})
            await root.call("auth/enable", {})
            with pytest.raises(StoreError, match="refuses"):
                await root.get("a")
        async with Etcd(ClusterConfig((url,), user="root", password="secret")) as client:
            await client.transact([], [put("a", b"1")])
            client._login.token = "old.1"
            found = await client.get("a")
            assert found is not None
            assert found.value == b"1"
        async with Etcd(ClusterConfig((url,), user="root", password="wrong")) as stranger:
            with pytest.raises(StoreError, match="refuses root"):
                await stranger.get("a")


@pytest.mark.system
async def test_servers_that_are_down_are_skipped(etcd: Servers) -> None:
    """If all are down, the request was not executed: that is no unknown outcome."""
    nowhere = tuple(f"http://127.0.0.1:{port}" for port in free_ports(2))
    async with Etcd(ClusterConfig((*nowhere, etcd.endpoints[0]))) as client:
        assert await client.get("nothing") is None
        assert client.endpoint == etcd.endpoints[0]
    async with Etcd(ClusterConfig(nowhere)) as client:
        with pytest.raises(MinorityError) as caught:
            await client.get("nothing")
        assert not isinstance(caught.value, UnknownOutcome)


async def test_a_call_without_an_answer_has_an_unknown_outcome(etcd: Servers) -> None:
    with etcd.paused(0):
        async with Etcd(ClusterConfig(etcd.endpoints[:1]), budget_s=0.3, try_s=0.2) as client:
            with pytest.raises(UnknownOutcome):
                await client.transact([], [put("x", b"")])
            assert client.counts.failed == 1


async def test_a_request_that_etcd_refuses_is_neither_repeated_nor_a_minority(etcd: Servers) -> None:
    """More than the 1.5 MiB of a request."""
    async with Etcd(ClusterConfig(etcd.endpoints)) as client:
        with pytest.raises(StoreError, match="too large") as caught:
            await client.transact([], [put("big", bytes(2_000_000))])
        assert not isinstance(caught.value, MinorityError)


async def test_a_long_list_comes_in_pages_as_of_one_revision(etcd: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rokuga.recorder.store.cluster.etcd_client.PAGE", 3)
    prefix = etcd.prefix()
    async with Etcd(ClusterConfig(etcd.endpoints)) as client:
        await client.transact([], [put(f"{prefix}{number}", b"x") for number in range(10)])
        _, found = await client.list(prefix)
        assert [each.key for each in found] == [f"{prefix}{number}" for number in range(10)]


async def test_a_watch_from_a_compacted_revision_ends(etcd: Servers) -> None:
    """The watcher lists again then."""
    prefix = etcd.prefix()
    async with Etcd(ClusterConfig(etcd.endpoints)) as client:
        await client.transact([], [put(prefix, b"1")])
        revision = int((await client.transact([], [put(prefix, b"2")]))["header"]["revision"])
        await client.call("kv/compaction", {"revision": str(revision)})
        with pytest.raises(MinorityError, match="compact"):
            await exhaust(client, prefix)


async def test_a_watch_yields_nothing_before_the_first_change(etcd: Servers) -> None:
    """Its first answer has the newest revision and no changes, and must not count as progress."""
    prefix = etcd.prefix()
    async with Etcd(ClusterConfig(etcd.endpoints)) as client:
        revision, _ = await client.list(prefix)
        await client.transact([], [put(f"{prefix}a", b"1"), put(f"{prefix}b", b"2")])
        async with contextlib.aclosing(client.watch(prefix, revision + 1)) as watching:
            first = await anext(watching)
    assert [(each.key, each.value) for each in first] == [(f"{prefix}a", b"1"), (f"{prefix}b", b"2")]


async def exhaust(client: Etcd, prefix: str) -> None:
    """Watch from the beginning, to the end of the watch."""
    async with contextlib.aclosing(client.watch(prefix, 1)) as watching:
        async for _ in watching:
            pass


GARBAGE: tuple[Callable[[], Any], ...] = (
    lambda: web.Response(text="no JSON"),
    lambda: web.Response(text="[]"),
    lambda: web.Response(status=502, text="<html>"),
    lambda: web.json_response({"code": "x"}, status=500),
)


@pytest.mark.parametrize("answer", GARBAGE)
async def test_an_invalid_answer_is_a_named_error(answer: Callable[[], Any]) -> None:
    async def handle(_request: web.Request) -> web.Response:
        return answer()  # type: ignore[no-any-return]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serving(app) as address, Etcd(ClusterConfig((f"http://{address}",)), budget_s=0.2) as client:
        with pytest.raises(StoreError):
            await client.list("a")
        with pytest.raises(StoreError):
            await client.grant(1)


@contextlib.asynccontextmanager
async def closing_after_one_answer() -> AsyncIterator[tuple[str, list[int]]]:
    """Serve a gateway that keeps a connection open after its first answer, and closes it at the second request.

    Gives its URL and the number of requests on each connection.
    """
    requests: list[int] = []
    body = b'{"header":{"revision":"1"}}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(requests)
        requests.append(0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                requests[place] += 1
                if requests[place] == 2:
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def test_a_request_that_a_reused_connection_drops_is_sent_again_and_is_no_failure() -> None:
    """There is no failover and no failed call (RFC 9112 section 9.3.1)."""
    async with closing_after_one_answer() as (url, requests), closing_after_one_answer() as (other, unused):
        async with Etcd(ClusterConfig((url, other))) as client:
            for _ in range(5):
                assert await client.get("a") is None
            assert client.endpoint == url
            assert (client.counts.answered, client.counts.failed) == (5, 0)
    assert unused == []
    assert sum(requests) == 7  # two of the five died once


async def test_a_request_that_a_new_connection_drops_is_a_failure_of_the_endpoint() -> None:
    """The next endpoint is tried; a server that closes every connection is not tried without end."""
    asked: list[bytes] = []

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server, closing_after_one_answer() as (url, _):
        broken = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Etcd(ClusterConfig((broken, url))) as client:
            await client.get("a")
            assert (client.endpoint, asked) == (url, [b"P"])


@pytest.mark.system
async def test_a_node_logs_in_when_users_are_added_to_etcd_while_it_runs(tmp_path: Path) -> None:
    """A node with a configured user works before etcd has users, and logs in by itself afterwards."""
    with one_server(tmp_path) as url:
        async with Etcd(ClusterConfig((url,), user="root", password="secret")) as client:
            async with Etcd(ClusterConfig((url,))) as nobody:
                await ready(client)
                await client.transact([], [put("a", b"1")])
                await nobody.call("auth/user/add", {"name": "root", "password": "secret"})
                await nobody.call("auth/user/grant", {"user": "root", "role": "root"})
                await nobody.call("auth/enable", {})
                found = await client.get("a")
                assert found is not None
                assert found.value == b"1"
                with pytest.raises(StoreError, match=r"without a user .* cluster_user .* restart"):
                    await nobody.get("a")


async def test_a_token_that_is_always_rejected_is_requested_once_and_then_after_a_pause() -> None:
    """Otherwise each call would log in as fast as etcd answers."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path.endswith("authenticate"):
            return web.json_response({"header": {}, "token": "t.1"})
        return web.json_response({"code": 16, "message": "etcdserver: invalid auth token"}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serving(app) as address:
        async with Etcd(ClusterConfig((f"http://{address}",), user="u", password="p")) as client:
            for _ in range(5):
                with pytest.raises(StoreError, match="does not accept the token"):
                    await client.get("a")
    assert asked == 2 * ["/v3/auth/authenticate", "/v3/kv/range"]
