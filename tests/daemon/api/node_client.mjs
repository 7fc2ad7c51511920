// OpenAI's and Anthropic's packages for Node against a daemon; prints what they got as one JSON object.
//   node node_client.mjs URL MODEL EMBEDDER
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [url, model, embedder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello there" }];
const asked = { model, messages, temperature: 0, max_tokens: 12 };
const said = {};

said.models = [];
for await (const each of client.models.list()) said.models.push(each.id);
said.model = (await client.models.retrieve(model)).id;

said.whole = (await client.chat.completions.create(asked)).choices[0].message.content;

said.streamed = "";
const stream = await client.chat.completions.create({
  ...asked,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  said.streamed += chunk.choices[0]?.delta?.content ?? "";
  said.usage = chunk.usage ?? said.usage;
}

const parameters = {
  type: "object",
  properties: { city: { enum: ["Ulm", "Bonn"] } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const runner = client.chat.completions.stream({
  ...asked,
  tools,
  tool_choice: "required",
  parallel_tool_calls: false,
  max_tokens: 300,
});
said.deltas = 0;
runner.on("tool_calls.function.arguments.delta", () => (said.deltas += 1));
const called = await runner.finalChatCompletion();
said.call = called.choices[0].message.tool_calls[0];
said.reason = called.choices[0].finish_reason;

const turns = [...messages, called.choices[0].message];
turns.push({ role: "tool", tool_call_id: said.call.id, content: "rain" });
const after = await client.chat.completions.create({ ...asked, messages: turns, tools });
said.after = after.choices[0].finish_reason;

const topic = { topic: "node" };
const stored = await client.chat.completions.create({ ...asked, store: true, metadata: topic });
said.stored = [(await client.chat.completions.retrieve(stored.id)).id === stored.id];
for await (const each of client.chat.completions.list({ metadata: topic }))
  said.stored.push(each.id === stored.id);
for await (const each of client.chat.completions.messages.list(stored.id))
  said.stored.push(each.content === messages[0].content);
const renamed = await client.chat.completions.update(stored.id, { metadata: { topic: "x" } });
said.stored.push(renamed.metadata.topic === "x");
said.stored.push((await client.chat.completions.delete(stored.id)).deleted);

const completion = { model, prompt: "Hello", max_tokens: 3, stream: true };
said.completed = "";
for await (const chunk of await client.completions.create(completion)) {
  said.completed += chunk.choices[0]?.text ?? "";
}

said.events = [];
const responding = await client.responses.create({
  model,
  input: "Hello there",
  max_output_tokens: 16,
  stream: true,
});
for await (const event of responding) said.events.push(event.type);

const response = await client.responses.create({
  model,
  input: "Hello there",
  max_output_tokens: 16,
  temperature: 0,
});
said.responded = response.output_text;
said.helped = (
  await client.responses
    .stream({ model, input: "Hello there", max_output_tokens: 16, temperature: 0 })
    .finalResponse()
).output_text;
said.kept = (await client.responses.retrieve(response.id)).output_text;
said.items = (await client.responses.inputItems.list(response.id)).data.length;
await client.responses.delete(response.id);

said.text = (await client.completions.create({ ...completion, stream: false })).choices[0].text;

const vectors = await client.embeddings.create({ model: embedder, input: ["one", "two"] });
said.dimensions = vectors.data.map((each) => each.embedding.length);

try {
  await client.chat.completions.create({ ...asked, model: "nobody" });
} catch (error) {
  said.error = [error.constructor.name, error.status, error.code];
}

const claude = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const asking = { model, messages, max_tokens: 12, temperature: 0 };
said.claudes = [];
for await (const each of claude.models.list()) said.claudes.push([each.type, each.id]);
said.counted = (await claude.messages.countTokens({ model, messages })).input_tokens;
const message = await claude.messages.create(asking);
said.message = [message.content[0].text, message.usage.input_tokens, message.stop_reason];
said.kinds = [];
const raw = await claude.messages.create({ ...asking, stream: true });
for await (const event of raw) said.kinds.push(event.type);
const helper = claude.messages.stream(asking);
said.pieces = "";
helper.on("text", (text) => (said.pieces += text));
said.final = (await helper.finalMessage()).content[0].text;
const using = await claude.messages
  .stream({
    ...asking,
    max_tokens: 300,
    tools: [{ name: "weather", input_schema: parameters }],
    tool_choice: { type: "tool", name: "weather", disable_parallel_tool_use: true },
  })
  .finalMessage();
said.use = using.content.at(-1);
try {
  await claude.messages.create({ ...asking, model: "nobody" });
} catch (error) {
  said.refusal = [error.constructor.name, error.status, error.error.error.type];
}

const controller = new AbortController();
const long = { ...asked, max_tokens: 4000, stream: true };
said.aborted = false;
try {
  const cut = await client.chat.completions.create(long, { signal: controller.signal });
  for await (const chunk of cut) if (chunk) controller.abort();
  said.aborted = controller.signal.aborted;
} catch (error) {
  said.aborted = error.name;
}
console.log(JSON.stringify(said));
