"""The methods of the two WHIP resources: POST to the endpoint; PATCH and DELETE of a session."""

import asyncio
import hmac
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rokuga.api.context import AppContext
from rokuga.api.protocols import PublisherConnection
from rokuga.api.signaling import client_messages, permission
from rokuga.api.whip.limits import PublishLimits
from rokuga.api.whip.problem import Problem
from rokuga.api.whip.sessions import WhipSession, WhipSessions
from rokuga.api.whip.translation import (
    FRAGMENT,
    SDP,
    CodecTypes,
    Fragment,
    bearer_token,
    check_media_type,
    connect,
    if_match_holds,
    read_fragment,
    restrict_to_offer,
    session_location,
)
from rokuga.recorder.codecs.table import DEFAULT_CODECS, names_of
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.webrtc.sdp.offer_and_answer import SdpError
from rokuga.recorder.webrtc.sdp.session_description import SdpLimitError
from rokuga.recorder.webrtc.sdp.whip_offer import ClientOffer, OfferRefused, read_offer
from rokuga.webhooks.auth import NoAnswer

MAX_BODY_BYTES: Final = 64 * 1024
"""A browser's offer has 6 kB."""

BODY_TIMEOUT_S: Final = 10.0
"""For the whole body; as long as for an answer in signalling."""

_ANY_CODEC: Final[CodecTypes] = {kind: names_of(kind) for kind in DEFAULT_CODECS}
"""The codecs in the request to the authentication webhook if the offer cannot be parsed."""

DISCONNECTED: Final = "TYPE-DISCONNECT"
"""Sora's reason for a client that disconnects by itself."""


class WhipHandlers:
    """The methods of both resources, for `Resource`.

    With `whip_bearer_token`, a client without it is refused. A session accepts only the token that it was made with.
    """

    def __init__(self, context: AppContext, sessions: WhipSessions) -> None:
        config = context.config
        self._context = context
        self._sessions = sessions
        self._token = config.whip_bearer_token
        self._limits = PublishLimits(
            context.clock.monotonic_ns, config.max_connects_per_second, config.max_connections
        )

    async def publish(self, request: Request) -> Response:
        """Accept an offer and return the answer (RFC 9725 section 4.2). Raises Problem, ClientDisconnect."""
        address = "" if request.client is None else request.client.host
        self._limits.check(address, self._sessions.connected())
        token = self._check_token(request, self._token)
        check_media_type(request.headers.get("content-type"), SDP)
        text = await _body(request)
        async with self._context.parse_limiter.slot(text):
            offer = _read(text)
        codec_types = _ANY_CODEC if isinstance(offer, Problem) else offer.codec_types
        connection_id = new_id()
        channel_id, user_agent = request.path_params["channel_id"], request.headers.get("user-agent")
        requested = connect(channel_id, codec_types, token, user_agent)
        granted = await self._permission(connection_id, requested, codec_types)
        if isinstance(offer, Problem):  # raised only now: a client that is denied learns nothing about its offer
            raise offer
        if await request.is_disconnected():  # nobody would read the answer
            raise ClientDisconnect
        connection = await self._connect(connection_id, address, granted)
        try:
            answer = connection.answer(text)
        except ValueError as error:
            connection.stop(str(error))
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        ice = Fragment(offer.ice_ufrag, offer.ice_password)
        session = self._sessions.open(connection, ice, token, granted.connect.signaling_notify_metadata)
        location = session_location(request.scope["raw_path"].decode("latin-1"), session.id)
        headers = {"Location": location, "ETag": session.etag, "Accept-Patch": FRAGMENT}
        return Response(answer, 201, headers, media_type=SDP)

    async def _permission(
        self, connection_id: str, requested: client_messages.ConnectMessage, codec_types: CodecTypes
    ) -> permission.Granted:
        """Ask the authentication webhook as signalling does. Raises Problem."""
        if not requested.channel_id:
            raise Problem(HTTPStatus.NOT_FOUND, "the URL names no channel")
        try:
            client_messages.check_ids(requested)
        except client_messages.MessageError as error:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
        if self._context.authenticator is None:
            return permission.Granted(requested)
        counts = self._context.channels.counts(requested.channel_id)
        body = permission.auth_webhook_request(requested, connection_id, counts)
        try:
            answer = await self._context.authenticator.ask(connection_id, body)
            granted = permission.apply_answer(requested, answer)
            return granted._replace(connect=restrict_to_offer(granted.connect, codec_types))
        except permission.Denied as denied:
            raise Problem(HTTPStatus.FORBIDDEN, str(denied)) from denied
        except (NoAnswer, client_messages.MessageError) as error:
            fault = f"AUTH-WEBHOOK-FAILED: {error}"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, fault, {"Retry-After": "5"}) from error

    async def _connect(
        self, connection_id: str, client_address: str, granted: permission.Granted
    ) -> PublisherConnection:
        request = client_messages.connection_request(granted.connect, granted.event_metadata_json)
        try:
            return await self._context.recorder.connect(
                replace(request, connection_id=connection_id, client_address=client_address)
            )
        except ConnectionRefused as error:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, error.reason, {"Retry-After": "5"}) from error

    async def trickle(self, request: Request) -> Response:
        """Ignore candidates, which ICE-lite does not need; refuse an ICE restart (RFC 9725 section 4.3)."""
        session = self._session(request)
        if not if_match_holds(request.headers.get("if-match"), session.etag):
            raise Problem(HTTPStatus.PRECONDITION_FAILED, "the ICE session is another one", {"ETag": session.etag})
        check_media_type(request.headers.get("content-type"), FRAGMENT)
        if read_fragment(await _body(request)) != session.ice:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "ICE is not restarted: publish again")
        return Response(None, 204)

    async def delete(self, request: Request) -> Response:
        """End a session. If-Match is ignored (RFC 9725 section 4.3.1)."""
        self._session(request).connection.stop(DISCONNECTED)
        return Response(None, 200)

    def _session(self, request: Request) -> WhipSession:
        """Return the session of a request, after a check of its token. Raises Problem."""
        session = self._sessions.get(request.path_params["session_id"])
        if session is None:
            raise Problem(HTTPStatus.NOT_FOUND, "there is no such session")
        self._check_token(request, session.token)
        return session

    def _check_token(self, request: Request, expected: str | None) -> str | None:
        """Return the bearer token of a request. Raises Problem if `expected` is set and differs."""
        token = bearer_token(request.headers.get("authorization"))
        if expected is not None and not hmac.compare_digest((token or "").encode(), expected.encode()):
            challenge = "Bearer" if token is None else 'Bearer error="invalid_token"'
            raise Problem(HTTPStatus.UNAUTHORIZED, "the bearer token is not right", {"WWW-Authenticate": challenge})
        return token


def _read(text: str) -> ClientOffer | Problem:
    """Parse an offer. A fault is returned, so that it can be raised after the client was authorized."""
    try:
        return read_offer(text)
    except (OfferRefused, SdpLimitError) as error:
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    except SdpError as error:
        return Problem(HTTPStatus.BAD_REQUEST, str(error))


async def _body(request: Request) -> str:
    """Return the body as text, within limits of size and time. Raises Problem, ClientDisconnect."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {MAX_BODY_BYTES} bytes")
        return body.decode()
    except TimeoutError as error:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the body does not come") from error
    except UnicodeDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from error
