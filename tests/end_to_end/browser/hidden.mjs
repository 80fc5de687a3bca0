// The test pattern in a tab that nobody looks at: node hidden.mjs PAGE_URL SECONDS; prints how the page fared.
// A tab that Playwright opens is never hidden; one that the browser opens for itself is, once another covers it.
import { chromium } from "playwright-core";

const [url, seconds] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
const AWAKE = ["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS, ignoreDefaultArgs: AWAKE });
const session = await browser.newBrowserCDPSession();
const { targetId } = await session.send("Target.createTarget", { url });
const { sessionId } = await session.send("Target.attachToTarget", { targetId, flatten: false });
const answers = new Map();
session.on("Target.receivedMessageFromTarget", ({ message }) => {
  const { id, result } = JSON.parse(message);
  answers.get(id)?.(result.result.value);
});

function evaluate(expression) {
  const id = answers.size + 1;
  const params = { expression, awaitPromise: true, returnByValue: true };
  const message = JSON.stringify({ id, method: "Runtime.evaluate", params });
  return new Promise((resolve) => {
    answers.set(id, resolve);
    session.send("Target.sendMessageToTarget", { sessionId, message });
  });
}

async function until(expression) {
  while (!(await evaluate(expression))) await new Promise((resolve) => { setTimeout(resolve, 50); });
}

try {
  await until(`document.querySelector("#live")?.dataset.state === "live"`);
  await evaluate(`document.querySelector("#publish-form button").click()`);
  await until(`document.querySelector(".publisher .state")?.dataset.state === "connected"`);
  await session.send("Target.createTarget", { url: "about:blank" });
  await until(`document.visibilityState === "hidden"`);
  const timers = await evaluate(`new Promise((resolve) => {
    let count = 0;
    setInterval(() => { count += 1; }, 20);
    setTimeout(() => resolve(count), ${Number(seconds) * 1000});
  })`);
  console.log(JSON.stringify({ timers, visibility: await evaluate("document.visibilityState") }));
} finally {
  await browser.close();
}
