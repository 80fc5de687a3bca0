// Somebody who looks through many files: node many_files.mjs PAGE_URL COUNT; prints what each player came to.
import { chromium } from "playwright-core";

const [url, count] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS });
try {
  const page = await (await browser.newContext({ locale: "en-US" })).newPage();
  page.setDefaultTimeout(10000);
  await page.goto(url);
  const players = page.locator(".grid video");
  await players.nth(Number(count) - 1).waitFor();
  for (const player of await players.all()) {
    await player.scrollIntoViewIfNeeded();
    await player.evaluate((video) => { video.muted = true; return video.play(); });
  }
  const status = await page.evaluate(async () => (await fetch("/admin/state", { signal: AbortSignal.timeout(5000) })).status);
  await page.waitForFunction(() => [...document.querySelectorAll(".grid video")].every((video) => video.poster));
  const playing = await players.evaluateAll((all) => all.filter((video) => !video.paused).length);
  console.log(JSON.stringify({ status, playing }));
} finally {
  await browser.close();
}
