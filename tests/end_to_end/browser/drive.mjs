// Drives page.html in headless Chromium: node drive.mjs PAGE_URL STEPS; prints one JSON object.
// Steps, as JSON: {"wait": ms} or {"call": name, "arguments": [...]} of window.publisher. Start and stop are implied.
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ...(process.env.CHROMIUM_FLAGS ?? "").split(" ").filter(Boolean),
];

const steps = JSON.parse(process.argv[3] ?? "[]");
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS });
try {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(process.argv[2]);
  await page.waitForFunction(() => window.publisher !== undefined);
  let started;
  try {
    started = await page.evaluate(() => window.publisher.start());
  } catch (error) {
    console.log(JSON.stringify({ refused: error.message, errors }));
    process.exit(0);
  }
  for (const step of steps) {
    if (step.wait) await page.waitForTimeout(step.wait);
    else await page.evaluate(([name, given]) => window.publisher[name](...given), [step.call, step.arguments ?? []]);
  }
  const stopped = await page.evaluate(() => window.publisher.stop());
  console.log(JSON.stringify({ ...started, ...stopped, errors }));
} finally {
  await browser.close();
}
