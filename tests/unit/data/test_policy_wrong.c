/* Wrong policies: each is refused with its place and a sentence that says what to do. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/policy_doc.h>

/* Eight lines of a policy without fault; cases add from line 9 on. */
#define HEAD                                                                                       \
	"apiVersion: aigw/v1\n"                                                                    \
	"providers:\n"                                                                             \
	"  - name: p\n"                                                                            \
	"    type: openai\n"                                                                       \
	"  - {name: sim, type: openai-compatible, base_url: 'http://127.0.0.1:1/v1'}\n"            \
	"prices: [{provider: p, model: '*', from: 2026-01-01, input: 1}]\n"                        \
	"models:\n"                                                                                \
	"  - {name: gpt-4o-mini, aliases: [small], targets: [{provider: p, model: m}]}\n"
#define V      "apiVersion: aigw/v1\n"
#define P      V "providers:\n  - name: p\n    type: openai\n"
#define TARGET "targets: [{provider: p, model: m}]"

static const struct {
	const char *yaml;
	const char *want; /* the whole line, or its beginning */
} cases[] = {
	/* The document */
	{ "", "f.yaml:1:1: the policy must be a map" },
	{ "[]\n", "f.yaml:1:1: the policy must be a map" },
	{ "models: []\n",
		"f.yaml:1:1: 'apiVersion' is missing; begin the file with apiVersion: aigw/v1\n" },
	{ "apiVersion: aigw/v2\n",
		"f.yaml:1:13: apiVersion is 'aigw/v2'; this version reads aigw/v1\n" },
	{ "apiVersion: [1]\n", "f.yaml:1:13: 'apiVersion' must be a single value, not a list\n" },
	{ V "model: []\n",
		"f.yaml:2:1: unknown key 'model' in the policy, did you mean 'models'?\n" },
	{ V "whatever: []\n",
		"f.yaml:2:1: unknown key 'whatever' in the policy; known are: apiVersion, "
		"settings, providers, prices, models, customers, identities\n" },
	{ V "rollouts: []\n",
		"f.yaml:2:1: not supported yet: 'rollouts' in the policy; remove it\n" },
	{ V "guards: []\n", "f.yaml:2:1: not supported yet: 'guards' in the policy" },
	{ V "alerts: []\n", "f.yaml:2:1: not supported yet: 'alerts' in the policy" },
	{ V "models: {name: x}\n", "f.yaml:2:9: 'models' must be a list: write lines with '- '\n" },
	{ V "models: []\nmodels: []\n",
		"f.yaml:3:1: key 'models' stands twice in this map, first in line 2" },
	/* Settings */
	{ V "settings: [USD]\n", "f.yaml:2:11: settings must be a map" },
	{ V "settings:\n  currency: usd\n",
		"f.yaml:3:13: currency 'usd' must be three capital letters" },
	{ V "settings: {currency: EURO}\n", "f.yaml:2:22: currency 'EURO' must be three" },
	{ V "settings: {timezone: Europe/Berlin}\n",
		"f.yaml:2:12: not supported yet: 'timezone' in settings" },
	{ V "settings: {curency: USD}\n",
		"f.yaml:2:12: unknown key 'curency' in settings, did you mean 'currency'?" },
	{ V "settings: {headers: true}\n",
		"f.yaml:2:21: headers must be a map of keys and values\n" },
	{ V "settings: {headers: {debg: true}}\n",
		"f.yaml:2:22: unknown key 'debg' in headers, did you mean 'debug'?\n" },
	{ V "settings: {headers: {debug: 1}}\n",
		"f.yaml:2:29: 'debug' is '1': write true or false\n" },
	{ V "settings: {headers: {cost: usd}}\n",
		"f.yaml:2:28: 'cost' is 'usd': write false, true or stream\n" },
	/* Providers */
	{ V "providers:\n  - type: openai\n", "f.yaml:3:5: 'name' is missing here; add it\n" },
	{ V "providers:\n  - name: p\n", "f.yaml:3:5: 'type' is missing here; add it\n" },
	{ V "providers: [x]\n", "f.yaml:2:13: a provider must be a map of keys and values\n" },
	{ V "providers: [{name: 'a b', type: openai}]\n",
		"f.yaml:2:20: 'a b' can't be a name: use 1 to 63 of A-Z a-z 0-9 . _ -, beginning "
		"with a letter or digit\n" },
	{ V "providers: [{name: -a, type: openai}]\n", "f.yaml:2:20: '-a' can't be a name" },
	{ V "providers: [{name: , type: openai}]\n", "f.yaml:2:20: 'name' has no value" },
	{ V "providers: [{name: 0123456789012345678901234567890123456789012345678901234567890123, "
	    "type: openai}]\n",
		"f.yaml:2:20: '0123456789" },
	{ P "  - name: p\n    type: openai\n",
		"f.yaml:5:11: 'p' is given twice, first at f.yaml:3:11; "
		"give each a name of its own\n" },
	{ P "    nmae: x\n",
		"f.yaml:5:5: unknown key 'nmae' in a provider, did you mean 'name'?\n" },
	{ P "    health: {probe: chat}\n",
		"f.yaml:5:21: 'probe' is 'chat': write models, or a path on the provider's server "
		"such as /health, of at most 255 printable ASCII characters without spaces\n" },
	{ P "    health: {probe: '/a b'}\n", "f.yaml:5:21: 'probe' is '/a b': write models, or" },
	{ P "    health: {probe: '/a#b'}\n", "f.yaml:5:21: 'probe' is '/a#b': write models, or" },
	{ P "    health: {probe: models, every: 500ms}\n",
		"f.yaml:5:36: 'every' is 500ms: it may be 1s to 1h\n" },
	{ P "    health: {probe: models, every: 2h}\n",
		"f.yaml:5:36: 'every' is 2h: it may be 1s to 1h\n" },
	{ P "    health: {probe: models, every: 30}\n",
		"f.yaml:5:36: 'every' is '30': write a whole number with its unit" },
	{ P "    health: {every: 30s}\n", "f.yaml:5:21: 'every' says how often 'probe' is asked, "
					  "which lacks here; add probe: "
					  "models, or remove it\n" },
	{ P "    health: {open_after: 0}\n",
		"f.yaml:5:26: 'open_after' is '0': write a whole number from 1 to 1000\n" },
	{ P "    health: {half_open_after: 20}\n",
		"f.yaml:5:31: 'half_open_after' is '20': write a whole number with its unit" },
	{ P "    health: {min_samples: 10001}\n",
		"f.yaml:5:27: 'min_samples' is '10001': write a whole number from 0 to 10000\n" },
	{ P "    health: {max_ejected: 101%}\n", "f.yaml:5:27: 'max_ejected' is '101%': write" },
	{ P "    limits: {rpm: 1}\n", "f.yaml:5:14: not supported yet: 'rpm' in limits" },
	{ P "    limits: {}\n", "f.yaml:5:13: limits need 'concurrency'; add it, or remove" },
	{ P "    limits: {concurrency: 0}\n",
		"f.yaml:5:27: 'concurrency' is '0': write a whole number from 1 to 1000000\n" },
	{ P "    limits: 7\n", "f.yaml:5:13: " },
	{ V "providers: [{name: p, type: azure}]\n",
		"f.yaml:2:29: not supported yet: provider type 'azure'; "
		"use openai or openai-compatible\n" },
	{ V "providers: [{name: p, type: openapi}]\n",
		"f.yaml:2:29: unknown provider type 'openapi', did you mean 'openai'?\n" },
	{ V "providers: [{name: p, type: 7}]\n",
		"f.yaml:2:29: unknown provider type '7'; use openai or" },
	{ V "providers: [{name: p, type: openai-compatible}]\n",
		"f.yaml:2:13: 'base_url' is missing here; add it" },
	{ P "    base_url: ftp://x\n",
		"f.yaml:5:15: 'base_url': the URL must begin with http:// or https://\n" },
	{ P "    base_url: https://u:secret@x/v1\n",
		"f.yaml:5:15: 'base_url': the URL must not hold a user" },
	{ P "    credential: sk-proj-abcdefg\n",
		"f.yaml:5:17: a credential must be the name of a secret" },
	{ P "    credential: 'a key'\n", "f.yaml:5:17: a credential must be the name of a secret" },
	{ P "    timeouts: {connect: 2}\n",
		"f.yaml:5:25: 'connect' is '2': write a whole number with its unit, "
		"such as 500ms, 2s or 10m\n" },
	{ P "    timeouts: {total: 25h}\n", "f.yaml:5:23: 'total' is 25h: it may be 1ms to 24h\n" },
	{ P "    timeouts: {idle: 0s}\n", "f.yaml:5:22: 'idle' is 0s: it may be 1ms to 24h\n" },
	{ P "    timeouts: {fist_byte: 2s}\n",
		"f.yaml:5:16: unknown key 'fist_byte' in timeouts, did you mean 'first_byte'?" },
	{ P "    timeouts: 2s\n", "f.yaml:5:15: timeouts must be a map" },
	{ P "    options: {stream_usage: no}\n",
		"f.yaml:5:29: 'stream_usage' is 'no': write true or false\n" },
	{ P "    options: {stream_usage: 'true'}\n",
		"f.yaml:5:29: 'stream_usage' is 'true': write true or false, without quotes\n" },
	{ P "    options: {ca_file: ca.pem}\n",
		"f.yaml:5:24: 'ca_file' must be an absolute path on the agent's host\n" },
	{ P "    options: {api_version: x}\n",
		"f.yaml:5:15: not supported yet: 'api_version' in options" },
	/* Prices */
	{ P "prices: [{provider: q, model: m, from: 2026-01-01, input: 1}]\n",
		"f.yaml:5:21: there is no provider 'q'; add it or correct the name\n" },
	{ V "providers: [{name: openai, type: openai}]\nprices: [{provider: opnai, model: m, from: "
	    "2026-01-01, input: 1}]\n",
		"f.yaml:3:21: there is no provider 'opnai', did you mean 'openai'?\n" },
	{ P "prices: [{model: m, from: 2026-01-01, input: 1}]\n",
		"f.yaml:5:10: 'provider' is missing here" },
	{ P "prices: [{provider: p, from: 2026-01-01, input: 1}]\n",
		"f.yaml:5:10: 'model' is missing here" },
	{ P "prices: [{provider: p, model: m, input: 1}]\n",
		"f.yaml:5:10: 'from' is missing here; add it\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-02-30, input: 1}]\n",
		"f.yaml:5:40: 'from' is '2026-02-30': write a date, such as 2026-01-01\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01}]\n",
		"f.yaml:5:10: this price says nothing: add at least one of input, output, "
		"per_request, per_minute\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, reasoning: 1}]\n",
		"f.yaml:5:10: this price says nothing" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, input: 1e-3}]\n",
		"f.yaml:5:59: 'input' is '1e-3': write a decimal amount with at most nine "
		"decimals, such as 0.15\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, input: -1}]\n",
		"f.yaml:5:59: 'input' is '-1': write" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, input: 0.1234567891}]\n",
		"f.yaml:5:59: 'input' is '0.1234567891'" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, output: 9999999999999}]\n",
		"f.yaml:5:60: 'output' is 9999999999999: too large an amount\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, ouput: 1}]\n",
		"f.yaml:5:52: unknown key 'ouput' in a price, did you mean 'output'?\n" },
	{ P "prices: [{provider: p, model: m, from: 2026-01-01, input: 1, tiers: []}]\n",
		"f.yaml:5:62: not supported yet: 'tiers' in a price" },
	{ P "prices:\n  - {provider: p, model: m, from: 2026-01-01, input: 1}\n"
	    "  - {provider: p, model: m, from: 2026-01-01, input: 2}\n",
		"f.yaml:7:5: a second price of the same provider, model and day; the first is "
		"f.yaml:6:5\n" },
	{ P "models: [{name: x, " TARGET "}]\nsettings: {default_model: y}\n",
		"f.yaml:6:27: there is no model 'y'; add it or correct the name\n" },
	{ P "models: [{name: x, " TARGET "}]\nsettings: {default_model: 'a b'}\n",
		"f.yaml:6:27: 'a b' can't be a model's name" },
	/* Models */
	{ P "models: [{" TARGET "}]\n", "f.yaml:5:10: 'name' is missing here" },
	{ P "models: [{name: 'a b', " TARGET "}]\n",
		"f.yaml:5:17: 'a b' can't be a model's name: use 1 to 127 printable" },
	{ P "models: [{name: '*', " TARGET "}]\n", "f.yaml:5:17: '*' means every model" },
	{ P "models: [{name: x}]\n", "f.yaml:5:10: 'targets' is missing here; add targets: "
				     "[{provider: NAME, model: NAME}]\n" },
	{ P "models: [{name: x, targets: []}]\n", "f.yaml:5:29: 'targets' is empty; add one" },
	{ P "models: [{name: x, targets: {provider: p, model: m}}]\n",
		"f.yaml:5:29: 'targets' must be a list" },
	{ P "models: [{name: x, targets: [{provider: p, model: m}, {provider: p, model: m}]}]\n",
		"f.yaml:5:29: the target m of one provider stands twice in 'targets'; leave one, "
		"with the sum of the weights\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, weight: 0}]}]\n",
		"f.yaml:5:29: every target has weight 0, so none gets a call; give one a "
		"weight\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, weight: 1001}]}]\n",
		"f.yaml:5:62: 'weight' is '1001': write a whole number from 0 to 1000\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, priority: 0}]}]\n",
		"f.yaml:5:64: 'priority' is '0': write a whole number from 1 to 100\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, timeouts: {idle: 3}}]}]\n",
		"f.yaml:5:71: 'idle' is '3': write a whole number with its unit" },
	{ P "models: [{name: x, strategy: best, " TARGET "}]\n",
		"f.yaml:5:30: 'strategy' is 'best': write weighted, priority, cheapest, fastest, "
		"least_busy or headroom\n" },
	{ P "models: [{name: x, sticky: ip, " TARGET "}]\n",
		"f.yaml:5:28: 'sticky' is 'ip': write request, key, user, header:NAME or "
		"cache_key\n" },
	{ P "models: [{name: x, strategy: priority, sticky: key, " TARGET "}]\n",
		"f.yaml:5:48: 'sticky' acts with the strategy weighted only; remove it, or the "
		"strategy\n" },
	{ P "models: [{name: x, strategy: cheapest, targets: [{provider: p, model: m, weight: "
	    "3}]}]\n",
		"f.yaml:5:82: a weight other than 0 acts with the strategies weighted and "
		"least_busy "
		"only; remove it, or the strategy\n" },
	{ P "models: [{name: x, when_all_out: wait, " TARGET "}]\n",
		"f.yaml:5:34: 'when_all_out' is 'wait': write refuse or try_best\n" },
	{ P "models: [{name: x, on_malformed: pass, " TARGET "}]\n",
		"f.yaml:5:34: 'on_malformed' is 'pass': write error or skip\n" },
	{ P "models: [{name: x, keepalive: 15, " TARGET "}]\n",
		"f.yaml:5:31: 'keepalive' is '15': write a whole number with its unit" },
	{ P "models: [{name: x, keepalive: 0s, " TARGET "}]\n",
		"f.yaml:5:31: 'keepalive' is 0s: it may be 1ms to 24h" },
	{ P "models: [{name: x, on_cut: mend, " TARGET "}]\n",
		"f.yaml:5:28: 'on_cut' is 'mend': write error or continue\n" },
	{ P "models: [{name: x, on_cut: continue, " TARGET "}]\n",
		"f.yaml:5:28: 'on_cut' is 'continue', and no target can go on from the text "
		"delivered" },
	{ P "models: [{name: x, early_head: soon, " TARGET "}]\n",
		"f.yaml:5:32: 'early_head' is 'soon': write true or false\n" },
	{ P "models: [{name: x, retry: 3, " TARGET "}]\n", "f.yaml:5:27: " },
	{ P "models: [{name: x, retry: {attempts: 0}, " TARGET "}]\n",
		"f.yaml:5:38: 'attempts' is '0': write a whole number from 1 to 10\n" },
	{ P "models: [{name: x, retry: {attempts: many}, " TARGET "}]\n",
		"f.yaml:5:38: 'attempts' is 'many': write a whole number from 1 to 10\n" },
	{ P "models: [{name: x, retry: {backoff: 200}, " TARGET "}]\n",
		"f.yaml:5:37: 'backoff' is '200': write a whole number with its unit" },
	{ P "models: [{name: x, retry: {budget: 20}, " TARGET "}]\n",
		"f.yaml:5:36: 'budget' is '20': write a whole number from 0% to 100%\n" },
	{ P "models: [{name: x, retry: {budget: 101%}, " TARGET "}]\n",
		"f.yaml:5:36: 'budget' is '101%': write a whole number from 0% to 100%\n" },
	{ P "models: [{name: x, retry: {on: 429}, " TARGET "}]\n",
		"f.yaml:5:32: 'on' must be a list" },
	{ P "models: [{name: x, retry: {on: [399]}, " TARGET "}]\n",
		"f.yaml:5:33: write a status from 400 to 599 here, or timeout, connect, reset or "
		"malformed\n" },
	{ P "models: [{name: x, retry: {on: [429, timeouts]}, " TARGET "}]\n",
		"f.yaml:5:38: write a status from 400 to 599 here, or timeout" },
	{ V "providers: [{name: p, type: openai, credential: a, credentials: [b]}]\n",
		"f.yaml:2:65: 'credential' and 'credentials' both stand here; put all into one "
		"list\n" },
	{ V "providers: [{name: p, type: openai, credentials: []}]\n",
		"f.yaml:2:50: 'credentials' is empty; name some, or remove the key (none is "
		"sent)\n" },
	{ V "providers: [{name: p, type: openai, credentials: a}]\n",
		"f.yaml:2:50: 'credentials' must be a list" },
	{ V "providers: [{name: p, type: openai, credentials: [a, a]}]\n",
		"f.yaml:2:54: the credential 'a' stands twice here\n" },
	{ V "providers: [{name: p, type: openai, credentials: [sk-a]}]\n",
		"f.yaml:2:51: a credential must be the name of a secret" },
	{ V "providers: [{name: p, type: openai, credentials: [{a: b}]}]\n",
		"f.yaml:2:51: write the name of a secret here\n" },
	{ V "providers: [{name: p, type: openai, errors: [a]}]\n",
		"f.yaml:2:45: 'errors' must be a map of a provider's codes to classes\n" },
	{ V "providers: [{name: p, type: openai, errors: {a: transent}}]\n",
		"f.yaml:2:49: there is no class 'transent' of errors, did you mean "
		"'transient'?\n" },
	{ V "providers: [{name: p, type: openai, errors: {a: none}}]\n",
		"f.yaml:2:49: there is no class 'none' of errors; there are: transient, "
		"rate_limited, provider_auth" },
	{ V "providers: [{name: p, type: openai, errors: {a: [transient]}}]\n",
		"f.yaml:2:49: write the name of a class of errors here\n" },
	{ V "providers: [{name: p, type: openai, errors: {'a b': transient}}]\n",
		"f.yaml:2:46: a provider's code must be 1 to 128 printable ASCII" },
	{ P "models: [{name: x, targets: [{model: m}]}]\n",
		"f.yaml:5:30: 'provider' is missing here" },
	{ P "models: [{name: x, targets: [{provider: p}]}]\n",
		"f.yaml:5:30: 'model' is missing here" },
	{ P "models: [{name: x, targets: [{provider: P, model: m}]}]\n",
		"f.yaml:5:41: there is no provider 'P', did you mean 'p'?\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, tags: eu}]}]\n",
		"f.yaml:5:60: 'tags' must be a list" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, tags: [{eu: 1}]}]}]\n",
		"f.yaml:5:61: write the name of a tag here\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, tags: ['a b']}]}]\n",
		"f.yaml:5:61: the tag 'a b' must be 1 to 63 of" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, tags: [eu, eu]}]}]\n",
		"f.yaml:5:65: 'eu' stands twice here\n" },
	{ P "models: [{name: x, require_tags: eu, " TARGET "}]\n",
		"f.yaml:5:34: 'require_tags' must be a list" },
	{ HEAD "customers: [{name: a, require_tags: eu}]\n",
		"f.yaml:9:37: 'require_tags' must be a list" },
	{ HEAD "customers: [{name: a, projects: [{name: s, require_tags: ['']}]}]\n",
		"f.yaml:9:59: write the name of a tag here\n" },
	{ P "models: [{name: x, capabilities: tools, " TARGET "}]\n",
		"f.yaml:5:34: 'capabilities' must be a list" },
	{ P "models: [{name: x, capabilities: [], " TARGET "}]\n",
		"f.yaml:5:34: 'capabilities' is empty, so nothing could be served; list some, or "
		"remove the key (all)\n" },
	{ P "models: [{name: x, capabilities: [tool], " TARGET "}]\n",
		"f.yaml:5:35: there is no capability 'tool', did you mean 'tools'?\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, capabilities: [flying]}]}]\n",
		"f.yaml:5:69: there is no capability 'flying'; see aigw-policy(5) for all\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, context_window: 128k}]}]\n",
		"f.yaml:5:70: 'context_window' is '128k': write a whole number from 1 to "
		"1000000000\n" },
	{ P "models: [{name: x, targets: [{provider: p, model: m, max_output_tokens: 0}]}]\n",
		"f.yaml:5:73: 'max_output_tokens' is '0': write a whole number from 1 to" },
	{ P "models: [{name: x, max_output_tokens: -1, " TARGET "}]\n",
		"f.yaml:5:39: 'max_output_tokens' is '-1': write a whole number from 1 to" },
	{ P "models: [{name: x, sticky: 'header:', " TARGET "}]\n",
		"f.yaml:5:28: 'sticky' is 'header:': write the name of a header behind it" },
	{ P "models: [{name: x, sticky: 'header:a b', " TARGET "}]\n",
		"f.yaml:5:28: 'sticky' is 'header:a b': write the name of a header behind it" },
	{ P "models: [{name: x, sticky: 'header:X-Aigw-Session', " TARGET "}]\n",
		"f.yaml:5:28: 'sticky' is 'header:X-Aigw-Session': headers x-aigw-... are for the "
		"gateway and "
		"tell no callers apart; use one of your own\n" },
	{ P "models: [{name: x, queue: {max: 0}, " TARGET "}]\n",
		"f.yaml:5:33: 'max' is '0': write a whole number from 1 to 100000\n" },
	{ P "models: [{name: x, queue: {wait: 5}, " TARGET "}]\n",
		"f.yaml:5:34: 'wait' is '5': write a whole number with its unit" },
	{ P "models: [{name: x, queue: {length: 5}, " TARGET "}]\n",
		"f.yaml:5:28: unknown key 'length' in queue" },
	{ P "models: [{name: x, queue: 5, " TARGET "}]\n", "f.yaml:5:27: " },
	{ P "models: [{name: x, targts: [], " TARGET "}]\n",
		"f.yaml:5:20: unknown key 'targts' in a model, did you mean 'targets'?" },
	{ P "models: [{name: x, aliases: small, " TARGET "}]\n",
		"f.yaml:5:29: 'aliases' must be a list" },
	{ P "models: [{name: x, aliases: , " TARGET "}]\n",
		"f.yaml:5:29: 'aliases' has no value; write []" },
	{ P "models: [{name: x, aliases: [[a]], " TARGET "}]\n",
		"f.yaml:5:30: an alias must be 1 to 127" },
	{ P "models: [{name: x, aliases: ['*'], " TARGET "}]\n",
		"f.yaml:5:30: an alias must be 1 to 127" },
	{ HEAD "  - {name: small, " TARGET "}\n",
		"f.yaml:9:12: 'small' is given twice, first at f.yaml:8:35; give each a name" },
	{ HEAD "  - {name: y, aliases: [gpt-4o-mini], " TARGET "}\n",
		"f.yaml:9:25: 'gpt-4o-mini' is given twice, first at f.yaml:8:12" },
	{ HEAD "  - {name: y, aliases: [y], " TARGET "}\n", "f.yaml:9:25: 'y' is given twice" },
	/* Customers and projects */
	{ HEAD "customers: [{projects: []}]\n", "f.yaml:9:13: 'name' is missing here" },
	{ HEAD "customers: [{name: a}, {name: a}]\n",
		"f.yaml:9:31: 'a' is given twice, first at f.yaml:9:20" },
	{ HEAD "customers: [{name: a, budget: {monthly: 1}}]\n",
		"f.yaml:9:23: not supported yet: 'budget' in a customer" },
	{ HEAD "customers: [{name: a, billing: {mode: prepaid}}]\n",
		"f.yaml:9:23: not supported yet: 'billing' in a customer" },
	{ HEAD "customers: [{name: a, projects: x}]\n", "f.yaml:9:33: 'projects' must be a list" },
	{ HEAD "customers:\n  - name: a\n    projects: [{name: s}]\n  - name: b\n    projects: "
	       "[{name: s}]\n",
		"f.yaml:13:23: 's' is given twice, first at f.yaml:11:23" },
	{ HEAD "customers: [{name: a, projects: [{name: s, models: [gpt-4o-mni]}]}]\n",
		"f.yaml:9:53: there is no model 'gpt-4o-mni', did you mean 'gpt-4o-mini'?\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s, models: ['*', small]}]}]\n",
		"f.yaml:9:53: '*' is every model; remove the other names, or it\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s, models: }]}]\n",
		"f.yaml:9:52: 'models' has no value; write [] or remove the key\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s, models: [{x: y}]}]}]\n",
		"f.yaml:9:53: write the name of a model here\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s, limits: {rpm: 6}}]}]\n",
		"f.yaml:9:53: not supported yet: 'rpm' in limits" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\n"
	       "identities: [{uid: 1, project: s, limits: {concurrency: x}}]\n",
		"f.yaml:10:57: 'concurrency' is 'x': write a whole number from 1 to 1000000\n" },
	{ HEAD "customers: [{name: a, projects: [{nam: s}]}]\n",
		"f.yaml:9:35: unknown key 'nam' in a project, did you mean 'name'?" },
	/* Identities */
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{project: s}]\n",
		"f.yaml:10:14: an identity needs one of uid, user, group, unit; add it\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{user: u, group: g, "
	       "project: s}]\n",
		"f.yaml:10:24: an identity is one of uid, user, group, unit; make two items of "
		"it\n" },
	{ HEAD "customers: [{name: a, projects: [{name: search}]}]\nidentities: [{user: u, "
	       "project: serch}]\n",
		"f.yaml:10:33: there is no project 'serch', did you mean 'search'?\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{user: u}]\n",
		"f.yaml:10:14: 'project' is missing here" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{uid: root, project: "
	       "s}]\n",
		"f.yaml:10:20: 'uid' is 'root': write a number from 0 to 4294967294\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{uid: 4294967295, "
	       "project: s}]\n",
		"f.yaml:10:20: 'uid' is '4294967295': write a number" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{uid: '7', project: "
	       "s}]\n",
		"f.yaml:10:20: 'uid' is '7'" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{unit: web, project: "
	       "s}]\n",
		"f.yaml:10:21: 'web' can't be a unit; write a unit's whole name, such as "
		"web.service\n" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{user: 'a b', project: "
	       "s}]\n",
		"f.yaml:10:21: 'a b' can't be a user" },
	{ HEAD "customers: [{name: a, projects: [{name: s}]}]\nidentities: [{uid: 7, project: s, "
	       "name: x}]\n",
		"f.yaml:10:35: unknown key 'name' in an identity" },
};

/* The report of one file, in memory. */
static int build(const char *text, struct buf *report, struct policy_doc **ret)
{
	static const char *const names[] = { "f.yaml" };
	struct arena a;
	struct tree *root;
	struct errbuf e;
	int r;

	arena_init(&a, 65536, 64u << 20);
	r = tree_from_yaml(&a, slice_str(text), "f.yaml", 0, &root, &e);
	if (r < 0)
		(void)buf_printf(report, "%s\n", e.text);
	else
		r = policy_doc_build((const struct tree *const *)&root, names, 1, ret, report);
	arena_fini(&a);
	return r;
}

static void each_is_refused_with_its_place(void **state)
{
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct policy_doc *d = NULL;
		struct buf report;
		int r;

		buf_init(&report, 65536);
		r = build(cases[i].yaml, &report, &d);
		/* One mistake, one finding. */
		if (r != -EINVAL || d ||
			strncmp(buf_cstr(&report), cases[i].want, strlen(cases[i].want)) != 0 ||
			memchr(report.p, '\n', report.n) != report.p + report.n - 1) {
			print_error("%s\nwant: %s\ngot (%d): %s\n", cases[i].yaml, cases[i].want, r,
				buf_cstr(&report));
			wrong++;
		}
		buf_fini(&report);
	}
	assert_int_equal(wrong, 0);
}

static void secrets_are_not_repeated(void **state)
{
	static const char *const texts[] = {
		P "    credential: sk-proj-hunter2hunter2\n",
		P "    credential: 'hunter2 hunter2'\n",
		P "    base_url: https://user:hunter2@host/v1\n",
		P "    base_url: 'hunter2'\n",
		P "    api_key: hunter2\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct policy_doc *d = NULL;
		struct buf report;

		buf_init(&report, 65536);
		assert_int_equal(build(texts[i], &report, &d), -EINVAL);
		assert_null(strstr(buf_cstr(&report), "hunter2"));
		buf_fini(&report);
	}
}

static void all_findings_up_to_fifty(void **state)
{
	struct policy_doc *d = NULL;
	struct buf text, report;
	unsigned lines = 0;

	(void)state;
	buf_init(&text, 65536);
	buf_init(&report, 65536);
	buf_str(&text, V "foo: 1\nproviders:\n");
	for (int i = 0; i < 100; i++)
		buf_printf(&text, "- {name: p%d, type: x}\n", i);
	assert_int_equal(build(buf_cstr(&text), &report, &d), -EINVAL);
	for (size_t i = 0; i < report.n; i++)
		lines += report.p[i] == '\n';
	assert_int_equal(lines, 50);
	assert_non_null(strstr(buf_cstr(&report), "f.yaml:2:1: unknown key 'foo'"));
	assert_non_null(strstr(buf_cstr(&report), "f.yaml:4:20: unknown provider type 'x'"));
	assert_non_null(strstr(buf_cstr(&report), "f.yaml:5:20: unknown provider type 'x'"));
	buf_fini(&text);
	buf_fini(&report);
}

static void lists_end_somewhere(void **state)
{
	struct policy_doc *d = NULL;
	struct buf text, report;

	(void)state;
	buf_init(&text, 4u << 20);
	buf_init(&report, 65536);
	buf_str(&text, HEAD "customers:\n- name: a\n  projects:\n");
	for (int i = 0; i <= 10000; i++)
		buf_printf(&text, "  - {name: s%d}\n", i);
	assert_int_equal(build(buf_cstr(&text), &report, &d), -EINVAL);
	assert_string_equal(
		buf_cstr(&report), "f.yaml:12:3: 'projects' has more than 10000 items\n");
	buf_reset(&text);
	buf_reset(&report);
	buf_str(&text, V "customers:\n");
	for (int i = 0; i <= 10000; i++)
		buf_printf(&text, "- {name: s%d}\n", i);
	assert_int_equal(build(buf_cstr(&text), &report, &d), -EINVAL);
	assert_string_equal(buf_cstr(&report), "f.yaml:3:1: more than 10000 customers\n");
	buf_fini(&text);
	buf_fini(&report);
}

static void terminals_stay_what_they_are(void **state)
{
	struct policy_doc *d = NULL;
	struct buf report;

	(void)state;
	buf_init(&report, 65536);
	assert_int_equal(build(V "\"a\\e[2J\\nb\": 1\n", &report, &d), -EINVAL);
	assert_null(strchr(buf_cstr(&report), '\x1b'));
	assert_ptr_equal(strchr(buf_cstr(&report), '\n'), report.p + report.n - 1);
	buf_fini(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_refused_with_its_place),
		cmocka_unit_test(secrets_are_not_repeated),
		cmocka_unit_test(all_findings_up_to_fifty),
		cmocka_unit_test(lists_end_somewhere),
		cmocka_unit_test(terminals_stay_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
