// Ties the page together: texts in the browser's language, then the stream of what goes on.
import { loadFiles, startFiles } from "./files.js";
import { startPublishing } from "./publishing.js";
import { showNothing, showState, startRecording } from "./recording.js";
import { language, text } from "./strings.js";
import { showCounts, showWebhook, showWebhooks } from "./webhooks.js";

const FILE_EVENTS = new Set(["archive.available", "split-archive.available", "archive.failed", "recording.report"]);

document.documentElement.lang = language;
for (const each of document.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);

function live(state, said) {
  const line = document.getElementById("live");
  if (line.textContent === said) return;
  line.dataset.state = state;
  line.textContent = said;
}

function listen() {
  const events = new EventSource("/admin/events");
  const told = (name, act) => events.addEventListener(name, ({ data }) => act(JSON.parse(data)));
  told("state", (state) => {
    live("live", text("online", { recordings: state.recordings.length, connections: state.connections }));
    showState(state);
    showCounts(state.webhooks);
  });
  told("webhooks", (entries) => { showWebhooks(entries); loadFiles(); });
  told("webhook", (entry) => { showWebhook(entry); if (FILE_EVENTS.has(entry.type)) loadFiles(); });
  events.onerror = () => {
    live("offline", text("offline"));
    showNothing();
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

live("connecting", text("connecting"));
startPublishing();
startRecording();
startFiles();
listen();
