// The files section: finished files by recording, each with a player, its metadata and a download.
import { element } from "./element.js";
import { bytes, time } from "./format.js";
import { text } from "./strings.js";

const STEP = 10;
let limit = STEP;
let isLoading = false;
let isStale = false;
const shown = new Map();

export function startFiles() {
  document.getElementById("more-files").addEventListener("click", () => { limit = Math.min(limit + STEP, 100); loadFiles(); });
}

export async function loadFiles() {
  isStale = true;
  if (isLoading) return;
  isLoading = true;
  try {
    while (isStale) {
      isStale = false;
      const answer = await fetch(`/admin/recordings?limit=${limit}`);
      if (answer.ok) show(await answer.json());
    }
  } finally {
    isLoading = false;
  }
}

function show({ recordings, more }) {
  const withFiles = recordings.filter((recording) => recording.files.length);
  document.getElementById("no-files").hidden = withFiles.length > 0;
  document.getElementById("more-files").hidden = !more || limit >= 100;
  const list = document.getElementById("file-list");
  for (const recording of withFiles.reverse()) {
    if (!shown.has(recording.recording_id)) {
      const heading = element("h3", {}, `${recording.files[0].metadata?.channel_id ?? recording.recording_id} · ${time(recording.files[0].modified_ms)}`);
      const grid = element("div", { className: "grid" });
      const group = element("div", { className: "recording-files" }, heading, grid);
      shown.set(recording.recording_id, { group, grid, names: new Set() });
      list.prepend(group);
    }
    const { grid, names } = shown.get(recording.recording_id);
    for (const file of [...recording.files].reverse()) {
      if (names.has(file.filename)) continue;
      names.add(file.filename);
      const made = figure(recording.recording_id, file);
      if (file.metadata?.split_index) grid.append(made);
      else grid.prepend(made);
    }
  }
}

function figure(recordingId, file) {
  const url = `/admin/archives/${recordingId}/${file.filename}`;
  const metadata = file.metadata ?? {};
  const connection = metadata.client_id ?? "";
  const title = metadata.split_index ? text("partOf", { number: Number(metadata.split_index) }) : text("whole");
  const player = element(metadata.video === false ? "audio" : "video", { src: url, controls: true, preload: "metadata", playsInline: true, "aria-label": title });
  const facts = [bytes(file.size), metadata.video_width ? `${metadata.video_width}×${metadata.video_height}` : "", metadata.video_codec_type ?? ""];
  const details = element("details", {}, element("summary", {}, text("showMetadata")), element("pre", { tabIndex: 0 }, JSON.stringify(file.metadata, null, 2)));
  return element("div", {}, player, element("p", {}, title), element("p", { className: "quiet" }, connection), element("p", { className: "quiet" }, facts.filter(Boolean).join(" · ")),
    element("div", { className: "actions" }, element("a", { href: `${url}?download` }, text("download")), details));
}
