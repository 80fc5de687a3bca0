// Starts the page: texts in the browser's language, then the stream of server-sent events.
import { loadFiles, startFiles } from "./files.js";
import { startPublishing } from "./publishing.js";
import { showOffline, showState, startRecording } from "./recording.js";
import { language, text } from "./strings.js";
import { showCounts, showWebhook, showWebhooks } from "./webhooks.js";

const FILE_EVENTS = new Set(["archive.available", "split-archive.available", "archive.failed", "recording.report"]);

document.documentElement.lang = language;
for (const each of document.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);

function showStatus(state, message) {
  const line = document.getElementById("live");
  if (line.textContent === message) return;
  line.dataset.state = state;
  line.textContent = message;
}

function listen() {
  const events = new EventSource("/admin/events");
  const on = (name, handle) => events.addEventListener(name, ({ data }) => handle(JSON.parse(data)));
  on("state", (state) => {
    showStatus("live", text("online", { recordings: state.recordings.length, connections: state.connections }));
    showState(state);
    showCounts(state.webhooks);
  });
  on("webhooks", (entries) => { showWebhooks(entries); loadFiles(); });
  on("webhook", (entry) => { showWebhook(entry); if (FILE_EVENTS.has(entry.type)) loadFiles(); });
  events.onerror = () => {
    showStatus("offline", text("offline"));
    showOffline();
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

showStatus("connecting", text("connecting"));
startPublishing();
startRecording();
startFiles();
listen();
