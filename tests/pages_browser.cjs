// Opens pages in Chromium at several widths: errors, overflow, the smallest letters of charts, faults of accessibility.
// node pages_browser.cjs CHROMIUM MODULES PAGE...; writes one JSON line for each page and width.
const [chromium, modules, ...pages] = process.argv.slice(2);
const { chromium: browserType } = require(`${modules}/playwright-core`);
const axe = require("fs").readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");

function smallestLetters() {
  const sizes = [...document.querySelectorAll("svg.chart text")].map((text) => {
    const drawn = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.sqrt(Math.abs(drawn.a * drawn.d - drawn.b * drawn.c));
  });
  return Math.min(...sizes);
}

async function look(browser, file, width) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, bypassCSP: true });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (told) => { if (["error", "warning"].includes(told.type())) errors.push(told.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`file://${file}`);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  const letters_px = await page.evaluate(smallestLetters);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((each) => ["serious", "critical"].includes(each.impact));
  await context.close();
  return { file, width, errors, overflow, letters_px, faults: serious.map((each) => `${each.id}: ${each.nodes[0].html}`) };
}

(async () => {
  const browser = await browserType.launch({ executablePath: chromium, args: ["--no-sandbox"] });
  for (const file of pages) for (const width of [360, 390, 1920]) console.log(JSON.stringify(await look(browser, file, width)));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
