// The official `openai` package of npm.
import { createRequire } from "node:module";
import { join } from "node:path";
import { CITY, KEY, SCHEMA, TEXT, URL_, WEATHER, require_, run } from "./_run.mjs";

const OpenAI = createRequire(join(process.cwd(), "x.js"))("openai").default;
const made = (maxRetries = 0) => new OpenAI({ baseURL: `${URL_}/v1`, apiKey: KEY, maxRetries });
const client = made();
const messages = [{ role: "user", content: "Greet me." }];
const ask = (model, about = {}) => client.chat.completions.create({ model, messages, ...about });

const refusal = async (work, words) => {
  try {
    await work();
  } catch (error) {
    require_(error instanceof OpenAI.APIError && error.message.includes(words), error.message);
    return;
  }
  require_(false, "no error");
};

const read = async (events) => {
  let text = "";
  for await (const event of events) text += event.choices[0]?.delta.content ?? "";
  return text;
};

await run("openai", {
  chat: async () => require_((await ask("fine")).choices[0].message.content === TEXT, "the text"),
  stream: async () => require_((await read(await ask("fine", { stream: true }))) === TEXT, "the text"),
  tools: async () => {
    const [call] = (await ask("agent", { tools: [WEATHER] })).choices[0].message.tool_calls;
    require_(JSON.parse(call.function.arguments).city === CITY, call);
  },
  "tools streamed": async () => {
    const events = client.chat.completions.stream({ model: "agent", messages, tools: [WEATHER] });
    const [call] = (await events.finalChatCompletion()).choices[0].message.tool_calls;
    require_(JSON.parse(call.function.arguments).city === CITY, call);
  },
  structured: async () => {
    const format = { type: "json_schema", json_schema: { name: "answer", schema: SCHEMA, strict: true } };
    const reply = await ask("agent", { response_format: format });
    require_(JSON.parse(reply.choices[0].message.content).answer === 42, reply);
  },
  embeddings: async () => {
    const reply = await client.embeddings.create({ model: "vectors", input: ["a", "b"] });
    require_(reply.data.every((item) => item.embedding.length === 3), reply);
  },
  "usage, cost": async () => {
    let last;
    for await (const event of await ask("fine", { stream: true, stream_options: { include_usage: true } })) last = event;
    require_(last.usage.prompt_tokens === 11 && last.usage.completion_tokens === 6, last);
    const { response } = await ask("fine").withResponse();
    require_(Number(response.headers.get("x-comptroller-usd")) === 23e-6, [...response.headers]);
    return "cost in a header, in `comptroller` of the reply and of the last event";
  },
  errors: () => refusal(() => ask("too_long"), "8192"),
  "broken stream": () => refusal(async () => read(await ask("drops", { stream: true })), "drops"),
  retries: async () => {
    const reply = await made(2).chat.completions.create({ model: "busy_once", messages });
    require_(reply.choices[0].message.content === TEXT, reply);
  },
  cancel: async () => {
    const events = await ask("endless", { stream: true });
    for await (const _ of events) break;
    events.controller.abort();
  },
  responses: async () => {
    const reply = await client.responses.create({ model: "fine", input: "Greet me." });
    require_(reply.output_text === TEXT, reply);
    const events = client.responses.stream({ model: "fine", input: "Greet me." });
    require_((await events.finalResponse()).output_text === TEXT, "the stream");
  },
});
