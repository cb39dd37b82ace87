// The official openai client at the hands of a test: reads one call a line from stdin, prints what the application saw of it. Calls run at
// the same time; the answer to a line carries its id.
//
//   {"id", "key"?, "base"?, "retries"?, "timeout"?, "headers"?, "body": of chat.completions.create}
//   {"id", "get" | "post": path below /v1, "body"?}             any other request
//   {"id", "load": seconds, "rate": calls a second, "body"}     calls at this rate, plain and streams by turns: {calls, errors, by}
//
// Environment: AIGW_NPM, AIGW_SDK, AIGW_BASE_URL, AIGW_KEY as for sdk.mjs.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

const { AIGW_NPM, AIGW_SDK, AIGW_BASE_URL, AIGW_KEY } = process.env;
const require = createRequire(resolve(AIGW_NPM, 'package.json'));
const OpenAI = require(AIGW_SDK).default;

// What goes out on the wire for a call of the application is counted where the client hands it over.
function make(call, seen) {
	const counting = (url, init) => {
		seen.requests++;
		return fetch(url, init);
	};
	const more = call.retries === undefined ? {} : { maxRetries: call.retries };
	return new OpenAI({ baseURL: call.base ?? AIGW_BASE_URL, apiKey: call.key ?? AIGW_KEY, timeout: call.timeout ?? 60000, fetch: counting, defaultHeaders: call.headers, ...more });
}

const NAMES = ['x-request-id', 'x-aigw-provider', 'x-aigw-fallback', 'x-aigw-attempts', 'x-should-retry', 'retry-after-ms'];
const headersOf = (h) => Object.fromEntries(NAMES.map((n) => [n, h?.get?.(n) ?? null]));

async function chat(client, body, out) {
	const { data, response } = await client.chat.completions.create({ messages: [{ role: 'user', content: 'hello' }], ...body }).withResponse();
	Object.assign(out, headersOf(response.headers), { status: response.status, text: '', ids: [], finish: null, usage: null, pieces: 0 });
	if (!body.stream) {
		Object.assign(out, { text: data.choices[0].message.content, finish: data.choices[0].finish_reason, ids: [data.id], usage: data.usage });
		return;
	}
	for await (const chunk of data) {
		if (!out.ids.includes(chunk.id)) out.ids.push(chunk.id);
		out.usage = chunk.usage ?? out.usage;
		const choice = chunk.choices[0];
		if (choice?.delta?.content) out.pieces++;
		out.text += choice?.delta?.content ?? '';
		out.finish = choice?.finish_reason ?? out.finish;
	}
}

async function run(call) {
	const out = { id: call.id, requests: 0 };
	const began = performance.now();
	try {
		const client = make(call, out);
		if (call.body && !call.post) await chat(client, call.body, out);
		else if (call.post) await client.post(call.post, { body: call.body });
		else await client.get(call.get);
	} catch (e) {
		if (!(e instanceof OpenAI.OpenAIError)) console.error(e);
		out.error = { kind: e.constructor.name, status: e.status ?? null, code: e.code ?? null, type: e.type ?? null, message: String(e.message) };
		if (e.headers) Object.assign(out, headersOf(e.headers));
	}
	out.ms = performance.now() - began;
	return out;
}

async function load(call) {
	const out = { id: call.id, calls: 0, errors: 0, by: {}, first: null };
	const until = performance.now() + call.load * 1000;
	const all = [];
	for (let n = 0; performance.now() < until; n++) {
		const one = run({ retries: 0, body: { ...call.body, ...(n % 2 ? { stream: true } : {}) } }).then((got) => {
			const bad = got.error || got.finish !== 'stop';
			out.calls++;
			out.errors += bad ? 1 : 0;
			if (bad) out.first ??= got;
			else out.by[got['x-aigw-provider']] = (out.by[got['x-aigw-provider']] ?? 0) + 1;
		});
		all.push(one);
		const due = until - call.load * 1000 + ((n + 1) * 1000) / call.rate;
		const wait = due - performance.now();
		if (wait > 0) await new Promise((go) => setTimeout(go, wait));
	}
	await Promise.all(all);
	return out;
}

for await (const line of createInterface({ input: process.stdin })) {
	const call = JSON.parse(line);
	(call.load ? load(call) : run(call)).then((out) => console.log(JSON.stringify(out)));
}
