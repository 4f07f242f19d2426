// Claude Code without a terminal, which streams from /v1/messages and runs the tools of its own.
import { execFile } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { KEY, TEXT, URL_, require_, run } from "./_run.mjs";

const home = mkdtempSync(join(tmpdir(), "claude-code"));
const env = {
  PATH: process.env.PATH, HOME: home, ANTHROPIC_BASE_URL: URL_, ANTHROPIC_API_KEY: KEY, DISABLE_AUTOUPDATER: "1",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", CLAUDE_CODE_MAX_RETRIES: "0",
};
const program = join(process.cwd(), "node_modules", ".bin", "claude");

const ask = async (model) => {
  const words = ["-p", "Greet me.", "--model", model, "--allowedTools", "Bash", "--output-format", "json"];
  const about = { cwd: home, env: { ...env, ANTHROPIC_SMALL_FAST_MODEL: model }, timeout: 100000 };
  const work = promisify(execFile)(program, words, about);
  work.child.stdin.end();
  return JSON.parse((await work.catch((error) => error)).stdout);
};

await run("@anthropic-ai/claude-code", {
  stream: async () => require_((await ask("fine")).result === TEXT, "the text"),
  "tools streamed": async () => {
    const told = await ask("agent");
    require_(told.result === TEXT && told.num_turns === 2, told);
  },
  "usage, cost": async () => {
    const { usage } = await ask("fine");
    require_(usage.input_tokens === 11 && usage.output_tokens === 6, usage);
    return "the cost that it shows is by prices of its own";
  },
  errors: async () => {
    const told = await ask("too_long");
    require_(told.is_error && told.result.includes("8192"), told);
  },
});
