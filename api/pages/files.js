// The files section: finished files by recording, each with a player, its metadata and a download.
import { element } from "./element.js";
import { bytes, clock, moment } from "./format.js";
import { player } from "./players.js";
import { text } from "./strings.js";

const PAGE_SIZE = 10;
let limit = PAGE_SIZE;
let isLoading = false;
let isStale = false;
const shown = new Map();

export function startFiles() {
  document.getElementById("more-files").addEventListener("click", () => { limit = Math.min(limit + PAGE_SIZE, 100); loadFiles(); });
}

export async function loadFiles() {
  isStale = true;
  if (isLoading) return;
  isLoading = true;
  try {
    while (isStale) {
      isStale = false;
      const response = await fetch(`/admin/recordings?limit=${limit}`);
      if (response.ok) show(await response.json());
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
      const heading = element("h3", {}, `${recording.files[0].metadata?.channel_id ?? recording.recording_id} · ${moment(startTime(recording.files))}`);
      const grid = element("div", { className: "grid" });
      const group = element("div", { className: "recording-files" }, heading, grid);
      shown.set(recording.recording_id, { group, grid, names: new Set() });
      list.prepend(group);
    }
    const { grid, names } = shown.get(recording.recording_id);
    for (const file of [...recording.files].reverse()) {
      if (names.has(file.filename)) continue;
      names.add(file.filename);
      const shownFile = figure(recording.recording_id, file);
      if (file.metadata?.split_index) grid.append(shownFile);
      else grid.prepend(shownFile);
    }
  }
}

// The start of the earliest file by its metadata; without metadata, the time at which it was written.
function startTime(files) {
  return Math.min(...files.map((file) => Date.parse(file.metadata?.start_timestamp ?? "") || file.modified_ms));
}

function figure(recordingId, file) {
  const url = `/admin/archives/${recordingId}/${file.filename}`;
  const metadata = file.metadata ?? {};
  const connection = metadata.client_id ?? "";
  const title = metadata.split_index ? text("partOf", { number: Number(metadata.split_index) }) : text("whole");
  const facts = element("p", { className: "quiet" });
  const showFacts = (seconds) => {
    const size = metadata.video_width ? `${metadata.video_width}×${metadata.video_height}` : "";
    facts.textContent = [Number.isFinite(seconds) ? clock(Math.round(seconds)) : "", bytes(file.size), size, metadata.video_codec_type].filter(Boolean).join(" · ");
  };
  showFacts();
  const details = element("details", {}, element("summary", {}, text("showMetadata")), element("pre", { tabIndex: 0 }, JSON.stringify(file.metadata, null, 2)));
  return element("div", {}, player(metadata.video === false ? "audio" : "video", url, title, showFacts), element("p", {}, title), element("p", { className: "quiet" }, connection), facts,
    element("div", { className: "actions" }, element("a", { href: `${url}?download` }, text("download")), details));
}
