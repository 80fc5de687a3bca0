// The record section: start, stop, and the archives being written. The server sends the state; between two states the
// page advances the times.
import { element } from "./element.js";
import { bitRate, bytes, clock, percent } from "./format.js";
import { reason, text } from "./strings.js";
import { askToken } from "./token.js";

const ADVANCE_MS = 200;
let token = "";
let state = { now_ms: Date.now(), recordings: [], archives: [] };
let clockOffset_ms = 0;
let isKnown = false;
let shown = "";
const earlier = new Map();

export async function callTarget(operation, body) {
  const headers = { "x-sora-target": `Sora_20161101.${operation}`, "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch("/api", { method: "POST", headers, body: JSON.stringify(body) }).catch(() => {
    throw new Error(text("unreachable"));
  });
  if (response.status === 401 && (token = await askToken())) return callTarget(operation, body);
  const result = await response.json();
  if (!response.ok) throw new Error(reason(result.error_type ?? result.type ?? response.statusText));
  return result;
}

export function startRecording() {
  const form = document.getElementById("record-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => callTarget("StartRecording", request(new FormData(form))));
  });
  const { splitOnly, split, expire } = form.elements;
  splitOnly.addEventListener("change", () => {
    split.required = expire.disabled = splitOnly.checked; // split_only excludes expire_time
  });
  setInterval(advance, ADVANCE_MS);
}

// Stops the times while there is no connection to the daemon.
export function showOffline() {
  isKnown = false;
}

export function showState(received) {
  state = received;
  isKnown = true;
  clockOffset_ms = received.now_ms - Date.now();
  for (const [name, max] of [["expire", received.max_expire_time], ["split", received.max_split_duration]]) {
    document.getElementById("record-form").elements[name].max = max;
  }
  const names = JSON.stringify([received.recordings, received.archives.map((archive) => [archive.recording_id, archive.connection_id])]);
  document.getElementById("no-recordings").hidden = received.recordings.length > 0;
  if (names !== shown) {
    shown = names;
    document.getElementById("recordings").replaceChildren(...received.recordings.map(card));
  }
  received.archives.forEach(showArchive);
  const present = new Set(received.archives.map((archive) => archive.connection_id));
  for (const id of earlier.keys()) if (!present.has(id)) earlier.delete(id);
  advance();
}

async function attempt(work) {
  const problem = document.getElementById("record-problem");
  problem.textContent = "";
  try {
    await work();
  } catch (error) {
    problem.textContent = error.message;
  }
}

function request(form) {
  const body = { channel_id: form.get("channel"), expire_time: Number(form.get("expire")) };
  if (form.get("split")) body.split_duration = Number(form.get("split"));
  if (form.has("splitOnly")) Object.assign(body, { split_only: true, expire_time: 0 });
  if (form.get("metadata").trim()) {
    try {
      body.metadata = JSON.parse(form.get("metadata"));
    } catch {
      throw new Error(text("badMetadata"));
    }
  }
  return body;
}

function card(recording) {
  const stop = element("button", { className: "small", type: "button" }, text("stopRecording"));
  stop.addEventListener("click", () => attempt(() => callTarget("StopRecording", { channel_id: recording.channel_id })));
  const parts = [element("div", { className: "row" }, element("h3", {}, recording.channel_id), element("span", { className: "seconds", id: `s-${recording.recording_id}` }), stop)];
  if (recording.expire_time) parts.push(element("progress", { id: `e-${recording.recording_id}`, max: recording.expire_time, "aria-label": text("toExpiry") }));
  const archives = state.archives.filter((archive) => archive.recording_id === recording.recording_id);
  if (!archives.length) parts.push(element("p", { className: "quiet" }, text("waiting")));
  for (const { connection_id: id } of archives) {
    const row = element("div", { className: "archive" }, element("p", { className: "quiet", id: `a-${id}` }));
    if (recording.split_duration) row.append(element("progress", { id: `p-${id}`, max: recording.split_duration, "aria-label": text("toSplit") }));
    parts.push(row);
  }
  return element("li", { className: "card" }, ...parts);
}

function showArchive(archive) {
  const line = document.getElementById(`a-${archive.connection_id}`);
  if (!line) return;
  const before = earlier.get(archive.connection_id);
  const rate = before && state.now_ms > before.ms ? (8000 * (archive.size - before.size)) / (state.now_ms - before.ms) : 0;
  earlier.set(archive.connection_id, { size: archive.size, ms: state.now_ms });
  const codecs = [archive.video, archive.audio].filter(Boolean).map((track) => track.codec_type).join(" + ");
  line.textContent = [
    archive.client_id, `${archive.seconds} s`, bytes(archive.size), bitRate(Math.max(rate, 0)),
    text("loss", { percent: percent(archive.lost_packets, archive.received_packets + archive.lost_packets) }),
    codecs, archive.width ? `${archive.width}×${archive.height}` : "", archive.part ? text("part", { number: archive.part }) : "",
  ].filter(Boolean).join(" · ");
}

function advance() {
  if (!isKnown) return;
  const now_ms = Date.now() + clockOffset_ms;
  for (const recording of state.recordings) {
    const seconds = (now_ms - recording.start_ms) / 1000;
    const shown_seconds = document.getElementById(`s-${recording.recording_id}`);
    if (shown_seconds) shown_seconds.textContent = clock(seconds);
    const bar = document.getElementById(`e-${recording.recording_id}`);
    if (bar) bar.value = Math.min(seconds, recording.expire_time);
  }
  for (const archive of state.archives) {
    const bar = document.getElementById(`p-${archive.connection_id}`);
    if (bar) bar.value = (Math.max(0, now_ms - archive.start_ms) / 1000) % bar.max;
  }
}
