// Somebody at Rokuga's page, in headless Chromium: node person.mjs PAGE_URL SCREENSHOTS; prints what was seen.
// Finds everything by role and name, as a screen reader does.
import { chromium } from "playwright-core";

const [url, folder] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS });
const errors = [];

async function open(options) {
  const page = await (await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options })).newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(url);
  return page;
}

try {
  const page = await open({ locale: "en-US", colorScheme: "light" });
  const publishing = page.getByRole("region", { name: "Publish" });
  const recording = page.getByRole("region", { name: "Record" });
  const files = page.getByRole("region", { name: "Files" });
  const webhooks = page.getByRole("region", { name: "Webhooks" });
  await publishing.getByRole("button", { name: "Publish", exact: true }).click();
  await publishing.getByText("publishing", { exact: true }).waitFor();
  await recording.getByLabel("Split every, s").fill("2");
  await recording.getByLabel("Metadata, JSON").fill('{"lesson": 1}');
  await recording.getByRole("button", { name: "Start recording" }).click();
  await recording.getByText(/^00:06$/).waitFor();
  await recording.getByText(/640×360 · part \d/).waitFor();
  const writing = await recording.locator(".archive").innerText();
  const sending = await publishing.locator(".publisher .quiet").innerText();
  await page.screenshot({ path: `${folder}/light.png`, fullPage: true });
  await recording.getByRole("button", { name: "Stop recording" }).click();
  await recording.getByText("Nothing is being recorded.").waitFor();
  const whole = files.getByLabel(/^Whole file/);
  await whole.waitFor();
  const played = await whole.evaluate(async (video) => {
    const happened = (name) => new Promise((resolve) => video.addEventListener(name, resolve, { once: true }));
    video.muted = true;
    await video.play();
    video.currentTime = 3.5;
    await happened("seeked");
    await happened("timeupdate");
    video.pause();
    return { duration: video.duration, at: video.currentTime, width: video.videoWidth };
  });
  for (const part of await files.getByLabel(/^Part/).all()) { // each has a poster, however many connections are free
    await part.scrollIntoViewIfNeeded();
    await part.evaluate(async (video) => {
      while (!video.poster) await new Promise((resolve) => { setTimeout(resolve, 50); });
    });
  }
  await webhooks.getByText("recording.report").waitFor();
  const parts = await files.getByLabel(/^Part/).count();
  const dead = webhooks.getByRole("listitem").filter({ hasText: "recording.started" });
  await dead.getByText("given up").waitFor();
  await dead.getByRole("button", { name: "Retry" }).click();
  await dead.getByText("attempts: 2").waitFor();
  await publishing.getByRole("button", { name: "Stop publishing" }).click();
  await webhooks.getByText("connection.destroyed").waitFor();
  const events = await webhooks.locator("li strong").allInnerTexts();
  await page.screenshot({ path: `${folder}/files.png`, fullPage: true });
  const dark = await open({ locale: "ja-JP", colorScheme: "dark" });
  await dark.getByRole("button", { name: "録画を開始" }).waitFor();
  await dark.locator(".grid video").first().waitFor();
  await dark.screenshot({ path: `${folder}/dark-japanese.png`, fullPage: true });
  const phone = await open({ locale: "en-US", viewport: { width: 390, height: 844 } });
  await phone.locator(".grid video").first().waitFor();
  await phone.screenshot({ path: `${folder}/phone.png`, fullPage: true });
  const overflow = await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  console.log(JSON.stringify({ writing, sending, played, parts, events, overflow, errors }));
} finally {
  await browser.close();
}
