// OpenAI's own client for JavaScript at the endpoint in ENDPOINT: an agent's loop, whole and streamed, a block
// and errors. Prints what came of it as JSON.
const { OpenAI } = require("openai");

const client = new OpenAI({ baseURL: process.env.ENDPOINT, apiKey: process.env.KEY, maxRetries: 0 });
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters: city } }];
const model = "assistant";
const says = (text) => [{ role: "user", content: text }];

async function whole(messages) {
  return (await client.chat.completions.create({ model, messages, tools })).choices[0].message;
}

async function streamed(messages) {
  return client.chat.completions.stream({ model, messages, tools }).finalMessage();
}

async function agent(ask) {
  const messages = says("What is the weather like?");
  const called = [];
  for (;;) {
    const message = await ask(messages);
    if (!message.tool_calls?.length) return { called, text: message.content };
    messages.push({ role: "assistant", content: null, tool_calls: message.tool_calls });
    for (const call of message.tool_calls) {
      called.push(JSON.parse(call.function.arguments).city);
      messages.push({ role: "tool", tool_call_id: call.id, content: "sunny" });
    }
  }
}

async function errorOf(fields, options) {
  try {
    await client.chat.completions.create({ model, messages: says("hi"), ...fields }, options);
    return "none";
  } catch (error) {
    return error.constructor.name;
  }
}

async function counts() {
  const asked = { model, messages: says("capital?"), stream: true, stream_options: { include_usage: true } };
  let text = "";
  let usage = null;
  for await (const part of await client.chat.completions.create(asked)) {
    text += part.choices[0]?.delta.content ?? "";
    usage = part.usage ?? usage;
  }
  return { text, tokens: usage.total_tokens };
}

async function main() {
  const blocked = await client.chat.completions.create({ model, messages: says("a bomb") });
  return {
    whole: await agent(whole),
    streamed: await agent(streamed),
    stream: await counts(),
    blocked: blocked.choices[0].finish_reason,
    errors: [
      await errorOf({ model: "gpt-5" }),
      await errorOf({ messages: [] }),
      await errorOf({ messages: says("busy") }),
      await errorOf({}, { headers: { Authorization: "Bearer wrong-wrong-wrong-wrong" } }),
    ],
  };
}

main().then((found) => console.log(JSON.stringify(found)));
