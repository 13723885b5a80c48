// The server as the page sees it: which models there are, and one answer as it streams. Whatever goes wrong is a Problem.

import { rememberedKey } from "./remember.js";

export class Problem extends Error {
  constructor(code, { message = "", seconds = 1 } = {}) {
    super(message || code);
    this.code = code;
    this.seconds = seconds;
  }
}

function headers() {
  const key = rememberedKey();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("connection_lost");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Problem(body.error?.code ?? `status_${response.status}`, {
    message: body.error?.message ?? `status ${response.status}`,
    seconds: Number(response.headers.get("Retry-After")) || 1,
  });
}

export async function listModels() {
  const { data } = await (await ask("v1/models")).json();
  // A server may have models beside it that do not converse.
  return data.filter((model) => model.paths.includes("/v1/chat/completions"));
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("connection_lost");
    }
    if (part.done) throw new Problem("connection_lost");
    const events = (held + part.value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

// Says of an answer that it was good ("up") or bad ("down"); the last word counts.
export async function rate(id, rating) {
  await ask("v1/feedback", { method: "POST", body: JSON.stringify({ id, rating }) });
}

// Calls `onText` with each new text; gives the answer's id, the reason for the end and the number of tokens.
export async function streamChat(body, { signal, onText }) {
  const options = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/chat/completions", { method: "POST", body: JSON.stringify(options), signal });
  let id = null;
  let reason = null;
  let numTokens = null;
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Problem(event.error.code, { message: event.error.message });
    const choice = event.choices[0];
    id ??= event.id;
    if (choice?.delta.content) onText(choice.delta.content);
    reason = choice?.finish_reason ?? reason;
    numTokens = event.usage?.completion_tokens ?? numTokens;
  }
  return { id, reason, numTokens };
}
