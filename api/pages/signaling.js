// A publisher's side of Sora's signalling: connect, offer, answer, candidates, ping and pong, disconnect.
export class Signaling {
  constructor({ onState }) {
    this.onState = onState;
    this.peer = null;
  }

  async connect({ channel, stream, video, audio }) {
    this.onState("connecting", "");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/signaling`);
    this.socket.onopen = () => this.#send({ type: "connect", role: "sendonly", channel_id: channel, video, audio, sora_client: "Rokuga page" });
    this.socket.onmessage = ({ data }) => this.#receive(JSON.parse(data), stream, video).catch((error) => this.#end("failed", error.message));
    this.socket.onclose = ({ code, reason }) => this.#end(code === 1000 ? "ended" : "failed", reason);
  }

  disconnect() {
    if (this.socket.readyState === WebSocket.OPEN) this.#send({ type: "disconnect", reason: "NO-ERROR" });
    else this.socket.close();
  }

  async #receive(message, stream, video) {
    if (message.type === "offer") await this.#answer(message, stream, video);
    else if (message.type === "ping") this.#send({ type: "pong" });
    else if (message.type === "notify" && message.event_type === "connection.created" && message.connection_id === this.connectionId) this.onState("connected", "");
  }

  async #answer(offer, stream, video) {
    this.connectionId = offer.connection_id;
    this.peer = new RTCPeerConnection(offer.config);
    this.peer.onicecandidate = ({ candidate }) => candidate && this.#send({ type: "candidate", ...candidate.toJSON() });
    this.peer.onconnectionstatechange = () => this.peer.connectionState === "failed" && this.#end("failed", "ICE");
    await this.peer.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    for (const transceiver of this.peer.getTransceivers()) {
      const kind = transceiver.receiver.track.kind;
      const track = stream.getTracks().find((each) => each.kind === kind);
      if (!track) continue;
      await transceiver.sender.replaceTrack(track);
      transceiver.direction = "sendonly";
    }
    await this.peer.setLocalDescription(await this.peer.createAnswer());
    for (const sender of this.peer.getSenders()) {
      if (sender.track?.kind !== "video") continue;
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) encoding.maxBitrate = video.bit_rate * 1000;
      await sender.setParameters(parameters);
    }
    this.#send({ type: "answer", sdp: this.peer.localDescription.sdp });
  }

  #send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #end(state, reason) {
    if (this.isClosed) return;
    this.isClosed = true;
    this.peer?.close();
    this.socket.close();
    this.onState(state, reason);
  }
}
