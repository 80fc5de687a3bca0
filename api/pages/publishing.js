// The publish section: a form, and a card for each publisher of this page.
import { element } from "./element.js";
import { bitRate, percent } from "./format.js";
import { Signaling } from "./signaling.js";
import { reason, text } from "./strings.js";
import { testPattern } from "./test_pattern.js";

const STATISTICS_MS = 1000;

export function startPublishing() {
  const form = document.getElementById("publish-form");
  const { video, codec, resolution, bitrate } = form.elements;
  video.addEventListener("change", () => {
    codec.disabled = resolution.disabled = bitrate.disabled = !video.checked;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = document.getElementById("publish-problem");
    problem.textContent = "";
    try {
      await publish(new FormData(form));
    } catch (error) {
      problem.textContent = error.message;
    }
  });
}

async function media(form) {
  const [width, height] = form.get("resolution").split("x").map(Number);
  if (form.get("source") === "pattern") return testPattern(width, height, form.get("channel"));
  if (!navigator.mediaDevices) throw new Error(text("noCamera"));
  const constraints = { audio: form.has("audio"), video: form.has("video") && { width, height } };
  const stream = await navigator.mediaDevices.getUserMedia(constraints).catch((error) => {
    throw new Error(error.name === "NotAllowedError" ? text("cameraRefused") : text("cameraMissing"));
  });
  return { stream, stop: () => {} };
}

async function publish(form) {
  if (!form.has("video") && !form.has("audio")) throw new Error(text("nothingToSend"));
  const { stream, stop } = await media(form);
  for (const track of stream.getTracks()) if (!form.has(track.kind)) stream.removeTrack(track);
  const state = element("span", { className: "state", role: "status" });
  const facts = element("p", { className: "quiet" });
  const button = element("button", { className: "small", type: "button" }, text("stopPublishing"));
  const preview = element("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream, "aria-label": text("video") });
  const details = element("div", {}, element("div", { className: "row" }, element("h3", {}, form.get("channel")), state), facts, button);
  const card = element("li", { className: "card publisher" }, preview, details);
  document.getElementById("publishers").prepend(card);
  let timer;
  const signaling = new Signaling({
    onState(name, cause) {
      state.dataset.state = name;
      state.textContent = text(name);
      if (name !== "ended" && name !== "failed") return;
      clearInterval(timer);
      stop();
      for (const track of stream.getTracks()) track.stop();
      if (name === "ended") return card.remove();
      card.className = "card";
      preview.remove();
      facts.textContent = cause ? reason(cause) : text("broken");
      button.textContent = text("remove");
      button.onclick = () => card.remove();
    },
  });
  button.onclick = () => signaling.disconnect();
  const codec = form.get("codec");
  timer = setInterval(statistics(signaling, facts, form.has("video") ? codec : document.forms["publish-form"].elements.codec.dataset.audio), STATISTICS_MS);
  const video = form.has("video") && { codec_type: codec, bit_rate: Number(form.get("bitrate")) };
  await signaling.connect({ channel: form.get("channel"), stream, video, audio: form.has("audio") });
}

function statistics(signaling, facts, codec) {
  let before = { bytes: 0, ms: 0 };
  return async () => {
    if (signaling.peer?.connectionState !== "connected") return;
    const now = { bytes: 0, ms: performance.now() };
    let sent = 0;
    let lost = 0;
    let size = "";
    for (const entry of (await signaling.peer.getStats()).values()) {
      if (entry.type === "outbound-rtp") { now.bytes += entry.bytesSent; sent += entry.packetsSent; }
      if (entry.type === "outbound-rtp" && entry.frameWidth) size = ` · ${entry.frameWidth}×${entry.frameHeight}`;
      if (entry.type === "remote-inbound-rtp") lost += Math.max(0, entry.packetsLost);
    }
    const rate = before.ms ? (8000 * (now.bytes - before.bytes)) / (now.ms - before.ms) : 0;
    before = now;
    facts.textContent = `${codec}${size} · ${bitRate(rate)} · ${text("loss", { percent: percent(lost, sent) })}`;
  };
}
