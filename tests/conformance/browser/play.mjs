// Has headless Chromium play files: node play.mjs PAGE_URL '[["/files/0", [0.5, ...]], ...]'; prints what it saw.
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
try {
  const page = await browser.newPage();
  await page.goto(process.argv[2]);
  const seen = [];
  for (const [url, seeks] of JSON.parse(process.argv[3])) {
    seen.push(await page.evaluate(([file, at]) => window.play(file, at), [url, seeks]));
  }
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
