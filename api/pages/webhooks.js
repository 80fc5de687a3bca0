// The webhooks section: a live list, the newest first, with the state of each.
import { element } from "./element.js";
import { moment } from "./format.js";
import { text } from "./strings.js";

const MAX_SHOWN = 200;
const rows = new Map();

export function showWebhooks(entries) {
  rows.clear();
  document.getElementById("webhook-list").replaceChildren();
  for (const entry of [...entries].reverse()) showWebhook(entry);
}

export function showWebhook(entry) {
  const list = document.getElementById("webhook-list");
  const known = rows.get(entry.event_id);
  const state = element("span", { className: "state" }, text(entry.state));
  state.dataset.state = entry.state;
  if (known) {
    known.state.replaceWith(state);
    known.facts.textContent = facts(entry);
    known.retry.hidden = !mayRetry(entry);
    known.state = state;
    return;
  }
  const retry = element("button", { className: "small", type: "button", hidden: !mayRetry(entry) }, text("retry"));
  retry.addEventListener("click", () => retryDelivery(entry.event_id));
  const line = element("p", { className: "quiet" }, facts(entry));
  const row = element("li", {}, element("div", { className: "row" }, element("strong", {}, entry.type), state, retry), line, body(entry.event_id));
  rows.set(entry.event_id, { row, state, facts: line, retry });
  list.prepend(row);
  while (rows.size > MAX_SHOWN) {
    const [oldest, { row: last }] = rows.entries().next().value;
    last.remove();
    rows.delete(oldest);
  }
}

export function showCounts(counts) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  document.getElementById("no-webhooks").hidden = total > 0;
  document.getElementById("only-logged").hidden = !(total > 0 && counts.unsent === total);
  document.getElementById("webhook-counts").textContent = Object.entries(counts).map(([state, count]) => `${text(state)} ${count}`).join(" · ");
}

const mayRetry = (entry) => entry.state === "dead" || entry.state === "parked" || (entry.state === "pending" && entry.attempts > 0);

function facts(entry) {
  const due = entry.state !== "pending" ? "" : entry.due_ms ? text("due", { time: moment(entry.due_ms) }) : text("dueNow");
  return [moment(entry.created_ms), entry.channel_id, entry.attempts ? text("attempts", { count: entry.attempts }) : "", due, entry.last_error].filter(Boolean).join(" · ");
}

function body(eventId) {
  const shown = element("pre", { tabIndex: 0 });
  const details = element("details", {}, element("summary", { className: "quiet" }, text("showBody")), shown);
  details.addEventListener("toggle", async () => {
    if (!details.open || shown.textContent) return;
    try {
      const response = await fetch(`/admin/webhooks/${eventId}`);
      shown.textContent = JSON.stringify((await response.json()).body, null, 2);
    } catch {
      details.open = false;
    }
  });
  return details;
}

// The result arrives as an event. A failed request is ignored: the page shows already that the daemon is unreachable.
async function retryDelivery(eventId) {
  await fetch(`/admin/webhooks/${eventId}/retry`, { method: "POST", headers: { "content-type": "application/json" } }).catch(() => {});
}
