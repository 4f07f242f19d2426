// Runs what a client library can do against a gateway, and prints a line of JSON for each: `node CLIENT.mjs URL KEY`.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const [URL_, KEY] = process.argv.slice(2);
export const TEXT = "Grüße aus 東京 🙂 und Köln";
export const CITY = "Köln";
export const SCHEMA = {
  type: "object", properties: { answer: { type: "integer" } }, required: ["answer"], additionalProperties: false,
};
export const WEATHER = {
  type: "function",
  function: {
    name: "weather", description: "The weather in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

export function require_(right, what) {
  if (!right) throw new Error(`not as expected: ${JSON.stringify(what)}`.slice(0, 300));
}

/** The version of a package that is installed in this folder. */
function version(name) {
  return JSON.parse(readFileSync(join(process.cwd(), "node_modules", name, "package.json"), "utf8")).version;
}

export async function run(name, features) {
  console.log(JSON.stringify({ package: name, version: version(name) }));
  for (const [feature, work] of Object.entries(features)) {
    let told;
    try {
      told = { ok: true, note: (await work()) ?? "" };
    } catch (error) {
      told = { ok: false, note: `${error.name}: ${error.message}`.slice(0, 300) };
    }
    console.log(JSON.stringify({ feature, ...told }));
  }
}
