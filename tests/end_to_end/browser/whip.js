// Publishes by WHIP: with fetch alone, or with one of the clients that people use. `options.whip` says which.
// Gives what the page needs of a publisher: `pc` and `disconnect`; `http` is what a page may read of the answer.

function connected(pc) {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (pc.connectionState === "connected") resolve();
      if (pc.connectionState === "failed") reject(new Error("the peer connection failed"));
    };
    pc.addEventListener("connectionstatechange", look);
    look();
  });
}

function offering(stream, codec) {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  for (const track of stream.getTracks()) {
    const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    if (track.kind === "video" && codec) {
      const { codecs } = RTCRtpSender.getCapabilities("video");
      const named = codecs.filter((each) => each.mimeType === `video/${codec}`);
      transceiver.setCodecPreferences([...named, ...codecs.filter((each) => each.mimeType === "video/rtx")]);
    }
  }
  return pc;
}

async function plain(options, stream) {
  const pc = offering(stream, options.codec);
  const authorization = options.token ? { Authorization: `Bearer ${options.token}` } : {};
  await pc.setLocalDescription();
  const answer = await fetch(options.url, {
    method: "POST",
    headers: { "Content-Type": "application/sdp", ...authorization },
    body: pc.localDescription.sdp,
  });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const session = new URL(answer.headers.get("Location"), options.url);
  const disconnect = async () => {
    const gone = await fetch(session, { method: "DELETE", headers: authorization });
    if (gone.status !== 200) throw new Error(`DELETE ${gone.status}`);
    pc.close();
  };
  return { pc, disconnect, http: { status: answer.status, etag: answer.headers.get("ETag") } };
}

async function medooze(options, stream) {
  const { WHIPClient } = await import("/medooze.js");
  const client = new WHIPClient();
  const pc = offering(stream, options.codec);
  await client.publish(pc, options.url, options.token);
  return { pc, disconnect: () => client.stop() };
}

async function eyevinn(options, stream) {
  const { WHIPClient } = await import("/eyevinn.js");
  const client = new WHIPClient({ endpoint: options.url, opts: { iceServers: [], authkey: options.token } });
  await client.ingest(stream);
  return { pc: client.peer ?? client.pc, disconnect: () => client.destroy() };
}

const clients = { plain, medooze, eyevinn };

export async function publishByWhip(options, stream) {
  const publisher = await clients[options.whip](options, stream);
  await connected(publisher.pc);
  return publisher;
}
