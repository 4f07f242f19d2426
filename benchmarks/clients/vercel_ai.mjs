// Vercel's AI SDK with its provider for OpenAI-compatible addresses.
import { createRequire } from "node:module";
import { join } from "node:path";
import { CITY, KEY, TEXT, URL_, require_, run } from "./_run.mjs";

const needed = createRequire(join(process.cwd(), "x.js"));
const { embedMany, generateObject, generateText, stepCountIs, streamText, tool } = needed("ai");
const { createOpenAICompatible } = needed("@ai-sdk/openai-compatible");
const { createOpenAI } = needed("@ai-sdk/openai");
const { z } = needed("zod");

const about = { name: "comptroller", baseURL: `${URL_}/v1`, apiKey: KEY, includeUsage: true };
const provider = createOpenAICompatible({ ...about, supportsStructuredOutputs: true });
const ask = (name, more = {}) => ({ model: provider(name), prompt: "Greet me.", maxRetries: 0, ...more });
const quiet = { onError: () => {} };

const refusal = async (work, words) => {
  try {
    await work();
  } catch (error) {
    require_(JSON.stringify([error.message, error.responseBody]).includes(words), error.message);
    return;
  }
  require_(false, "no error");
};

const weather = (seen) => ({
  tools: {
    weather: tool({
      description: "The weather in a city.", inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (seen.push(city), "sunny"),
    }),
  },
  stopWhen: stepCountIs(3),
});

const streamed = async (name, more = {}) => {
  const parts = [];
  for await (const part of streamText(ask(name, { ...quiet, ...more })).fullStream) {
    if (part.type === "error") throw part.error instanceof Error ? part.error : new Error(JSON.stringify(part.error));
    if (part.type === "text-delta") parts.push(part.text);
  }
  return parts.join("");
};

await run("ai", {
  chat: async () => require_((await generateText(ask("fine"))).text === TEXT, "the text"),
  stream: async () => require_((await streamed("fine")) === TEXT, "the text"),
  tools: async () => {
    const seen = [];
    const { text } = await generateText(ask("agent", weather(seen)));
    require_(text === TEXT && seen[0] === CITY, [text, seen]);
  },
  "tools streamed": async () => {
    const seen = [];
    require_((await streamed("agent", weather(seen))) === TEXT && seen[0] === CITY, seen);
  },
  structured: async () => {
    const { object } = await generateObject(ask("agent", { schema: z.object({ answer: z.number().int() }) }));
    require_(object.answer === 42, object);
  },
  embeddings: async () => {
    const model = (provider.embeddingModel ?? provider.textEmbeddingModel)("vectors");
    const { embeddings } = await embedMany({ model, values: ["a", "b"], maxRetries: 0 });
    require_(embeddings.every((vector) => vector.length === 3), embeddings);
  },
  "usage, cost": async () => {
    const { usage, response } = await generateText(ask("fine"));
    require_(usage.inputTokens === 11 && usage.outputTokens === 6, usage);
    require_(Number(response.headers["x-comptroller-usd"]) === 23e-6, response.headers);
    const result = streamText(ask("fine", quiet));
    await result.consumeStream();
    const told = await result.usage;
    require_(told.inputTokens === 11 && told.outputTokens === 6, told);
    return "cost in a header";
  },
  errors: () => refusal(() => generateText(ask("too_long")), "8192"),
  "broken stream": () => refusal(() => streamed("drops"), "drops"),
  retries: async () => require_((await generateText(ask("busy_once", { maxRetries: 2 }))).text === TEXT, "the text"),
  cancel: async () => {
    const stop = new AbortController();
    for await (const part of streamText(ask("endless", { ...quiet, abortSignal: stop.signal })).fullStream) {
      if (part.type === "text-delta") stop.abort();
    }
  },
  responses: async () => {
    const model = createOpenAI({ baseURL: `${URL_}/v1`, apiKey: KEY }).responses("fine");
    require_((await generateText(ask("fine", { model }))).text === TEXT, "the text");
    require_((await streamed("fine", { model })) === TEXT, "the stream");
  },
});
