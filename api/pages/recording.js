// The record section: start, stop, and what is being written. The server says what is; the page only counts on.
import { element } from "./element.js";
import { bitRate, bytes, clock, percent } from "./format.js";
import { reason, text } from "./strings.js";
import { askToken } from "./token.js";

const COUNT_MS = 200;
let token = "";
let state = { now_ms: Date.now(), recordings: [], archives: [] };
let ahead_ms = 0;
let isKnown = false;
let shown = "";
const earlier = new Map();

export async function callTarget(operation, body) {
  const headers = { "x-sora-target": `Sora_20161101.${operation}`, "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch("/api", { method: "POST", headers, body: JSON.stringify(body) }).catch(() => {
    throw new Error(text("unreachable"));
  });
  if (answer.status === 401 && (token = await askToken())) return callTarget(operation, body);
  const said = await answer.json();
  if (!answer.ok) throw new Error(reason(said.error_type ?? said.type ?? answer.statusText));
  return said;
}

export function startRecording() {
  const form = document.getElementById("record-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => callTarget("StartRecording", request(new FormData(form))));
  });
  const { splitOnly, split, expire } = form.elements;
  splitOnly.addEventListener("change", () => {
    split.required = expire.disabled = splitOnly.checked; // parts alone have no end by time
  });
  setInterval(count, COUNT_MS);
}

// Without a daemon nothing is known to go on: seconds stand still.
export function showNothing() {
  isKnown = false;
}

export function showState(told) {
  state = told;
  isKnown = true;
  ahead_ms = told.now_ms - Date.now();
  for (const [name, most] of [["expire", told.max_expire_time], ["split", told.max_split_duration]]) {
    document.getElementById("record-form").elements[name].max = most;
  }
  const names = JSON.stringify([told.recordings, told.archives.map((archive) => [archive.recording_id, archive.connection_id])]);
  document.getElementById("no-recordings").hidden = told.recordings.length > 0;
  if (names !== shown) {
    shown = names;
    document.getElementById("recordings").replaceChildren(...told.recordings.map(card));
  }
  told.archives.forEach(showArchive);
  const present = new Set(told.archives.map((archive) => archive.connection_id));
  for (const id of earlier.keys()) if (!present.has(id)) earlier.delete(id);
  count();
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

function count() {
  if (!isKnown) return;
  const now_ms = Date.now() + ahead_ms;
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
