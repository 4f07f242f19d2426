// Opens a dashboard in Chromium at several widths: errors, overflow, faults of accessibility, a what-if, screenshots.
// node dashboard_browser.cjs URL CHROMIUM MODULES OUT; writes one JSON line for each width.
const [url, chromium, modules, out] = process.argv.slice(2);
const { chromium: browserType } = require(`${modules}/playwright-core`);
const axe = require("fs").readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");

async function whatIf(page) {
  await page.waitForSelector("#ask", { timeout: 300000 });
  const answer = page.waitForResponse((response) => response.url().includes("/what-if?"));
  await page.fill("#rate", "abc");
  await page.keyboard.press("Tab");
  await answer;
  await page.waitForSelector("#rate-fault");
  const fault = await page.textContent("#rate-fault");
  const again = page.waitForResponse((response) => response.url().includes("/what-if?"));
  await page.fill("#rate", "4");
  await page.keyboard.press("Enter");
  await again;
  await page.waitForSelector("[sse-swap='answer'] .answer", { timeout: 300000 });
  return { fault, invalid: await page.getAttribute("#rate", "aria-invalid"), found: await page.textContent("[sse-swap='answer']") };
}

async function look(browser, [width, colorScheme, asks]) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (told) => { if (["error", "warning"].includes(told.type())) errors.push(told.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("response", (response) => { if (response.status() >= 400) errors.push(`${response.status()} ${response.url()}`); });
  await page.goto(url);
  await page.waitForFunction(() => !document.querySelector("section[aria-busy='true']"), null, { timeout: 300000 });
  const asked = asks ? await whatIf(page) : null;
  await page.focus(".point");
  const tip = await page.textContent("#tip");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((each) => ["serious", "critical"].includes(each.impact));
  const faults = serious.map((each) => `${each.id}: ${each.nodes[0].html.slice(0, 200)}`);
  await page.screenshot({ path: `${out}/dashboard-${width}-${colorScheme}.png`, fullPage: true });
  await context.close();
  return { width, errors, overflow, faults, asked, tip };
}

(async () => {
  const browser = await browserType.launch({ executablePath: chromium, args: ["--no-sandbox"] });
  for (const way of [[360, "light", false], [768, "dark", false], [1920, "light", true]]) {
    console.log(JSON.stringify(await look(browser, way)));
  }
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
