// Several publishers in one page, each with the browser's fake camera and microphone and another codec:
// node cameras.mjs PAGE_URL CODEC...; prints what the page says that each sends.
import { chromium } from "playwright-core";

const [url, ...codecs] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS });
try {
  const page = await (await browser.newContext({ locale: "en-US" })).newPage();
  await page.goto(url);
  const form = page.locator("#publish-form");
  await form.getByLabel("Source").selectOption("camera");
  await form.getByLabel("Resolution").selectOption("320x180");
  await form.getByLabel("Bit rate").fill("300");
  for (const codec of codecs) {
    await form.getByLabel("Channel").fill(codec);
    await form.getByLabel("Video codec").selectOption(codec);
    await form.getByRole("button", { name: "Publish" }).click();
    await page.locator(".publisher", { hasText: codec }).first().locator("[data-state=connected]").waitFor();
  }
  const said = {};
  for (const codec of codecs) {
    const line = page.locator(".publisher", { has: page.getByRole("heading", { name: codec, exact: true }) }).locator(".quiet");
    await line.filter({ hasText: /320×180 · [1-9]/ }).waitFor();
    said[codec] = await line.innerText();
  }
  await page.waitForTimeout(2000);
  for (const codec of codecs) await page.locator(".publisher", { hasText: codec }).first().getByRole("button").click();
  await page.waitForFunction(() => !document.querySelector(".publisher"));
  console.log(JSON.stringify(said));
} finally {
  await browser.close();
}
