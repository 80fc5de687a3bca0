"""What is done to the two resources of WHIP: the endpoint takes offers, a session is trickled to and deleted."""

import asyncio
import hmac
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rokuga.api.large_messages import LargeMessages
from rokuga.api.protocols import Authenticator, PublisherConnection, RecordingService
from rokuga.api.signaling import client_messages, permission
from rokuga.api.whip.limits import PublishLimits
from rokuga.api.whip.problem import Problem
from rokuga.api.whip.sessions import Session, Sessions
from rokuga.api.whip.translation import (
    FRAGMENT,
    SDP,
    CodecTypes,
    Fragment,
    bearer_token,
    check_media_type,
    connect,
    matches,
    read_fragment,
    session_location,
    within,
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
"""What a client may take for its body, as for its answer in signalling."""

_ANY_CODEC: Final[CodecTypes] = {kind: names_of(kind) for kind in DEFAULT_CODECS}
"""What permission is asked for where the offer cannot be read."""

LEFT: Final = "TYPE-DISCONNECT"
"""The reason of a session that was deleted: Sora's word for a client that says that it leaves."""


class Whip:
    """Both, for `Resource`. A authenticator, if there is one, is asked about every client.

    With a `token`, nobody comes in without it. Whoever came in with a token has to show it again.
    """

    def __init__(
        self,
        recorder: RecordingService,
        sessions: Sessions,
        authenticator: Authenticator | None,
        token: str | None,
        limits: PublishLimits,
        large: LargeMessages,
    ) -> None:
        self._large = large
        self._recorder = recorder
        self._sessions = sessions
        self._authenticator = authenticator
        self._token = token
        self._limits = limits

    async def publish(self, request: Request) -> Response:
        """Take an offer, give the answer (RFC 9725 section 4.2). Raises Problem, ClientDisconnect."""
        address = "" if request.client is None else request.client.host
        self._limits.check(address, self._sessions.connected())
        token = self._authorize(request, self._token)
        check_media_type(request.headers.get("content-type"), SDP)
        text = await _body(request)
        async with self._large.turn(text):
            offer = _read(text)
        codec_types = _ANY_CODEC if isinstance(offer, Problem) else offer.codec_types
        connection_id = new_id()
        channel_id, user_agent = request.path_params["channel_id"], request.headers.get("user-agent")
        asked = connect(channel_id, codec_types, token, user_agent)
        granted = await self._permission(connection_id, asked, codec_types)
        if isinstance(offer, Problem):  # whoever may not come in learns that, and nothing about its offer
            raise offer
        if await request.is_disconnected():  # nobody is left to read the answer
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
        self, connection_id: str, asked: client_messages.Connect, codec_types: CodecTypes
    ) -> permission.Granted:
        """Ask as signalling does; the same answers mean the same."""
        if not asked.channel_id:
            raise Problem(HTTPStatus.NOT_FOUND, "the URL names no channel")
        try:
            client_messages.check_ids(asked)
        except client_messages.MessageError as error:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
        if self._authenticator is None:
            return permission.Granted(asked)
        question = permission.question(asked, connection_id, self._sessions.counts(asked.channel_id))
        try:
            answer = await self._authenticator.ask(connection_id, question)
            granted = permission.granted(asked, answer)
            return granted._replace(connect=within(granted.connect, codec_types))
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
            return await self._recorder.connect(
                replace(request, connection_id=connection_id, client_address=client_address)
            )
        except ConnectionRefused as error:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, error.reason, {"Retry-After": "5"}) from error

    async def trickle(self, request: Request) -> Response:
        """Take candidates, of which ICE-lite needs none; refuse a restart of ICE (RFC 9725 section 4.3)."""
        session = self._session(request)
        if not matches(request.headers.get("if-match"), session.etag):
            raise Problem(HTTPStatus.PRECONDITION_FAILED, "the ICE session is another one", {"ETag": session.etag})
        check_media_type(request.headers.get("content-type"), FRAGMENT)
        if read_fragment(await _body(request)) != session.ice:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "ICE is not restarted: publish again")
        return Response(None, 204)

    async def delete(self, request: Request) -> Response:
        """End a session. If-Match does not matter here (RFC 9725 section 4.3.1)."""
        self._session(request).connection.stop(LEFT)
        return Response(None, 200)

    def _session(self, request: Request) -> Session:
        """Find the session of a request that may do something to it. Raises Problem."""
        session = self._sessions.get(request.path_params["session_id"])
        if session is None:
            raise Problem(HTTPStatus.NOT_FOUND, "there is no such session")
        self._authorize(request, session.token)
        return session

    def _authorize(self, request: Request, wanted: str | None) -> str | None:
        """Give the token of a request; if one is wanted, it has to be that. Raises Problem."""
        token = bearer_token(request.headers.get("authorization"))
        if wanted is not None and not hmac.compare_digest((token or "").encode(), wanted.encode()):
            challenge = "Bearer" if token is None else 'Bearer error="invalid_token"'
            raise Problem(HTTPStatus.UNAUTHORIZED, "the bearer token is not right", {"WWW-Authenticate": challenge})
        return token


def _read(text: str) -> ClientOffer | Problem:
    """Read an offer; what is wrong with it is returned, to be raised once its sender may know."""
    try:
        return read_offer(text)
    except (OfferRefused, SdpLimitError) as error:
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    except SdpError as error:
        return Problem(HTTPStatus.BAD_REQUEST, str(error))


async def _body(request: Request) -> str:
    """Read a body that is not too long, does not take too long, and is text. Raises Problem, ClientDisconnect."""
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
