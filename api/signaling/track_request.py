"""What a client asks for one kind of media, with the parameters of each codec of the table."""

from typing import TYPE_CHECKING, Any

import msgspec

from rokuga.recorder.codecs.table import CODECS


class _TrackRequest(msgspec.Struct, frozen=True):
    """`audio` or `video` where it is an object. `*_params` are any JSON until the codec's row reads them."""

    codec_type: str | None = None
    bit_rate: int | None = None


if TYPE_CHECKING:

    class TrackRequest(_TrackRequest, frozen=True):
        """With a field for the parameters of each row of the codec table, such as `vp9_params`."""

        def __init__(self, codec_type: str | None = None, bit_rate: int | None = None, **params: Any) -> None: ...

else:
    TrackRequest = msgspec.defstruct(
        "TrackRequest",
        [(row.params_key, Any, None) for row in CODECS.values()],
        bases=(_TrackRequest,),
        frozen=True,
        module=__name__,
    )
