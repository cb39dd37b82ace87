// The official openai client uploads a file, in both orders of its fields, and asks for speech and a picture. Started by test_agent_media.py; the
// environment is that of compat/sdk.mjs. Prints one JSON object of what it got.
import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const { AIGW_NPM, AIGW_SDK, AIGW_BASE_URL, AIGW_KEY, AIGW_SOCKET } = process.env;
const require = createRequire(resolve(AIGW_NPM, 'package.json'));
const OpenAI = require(AIGW_SDK).default;
const { Agent, fetch: undiciFetch, FormData } = require('undici');

if (AIGW_SOCKET) globalThis.FormData = FormData; // that of the fetch which can dial a unix socket
const dispatcher = AIGW_SOCKET ? new Agent({ connect: { socketPath: AIGW_SOCKET } }) : undefined;
const fetch = AIGW_SOCKET ? (url, init) => undiciFetch(url, { ...init, dispatcher }) : undefined;
const client = new OpenAI({ baseURL: AIGW_BASE_URL, apiKey: AIGW_KEY, maxRetries: 0, timeout: 60000, fetch });
const file = () => createReadStream(process.argv[2]);
const hear = client.audio.transcriptions;

const speech = await client.audio.speech.create({ model: 'voice', input: 'hello', voice: 'alloy' });
console.log(JSON.stringify({
	file_first: (await hear.create({ file: file(), model: 'w' })).text,
	model_first: (await hear.create({ model: 'w', file: file() })).text,
	text: (await hear.create({ model: 'mute', file: await OpenAI.toFile(Buffer.from('RIFF'), 'a.wav') })).text,
	speech: (await speech.arrayBuffer()).byteLength,
	image: (await client.images.generate({ model: 'draw', prompt: 'a cat' })).data[0].b64_json.length,
}));
