"""Publishes by WHIP with GStreamer: /usr/bin/python3 gstreamer_publisher.py URL SECONDS [--codec C] [--trickle].

It is webrtcbin, which all of GStreamer's WHIP elements are made of. Debian's own whip-client aborts, and its
whipclientsink comes with a later release.
"""

import argparse
import json
import sys
from typing import Any
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import gi

for name in ("Gst", "GstWebRTC", "GstSdp"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402  # versions come first

VIDEO = {
    "VP8": "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=60 ! rtpvp8pay pt=96 picture-id-mode=2",
    "VP9": "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=60 ! rtpvp9pay pt=96 picture-id-mode=15-bit",
}
PIPELINE = """webrtcbin name=peer bundle-policy=max-bundle
 videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! queue
 ! {video} ! application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000 ! peer.
 audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! queue ! opusenc
 ! rtpopuspay pt=97 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,
encoding-params=(string)2 ! peer."""
CONNECT_S = 20


class Publisher:
    """One session, from its offer to its DELETE. `result` is what is printed."""

    def __init__(self, url: str, seconds: float, codec: str, token: str, *, trickle: bool) -> None:
        self.url, self.seconds, self.token, self.trickle = url, seconds, token, trickle
        self.result: dict[str, Any] = {"connected": False}
        self.session = ""
        self.candidates: list[str] = []
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE.format(video=VIDEO[codec], codec=codec))
        self.peer = self.pipeline.get_by_name("peer")
        self.peer.connect("on-negotiation-needed", self.negotiate)
        self.peer.connect("on-ice-candidate", lambda _peer, _line, text: self.candidates.append(text))
        self.peer.connect("notify::ice-gathering-state", self.gathered)
        self.peer.connect("notify::connection-state", self.changed)

    def run(self) -> None:
        """Publish to the end."""
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(CONNECT_S, self.loop.quit)
        self.loop.run()
        if self.session:
            self.result["delete"] = self.request("DELETE", self.session).status
        self.pipeline.set_state(Gst.State.NULL)

    def negotiate(self, _peer: Any) -> None:
        """Make the offer."""
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise: Any) -> None:
        """Take the offer; without trickling, post it when all candidates are in it."""
        promise.wait()
        reply = promise.get_reply()  # owns the offer
        self.peer.emit("set-local-description", reply["offer"], Gst.Promise.new_with_change_func(self.described))

    def described(self, _promise: Any) -> None:
        """Post the offer at once, with candidates to follow."""
        if self.trickle:
            GLib.idle_add(self.post)

    def gathered(self, *_: Any) -> None:
        """Post the offer that has all candidates."""
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if not self.trickle and self.peer.get_property("ice-gathering-state") == complete:
            GLib.idle_add(self.post)

    def post(self) -> bool:
        """Post the offer, take the answer, and then trickle."""
        offer = self.peer.get_property("local-description").sdp.as_text()
        answer = self.request("POST", self.url, offer, "application/sdp")
        self.session = urljoin(self.url, answer.headers["Location"])
        self.result["status"] = answer.status
        _, parsed = GstSdp.SDPMessage.new_from_text(answer.read().decode())
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, parsed)
        self.peer.emit("set-remote-description", description, Gst.Promise.new())
        if self.trickle:
            names = ("a=ice-ufrag", "a=ice-pwd", "a=mid")
            head = [next(line for line in offer.splitlines() if line.startswith(name)) for name in names]
            lines = [*head, *(f"a={candidate}" for candidate in self.candidates), ""]
            patched = self.request("PATCH", self.session, "\r\n".join(lines), "application/trickle-ice-sdpfrag")
            self.result["patch"] = patched.status
        return False

    def changed(self, *_: Any) -> None:
        """Stay for a while once connected."""
        state = self.peer.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED and not self.result["connected"]:
            self.result["connected"] = True
            GLib.timeout_add(int(self.seconds * 1000), self.loop.quit)

    def request(self, method: str, url: str, body: str = "", media_type: str = "") -> Any:
        """Send a request; raises for what is not 2xx."""
        headers = {"Content-Type": media_type} if media_type else {}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return urlopen(Request(url, body.encode() or None, headers, method=method), timeout=10)


def main() -> int:
    """Publish; print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--codec", default="VP9", choices=VIDEO)
    parser.add_argument("--trickle", action="store_true")
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    Gst.init(None)
    publisher = Publisher(options.url, options.seconds, options.codec, options.token, trickle=options.trickle)
    publisher.run()
    print(json.dumps(publisher.result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
