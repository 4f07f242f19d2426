// Loads a dashboard in Chromium several times and says when it painted first and when its last panel stood.
// node dashboard_paint.cjs URL CHROMIUM MODULES WIDTH...; one JSON line for each load.
const [url, chromium, modules, ...widths] = process.argv.slice(2);
const { chromium: browserType } = require(`${modules}/playwright-core`);
const axe = require("fs").readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");

async function load(browser, width) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, bypassCSP: true });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (told) => { if (["error", "warning"].includes(told.type())) errors.push(told.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  await page.waitForFunction(() => !document.querySelector("section[aria-busy='true']"), null, { timeout: 120000 });
  const standing_ms = await page.evaluate(() => performance.now());
  const paint_ms = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  const panels = await page.evaluate(() => performance.getEntriesByType("resource")
    .filter((each) => each.name.includes("/dashboard/panel/"))
    .map((each) => [new URL(each.name).pathname.split("/").pop(), each.duration]));
  const overflow_px = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) => each.id);
  await context.close();
  return { width, paint_ms, standing_ms, panels: Object.fromEntries(panels), errors, overflow_px, serious };
}

(async () => {
  const browser = await browserType.launch({ executablePath: chromium, args: ["--no-sandbox"] });
  for (const width of widths) console.log(JSON.stringify(await load(browser, Number(width))));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
