// The official openai client against a running gateway; prints TAP. Started by test_compat.py, which looks at the other side.
//
//   AIGW_NPM       folder with node_modules: openai6, openai7, undici
//   AIGW_SDK       which of them
//   AIGW_BASE_URL  of the gateway, with /v1
//   AIGW_KEY       a virtual key, or what a caller on the unix socket puts in for want of one
//   AIGW_SOCKET    path of the unix socket; empty: TCP
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const { AIGW_NPM, AIGW_SDK, AIGW_BASE_URL, AIGW_KEY, AIGW_SOCKET } = process.env;
const require = createRequire(resolve(AIGW_NPM, 'package.json'));
const OpenAI = require(AIGW_SDK).default;
const { Agent, fetch: undiciFetch } = require('undici');

const dispatcher = AIGW_SOCKET ? new Agent({ connect: { socketPath: AIGW_SOCKET } }) : undefined;
const fetch = AIGW_SOCKET ? (url, init) => undiciFetch(url, { ...init, dispatcher }) : undefined;
const make = (more) => new OpenAI({ baseURL: AIGW_BASE_URL, apiKey: AIGW_KEY, maxRetries: 0, timeout: 60000, fetch, ...more });
const client = make();

const user = (content) => [{ role: 'user', content }];
const tests = [];
const test = (name, run) => tests.push({ name, run });
const note = (key, value) => console.log(`# ${key} ${value}`);

const weather = {
	type: 'function',
	function: {
		name: 'get_weather',
		description: 'Weather of a city',
		parameters: {
			type: 'object',
			properties: { city: { type: 'string' }, days: { type: 'integer' }, unit: { type: 'string', enum: ['C', 'F'] } },
			required: ['city', 'days', 'unit'],
			additionalProperties: false,
		},
	},
};
const time = {
	type: 'function',
	function: { name: 'get_time', parameters: { type: 'object', properties: { zone: { type: 'string' } }, required: ['zone'] } },
};
const person = {
	type: 'object',
	properties: { name: { type: 'string' }, age: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } },
	required: ['name', 'age', 'tags'],
	additionalProperties: false,
};

async function collect(stream) {
	const chunks = [];
	for await (const chunk of stream) chunks.push(chunk);
	return chunks;
}
const textOf = (chunks) => chunks.map((c) => c.choices[0]?.delta?.content ?? '').join('');

async function fails(promise, status, code) {
	const e = await promise.then(() => assert.fail(`expected ${status} ${code}`), (e) => e);
	if (!(e instanceof OpenAI.APIError)) throw e;
	assert.equal(e.status, status);
	assert.equal(e.code, code);
	return e;
}

// --- chat -----------------------------------------------------------------------------------------------------------------

test('chat', async () => {
	const { data, response, request_id } = await client.chat.completions.create({ model: 'small', messages: user('hello') }).withResponse();
	assert.match(request_id, /^req_[0-9a-z]{26}$/);
	assert.equal(data._request_id, request_id);
	assert.equal(response.headers.get('x-aigw-model'), 'small');
	assert.equal(response.headers.get('x-aigw-provider'), 'sim');
	assert.match(response.headers.get('x-aigw-upstream-request-id'), /^simreq_/);
	assert.equal(data.object, 'chat.completion');
	assert.equal(data.choices[0].finish_reason, 'stop');
	assert.ok(data.choices[0].message.content.length > 0);
	assert.equal(data.usage.prompt_tokens, 5);
	assert.equal(data.usage.completion_tokens, data.choices[0].message.content.split(' ').length);
});

test('chat by alias with all the usual members', async () => {
	const data = await client.chat.completions.create({
		model: 'tiny', temperature: 0.2, top_p: 1, max_completion_tokens: 4, n: 2, seed: 7, user: 'größer', metadata: { a: 'b' },
		messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: [{ type: 'text', text: 'hello' }] }],
	});
	assert.equal(data.choices.length, 2);
	assert.deepEqual(data.choices.map((c) => c.finish_reason), ['length', 'length']);
});

test('stream', async () => {
	const whole = await client.chat.completions.create({ model: 'small', messages: user('stream me') });
	const chunks = await collect(await client.chat.completions.create({ model: 'small', messages: user('stream me'), stream: true }));
	assert.equal(textOf(chunks), whole.choices[0].message.content);
	assert.equal(chunks.filter((c) => c.choices.length === 0).length, 0);
	assert.equal(chunks.filter((c) => c.usage).length, 0);
	assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
});

test('stream with include_usage', async () => {
	const chunks = await collect(await client.chat.completions.create({
		model: 'small', messages: user('stream me'), stream: true, stream_options: { include_usage: true },
	}));
	assert.deepEqual(chunks.at(-1).choices, []);
	assert.equal(chunks.at(-1).usage.completion_tokens, textOf(chunks).split(' ').length);
	assert.equal(chunks.filter((c) => c.usage).length, 1);
});

test('stream with include_usage false', async () => {
	const chunks = await collect(await client.chat.completions.create({
		model: 'small', messages: user('x'), stream: true, stream_options: { include_usage: false },
	}));
	assert.equal(chunks.filter((c) => c.choices.length === 0 || c.usage).length, 0);
});

test('stream helper', async () => {
	const runner = client.chat.completions.stream({ model: 'small', messages: user('help me') });
	let text = '';
	runner.on('content', (delta) => (text += delta));
	const final = await runner.finalChatCompletion();
	assert.equal(final.choices[0].message.content, text);
	assert.ok(text.length > 0);
});

test('300 KB prompt', async () => {
	const big = 'größer als es scheint '.repeat(14000).slice(0, 300000);
	const bytes = Buffer.byteLength(big);
	const data = await client.chat.completions.create({ model: 'small', messages: user(big) });
	assert.equal(data.usage.prompt_tokens, Math.ceil(bytes / 4) + 3);
	const chunks = await collect(await client.chat.completions.create({ model: 'small', messages: user(big), stream: true }));
	assert.equal(textOf(chunks), data.choices[0].message.content);
});

test('long answer', async () => {
	const data = await client.chat.completions.create({ model: 'long', messages: user('at length') });
	assert.equal(data.choices[0].message.content.split(' ').length, 30000);
	const chunks = await collect(await client.chat.completions.create({ model: 'long', messages: user('at length'), stream: true }));
	assert.equal(textOf(chunks), data.choices[0].message.content);
});

test('many at once', async () => {
	const all = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
		if (i % 2) return textOf(await collect(await client.chat.completions.create({ model: 'small', messages: user('same'), stream: true })));
		return (await client.chat.completions.create({ model: 'small', messages: user('same') })).choices[0].message.content;
	}));
	assert.equal(new Set(all).size, 1);
});

// --- tools and schemas ----------------------------------------------------------------------------------------------------

test('tool call and its result', async () => {
	const messages = user('use get_weather please');
	const first = await client.chat.completions.create({ model: 'small', messages, tools: [weather, time] });
	const call = first.choices[0].message.tool_calls[0];
	assert.equal(first.choices[0].finish_reason, 'tool_calls');
	assert.equal(call.function.name, 'get_weather');
	assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ['city', 'days', 'unit']);
	const second = await client.chat.completions.create({
		model: 'small', tools: [weather, time],
		messages: [...messages, first.choices[0].message, { role: 'tool', tool_call_id: call.id, content: '{"sky":"blue"}' }],
	});
	assert.equal(second.choices[0].finish_reason, 'stop');
});

test('parallel tool calls', async () => {
	const ask = { model: 'small', messages: user('get_weather and get_time'), tools: [weather, time] };
	const many = await client.chat.completions.create(ask);
	assert.deepEqual(many.choices[0].message.tool_calls.map((c) => c.function.name), ['get_weather', 'get_time']);
	const one = await client.chat.completions.create({ ...ask, parallel_tool_calls: false });
	assert.equal(one.choices[0].message.tool_calls.length, 1);
});

test('tool calls in a stream', async () => {
	const ask = { model: 'small', messages: user('get_weather and get_time'), tools: [weather, time] };
	const whole = await client.chat.completions.create(ask);
	const chunks = await collect(await client.chat.completions.create({ ...ask, stream: true }));
	const calls = [];
	for (const d of chunks.flatMap((c) => c.choices[0]?.delta?.tool_calls ?? [])) {
		calls[d.index] ??= { name: '', args: '' };
		calls[d.index].name += d.function?.name ?? '';
		calls[d.index].args += d.function?.arguments ?? '';
	}
	assert.deepEqual(calls, whole.choices[0].message.tool_calls.map((c) => ({ name: c.function.name, args: c.function.arguments })));
	assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
});

test('tools that the helper runs', async () => {
	let seen;
	const runner = client.chat.completions.runTools({
		model: 'small', messages: user('use get_weather please'),
		tools: [{ type: 'function', function: { ...weather.function, parse: JSON.parse, function: (args) => ((seen = args), 'sunny') } }],
	});
	assert.ok((await runner.finalContent()).length > 0);
	assert.deepEqual(Object.keys(seen), ['city', 'days', 'unit']);
});

test('json_schema', async () => {
	const response_format = { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: person } };
	const data = await client.chat.completions.create({ model: 'small', messages: user('a person'), response_format });
	const value = JSON.parse(data.choices[0].message.content);
	assert.deepEqual(Object.keys(value), ['name', 'age', 'tags']);
	const chunks = await collect(await client.chat.completions.create({ model: 'small', messages: user('a person'), response_format, stream: true }));
	assert.deepEqual(JSON.parse(textOf(chunks)), value);
	const parsed = await client.chat.completions.parse({ model: 'small', messages: user('a person'), response_format });
	assert.equal(parsed.choices[0].message.content, data.choices[0].message.content);
});

// --- the other end points -------------------------------------------------------------------------------------------------

test('completions', async () => {
	const data = await client.completions.create({ model: 'small', prompt: 'once upon' });
	const chunks = await collect(await client.completions.create({ model: 'small', prompt: 'once upon', stream: true }));
	assert.equal(chunks.map((c) => c.choices[0].text).join(''), data.choices[0].text);
	assert.equal(chunks.filter((c) => c.usage).length, 0);
	const asked = await collect(await client.completions.create({
		model: 'small', prompt: 'once upon', stream: true, stream_options: { include_usage: true },
	}));
	assert.equal(asked.at(-1).usage.completion_tokens, data.usage.completion_tokens);
});

test('embeddings: base64 by default, float if asked', async () => {
	const input = ['one', 'two', 'drei'];
	const plain = await client.embeddings.create({ model: 'embed', input });
	const floats = await client.embeddings.create({ model: 'embed', input, encoding_format: 'float' });
	const base64 = await client.embeddings.create({ model: 'embed', input, encoding_format: 'base64' });
	assert.equal(plain.data.length, 3);
	for (let i = 0; i < 3; i++) {
		assert.equal(typeof base64.data[i].embedding, 'string');
		const bytes = Buffer.from(base64.data[i].embedding, 'base64');
		const decoded = Array.from({ length: bytes.length / 4 }, (_, k) => bytes.readFloatLE(k * 4));
		assert.deepEqual(Array.from(plain.data[i].embedding), decoded);
		assert.equal(floats.data[i].embedding.length, decoded.length);
		floats.data[i].embedding.forEach((v, k) => assert.ok(Math.abs(v - decoded[k]) < 1e-6));
	}
	assert.equal(plain.usage.prompt_tokens, 3);
});

test('responses', async () => {
	const data = await client.responses.create({ model: 'small', input: 'hello', instructions: 'Be brief.' });
	assert.equal(data.status, 'completed');
	assert.ok(data.output_text.length > 0);
	assert.match(data._request_id, /^req_/);
	const events = await collect(await client.responses.create({ model: 'small', input: 'hello', instructions: 'Be brief.', stream: true }));
	assert.equal(events.at(-1).type, 'response.completed');
	assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
	assert.equal(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), data.output_text);
	assert.deepEqual(events.at(-1).response.usage, data.usage);
});

test('responses: tools, schema and the helper', async () => {
	const tools = [{ type: 'function', strict: true, ...weather.function }];
	const data = await client.responses.create({ model: 'small', input: 'use get_weather please', tools });
	const call = data.output.find((o) => o.type === 'function_call');
	assert.equal(call.name, 'get_weather');
	JSON.parse(call.arguments);
	const text = { format: { type: 'json_schema', name: 'person', strict: true, schema: person } };
	const schema = await client.responses.create({ model: 'small', input: 'a person', text });
	assert.deepEqual(Object.keys(JSON.parse(schema.output_text)), ['name', 'age', 'tags']);
	const final = await client.responses.stream({ model: 'small', input: 'hello' }).finalResponse();
	assert.equal(final.status, 'completed');
});

test('moderations', async () => {
	const data = await client.moderations.create({ model: 'moderate', input: ['fine', 'also fine'] });
	assert.equal(data.results.length, 2);
	assert.equal(typeof data.results[0].flagged, 'boolean');
});

test('models', async () => {
	const page = await client.models.list();
	const names = page.data.map((m) => m.id);
	assert.ok(names.includes('small') && names.includes('tiny') && names.includes('vendor/model:1'));
	assert.ok(!names.includes('forbidden'));
	assert.ok(page.data.every((m) => m.object === 'model' && typeof m.created === 'number' && m.owned_by));
	for (const name of ['small', 'tiny', 'vendor/model:1']) assert.equal((await client.models.retrieve(name)).id, name);
	await fails(client.models.retrieve('nothing'), 404, 'model_not_found');
	await fails(client.models.retrieve('forbidden'), 404, 'model_not_found');
});

// --- errors ---------------------------------------------------------------------------------------------------------------

test('bad key', async () => {
	const key = 'sk-aigw-3kQ9zB1mXy0a-' + 's'.repeat(40) + 'c00000';
	const e = await fails(make({ apiKey: key }).chat.completions.create({ model: 'small', messages: user('x') }), 401, 'invalid_api_key');
	assert.ok(e instanceof OpenAI.AuthenticationError);
	assert.match(e.requestID, /^req_/);
	assert.ok(!e.message.includes(key));
});

test('unknown model, with a near name', async () => {
	const e = await fails(client.chat.completions.create({ model: 'smal', messages: user('x') }), 404, 'model_not_found');
	assert.ok(e instanceof OpenAI.NotFoundError);
	assert.match(e.message, /'small'/);
	await fails(client.chat.completions.create({ model: 'smal', messages: user('x'), stream: true }), 404, 'model_not_found');
});

test('a model that the project may not use', async () => {
	const e = await fails(client.chat.completions.create({ model: 'forbidden', messages: user('x') }), 403, 'model_not_allowed');
	assert.ok(e instanceof OpenAI.PermissionDeniedError);
});

test('too large', async () => {
	const big = 'x'.repeat(3 << 20);
	// Refused by its length, before it is sent whole: the client may see the answer or a broken connection, never success.
	const e = await client.chat.completions.create({ model: 'small', messages: user(big) }).then(() => assert.fail('accepted'), (e) => e);
	assert.ok(e.status === 413 || e instanceof OpenAI.APIConnectionError, String(e));
	if (e.status) assert.equal(e.code, 'request_too_large');
});

test('unknown URL and wrong method', async () => {
	await fails(client.get('/nothing'), 404, 'unknown_url');
	await fails(client.files.list().then((p) => p), 404, 'unknown_url');
	await fails(client.get('/chat/completions'), 405, 'method_not_allowed');
	await fails(client.delete('/models/small'), 405, 'method_not_allowed');
});

test('unsupported header', async () => {
	const e = await fails(client.chat.completions.create({ model: 'small', messages: user('x') }, { headers: { 'x-aigw-tag': 'a' } }), 400, 'unsupported_header');
	assert.match(e.message, /x-aigw-tag/i);
});

test('the provider\'s errors are relayed', async () => {
	const e = await fails(client.chat.completions.create({ model: 'limited', messages: user('x') }), 429, 'rate_limit_exceeded');
	assert.ok(e instanceof OpenAI.RateLimitError);
	assert.equal(e.headers.get('retry-after'), '7');
	await fails(client.chat.completions.create({ model: 'limited', messages: user('x'), stream: true }), 429, 'rate_limit_exceeded');
	await fails(client.chat.completions.create({ model: 'small', messages: 'none' }), 400, null);
	await fails(client.chat.completions.create({ model: 'broken', messages: user('x') }), 500, null);
});

test('the gateway\'s credential refused', async () => {
	const e = await fails(client.chat.completions.create({ model: 'locked', messages: user('x') }), 502, 'upstream_auth_failed');
	assert.equal(e.headers.get('x-should-retry'), 'false');
	assert.ok(!/Incorrect API key/.test(e.message));
});

test('retries are the client\'s', async () => {
	const patient = make({ maxRetries: 2 });
	const data = await patient.chat.completions.create({ model: `flaky-${AIGW_SDK}-${AIGW_SOCKET ? 'unix' : 'tcp'}`, messages: user('x') });
	assert.equal(data.choices[0].finish_reason, 'stop');
});

test('an error within a stream', async () => {
	for (const model of ['error-in-stream', 'cut']) {
		let text = '';
		const e = await (async () => {
			for await (const c of await client.chat.completions.create({ model, messages: user('x'), stream: true })) text += c.choices[0]?.delta?.content ?? '';
		})().then(() => assert.fail(`${model}: looks like success`), (e) => e);
		assert.ok(e instanceof OpenAI.APIError, String(e));
		assert.ok(text.length > 0, model);
		if (model === 'cut') assert.equal(e.code, 'upstream_cut');
	}
});

// --- leaving --------------------------------------------------------------------------------------------------------------

test('abort in mid-stream', async () => {
	const { data: stream, request_id } = await client.chat.completions.create({ model: 'slow', messages: user('x'), stream: true }).withResponse();
	note('aborted', request_id);
	let n = 0;
	const e = await (async () => {
		for await (const c of stream) if (c.choices[0].delta.content && ++n === 3) stream.controller.abort();
	})().then(() => null, (e) => e);
	assert.ok(n >= 3);
	assert.ok(e === null || e instanceof OpenAI.APIUserAbortError, String(e));
});

test('leaving the loop in mid-stream', async () => {
	const { data: stream, request_id } = await client.responses.create({ model: 'slow', input: 'x', stream: true }).withResponse();
	note('aborted', request_id);
	for await (const e of stream) if (e.type === 'response.output_text.delta') break;
});

test('abort before the answer begins', async () => {
	const abort = new AbortController();
	const call = client.chat.completions.create({ model: 'never', messages: user('x') }, { signal: abort.signal });
	setTimeout(() => abort.abort(), 200);
	const e = await call.then(() => assert.fail('answered'), (e) => e);
	assert.ok(e instanceof OpenAI.APIUserAbortError, String(e));
});

// --------------------------------------------------------------------------------------------------------------------------

console.log('TAP version 13');
console.log(`1..${tests.length}`);
for (const [i, t] of tests.entries()) {
	try {
		await t.run();
		console.log(`ok ${i + 1} - ${t.name}`);
	} catch (e) {
		console.log(`not ok ${i + 1} - ${t.name}`);
		console.log(String(e?.stack ?? e).replace(/^/gm, '# '));
	}
}
await dispatcher?.destroy();
process.exit(0);
