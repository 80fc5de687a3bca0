// Rokuga's page without a mouse: node keyboard.mjs PAGE_URL USER PASSWORD TOKEN; prints what a person could not do.
// Tab order and visible focus, Enter, Space and Escape; the name of every control; contrast in both themes.
import { chromium } from "playwright-core";

const [url, username, password, token] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: FLAGS });

async function open(options) {
  const page = await (await browser.newContext({ locale: "en-US", ...options })).newPage();
  await page.goto(url);
  await page.locator("#live[data-state=live]").waitFor();
  return page;
}

// What has the focus: its name, and whether that can be seen (the outline against what is behind it is in `faint`).
const focused = (page) => page.evaluate(() => {
  const it = document.activeElement;
  const style = getComputedStyle(it);
  const name = it.getAttribute("aria-label") ?? it.labels?.[0]?.querySelector("span").innerText ?? it.innerText;
  return { name: name.trim(), seen: it.matches(":focus-visible") && style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 };
});

async function tabTo(page, name) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await focused(page);
    if (at.name === name) return at;
  }
  throw new Error(`Tab does not come to ${name}`);
}

// Texts whose contrast is below WCAG 2.2's 4.5 to 1 (3 to 1 if large), and edges of fields and outlines below 3 to 1.
const faint = (page) => page.evaluate(() => {
  const paint = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const colour = (css) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = css;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const back = colour(getComputedStyle(at).backgroundColor);
      if (back[3] === 255) return back;
    }
    return [255, 255, 255, 255];
  };
  const light = (rgb) => rgb.slice(0, 3).reduce((sum, value, place) => {
    const part = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][place] * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const contrast = (one, other) => {
    const [least, most] = [light(one), light(other)].sort((a, b) => a - b);
    return (most + 0.05) / (least + 0.05);
  };
  const bad = [];
  let looked = 0;
  const judge = (what, one, other, least) => {
    looked += 1;
    const ratio = contrast(colour(one), other);
    if (ratio < least) bad.push(`${what}: ${ratio.toFixed(2)}`);
  };
  for (const each of document.querySelectorAll("body *")) {
    if (!each.checkVisibility() || each.closest(":disabled")) continue;
    const style = getComputedStyle(each);
    if ([...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) {
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      judge(each.textContent.trim().slice(0, 40), style.color, behind(each), isLarge ? 3 : 4.5);
    }
    if (each.placeholder) judge(each.placeholder, getComputedStyle(each, "::placeholder").color, behind(each), 4.5);
    if (each.matches("input:not([type=checkbox]), select, button:not(.primary)")) judge(`edge of ${each.name || each.textContent}`, style.borderTopColor, behind(each.parentElement), 3);
  }
  judge("outline", getComputedStyle(document.documentElement).getPropertyValue("--red"), behind(document.body), 3);
  return { looked, bad };
});

async function nameless(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const roles = new Set(["button", "link", "textbox", "spinbutton", "combobox", "checkbox", "progressbar", "region", "dialog", "Video", "Audio", "summary", "DisclosureTriangle"]);
  const controls = nodes.filter((node) => !node.ignored && roles.has(node.role?.value));
  return { looked: controls.length, bad: controls.filter((node) => !node.name?.value).map((node) => node.role.value) };
}

try {
  const page = await open({ httpCredentials: password ? { username, password } : undefined, colorScheme: "light" });
  const order = [];
  const unseen = [];
  for (let presses = 0; presses < 17; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await focused(page);
    order.push(at.name);
    if (!at.seen) unseen.push(at.name);
  }
  await page.evaluate(() => document.activeElement.blur());
  await page.locator("body").evaluate((body) => { body.tabIndex = -1; body.focus(); body.removeAttribute("tabindex"); });
  await tabTo(page, "Audio");
  await page.keyboard.press("Space");
  const isOff = !(await page.getByRole("checkbox", { name: "Audio" }).isChecked());
  await tabTo(page, "Publish");
  await page.keyboard.press("Enter");
  await page.locator(".publisher .state[data-state=connected]").waitFor();
  await tabTo(page, "Start recording");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  let problem = "";
  if (token) {
    await dialog.waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("alert").filter({ hasText: "UNAUTHORIZED" }).waitFor();
    problem = await page.locator("#record-problem").innerText();
    await page.getByRole("button", { name: "Start recording" }).press("Enter");
    await dialog.waitFor();
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("dialog").open && !document.querySelector("dialog input").value);
    const inDialog = await faint(page);
    if (inDialog.bad.length) throw new Error(inDialog.bad.join());
    await page.keyboard.type(token);
    await page.keyboard.press("Enter");
  }
  await page.getByRole("button", { name: "Stop recording" }).waitFor();
  await page.locator(".archive").waitFor();
  const names = await nameless(page);
  const contrast = { light: await faint(page) };
  await page.emulateMedia({ colorScheme: "dark" });
  contrast.dark = await faint(page);
  await tabTo(page, "Stop recording");
  await page.keyboard.press("Space");
  await page.getByText("Nothing is being recorded.").waitFor();
  console.log(JSON.stringify({ order, unseen, isOff, problem, names, contrast }));
} finally {
  await browser.close();
}
