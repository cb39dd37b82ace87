/* The rows. A new verb is one row here, one function, and its lines in aigwctl.1 (a test compares).
 */
#include "command.h"
#include "cli.h"

const struct flag command_flags[FLAG_COUNT] = {
	[FLAG_ctl] = { "ctl", 0, "ADDR", "AIGW_CTL",
		"the controller, unix:PATH (default unix:/run/aigw-ctl/admin.sock)" },
	[FLAG_output] = { "output", 'o', "FMT", "AIGW_OUTPUT",
		"table wide json jsonl yaml csv name; of one object: table json jsonl yaml" },
	[FLAG_columns] = { "columns", 0, "A,B", NULL, "these columns (members) in this order" },
	[FLAG_no_header] = { "no-header", 0, NULL, NULL,
		"tables and csv without their first line" },
	[FLAG_limit] = { "limit", 0, "N", NULL, "at most N rows" },
	[FLAG_timeout] = { "timeout", 0, "DUR", NULL, "give up after this time (default 10s)" },
	[FLAG_dry_run] = { "dry-run", 'n', NULL, NULL, "ask what would happen, change nothing" },
	[FLAG_yes] = { "yes", 'y', NULL, NULL, "do not ask" },
	[FLAG_if_revision] = { "if-revision", 0, "N", NULL,
		"only if revision N is still in force, else exit 5" },
	[FLAG_color] = { "color", 0, "WHEN", NULL,
		"auto, always or never (NO_COLOR and TERM=dumb count in auto)" },
	[FLAG_quiet] = { "quiet", 'q', NULL, NULL, "no talk on stderr, only errors" },
	[FLAG_verbose] = { "verbose", 'v', NULL, NULL, "say on stderr what is done" },
	[FLAG_help] = { "help", 'h', NULL, NULL, "help on this command" },
	[FLAG_version] = { "version", 'V', NULL, NULL, "version of this program" },
	[FLAG_file] = { "file", 'f', "FILE", NULL,
		"policy file, may be repeated (default /etc/aigw/policy.yaml and "
		"/etc/aigw/policy.d/*.yaml)" },
	[FLAG_message] = { "message", 'm', "TEXT", NULL, "why; stands in the history" },
	[FLAG_wait] = { "wait", 0, NULL, NULL,
		"wait until every connected agent has answered (the default)" },
	[FLAG_no_wait] = { "no-wait", 0, NULL, NULL, "return when the controller has stored it" },
	[FLAG_project] = { "project", 0, "P", NULL, "the project that pays" },
	[FLAG_require_tags] = { "require-tags", 0, "A,B", NULL,
		"only targets that carry all of these tags" },
	[FLAG_needs] = { "needs", 0, "A,B", NULL,
		"capabilities that the request needs: tools, parallel_tools, json_schema, vision, "
		"audio, reasoning, prefill" },
	[FLAG_endpoint] = { "endpoint", 0, "E", NULL,
		"which URL: chat (the default), completions, embeddings, responses and so on" },
	[FLAG_input_tokens] = { "input-tokens", 0, "N", NULL, "how long its prompt is" },
	[FLAG_output_tokens] = { "output-tokens", 0, "N", NULL, "the most that it asks for" },
	[FLAG_user] = { "user", 0, "U", NULL, "its end user, for stickiness" },
	[FLAG_expires] = { "expires", 0, "DUR", NULL, "ends by itself after this time: 12h, 90d" },
	[FLAG_by] = { "by", 0, "A,B", NULL,
		"group by any of customer project key model provider agent uid outcome endpoint "
		"day hour (top: by one of model project key provider uid)" },
	[FLAG_period] = { "period", 0, "P", NULL,
		"today yesterday week month last-month, days of UTC (default month)" },
	[FLAG_since] = { "since", 0, "T", NULL,
		"from: 24h or 7d ago, 2026-11-01, 2026-11-01T08:00:00Z, month" },
	[FLAG_until] = { "until", 0, "T", NULL, "up to, not included; as --since (default now)" },
	[FLAG_secret_file] = { "secret-file", 0, "F", NULL,
		"read the secret from this file; - is stdin" },
	[FLAG_provider] = { "provider", 0, "P", NULL,
		"demo: sim (the default) or openai; init: openai (the default) or a base URL" },
	[FLAG_port] = { "port", 0, "N", NULL,
		"TCP port of the API (default 2449; demo: else the first free from 2460)" },
	[FLAG_requests] = { "requests", 0, "N", NULL,
		"sample calls at the start (default 12; selftest and openai 0)" },
	[FLAG_selftest] = { "selftest", 0, NULL, NULL,
		"make six calls, check them to the ledger, end" },
	[FLAG_model] = { "model", 0, "NAME", NULL,
		"init: the first model, NAME or NAME=TARGET; price list: the provider's model; "
		"chat: whom to ask" },
	[FLAG_revision] = { "revision", 0, "A..B", NULL,
		"these revisions; A.. and ..B: the running one is the other" },
	[FLAG_show] = { "show", 0, "REV", NULL, "the files of this revision" },
	[FLAG_at] = { "at", 0, "DATE", NULL, "only what is in force on this day, 2026-11-01" },
	[FLAG_shell] = { "shell", 0, "NAME", NULL, "bash (the default), zsh or fish" },
	[FLAG_filter] = { "filter", 0, "'COL OP VALUE'", NULL,
		"only rows for which it holds: = != ~ (contains) < <= > >=; may be repeated" },
	[FLAG_sort] = { "sort", 0, "[-]COL", NULL, "by this column; - before it: downwards" },
	[FLAG_watch] = { "watch", 'w', NULL, NULL,
		"again every 2 s; with -o jsonl one object per change" },
	[FLAG_local_user] = { "local-user", 0, "USER", NULL,
		"may call on the unix socket without a key" },
	[FLAG_no_start] = { "no-start", 0, NULL, NULL, "write the files only" },
	[FLAG_agent] = { "agent", 0, "PATH", "AIGW_AGENT",
		"the control socket of this host's agent (default /run/aigw/control.sock)" },
	[FLAG_follow] = { "follow", 0, NULL, NULL, "go on with what comes, until Ctrl-C" },
	[FLAG_kind] = { "kind", 0, "GLOB", NULL, "only events like this: call.*, agent.*" },
	[FLAG_lines] = { "lines", 'n', "N", NULL, "the last N (default 10, at most 4096)" },
	[FLAG_for] = { "for", 0, "DUR", NULL, "so long: 30m, 1h (the default), at most 30d" },
	[FLAG_target] = { "target", 0, "PROVIDER/MODEL", NULL, "one of its targets only" },
	[FLAG_key] = { "key", 0, "ID", NULL, "the key that it comes with; its project, too" },
	[FLAG_uid] = { "uid", 0, "N", NULL, "the user of this host that it comes from" },
	[FLAG_header] = { "header", 0, "NAME=VALUE", NULL,
		"a header that routing goes by, of a sticky model" },
	[FLAG_cache_key] = { "cache-key", 0, "TEXT", NULL, "its prompt_cache_key, for stickiness" },
	[FLAG_once] = { "once", 0, NULL, NULL, "print it once, plainly" },
	[FLAG_show_route] = { "show-route", 0, NULL, NULL,
		"line by line what was decided and done, as explain request" },
	[FLAG_credential] = { "credential", 0, "NAME", NULL, "this one of its credentials alone" },
	[FLAG_keep] = { "keep", 0, NULL, NULL, "leave the folder with state and logs behind" },
};

#define TALK  (FLAG_BIT(help) | FLAG_BIT(quiet) | FLAG_BIT(verbose) | FLAG_BIT(color))
#define NET   (TALK | FLAG_BIT(ctl) | FLAG_BIT(timeout) | FLAG_BIT(output))
#define LOCAL (TALK | FLAG_BIT(agent) | FLAG_BIT(timeout) | FLAG_BIT(output))
#define DRAIN (NET | FLAG_BIT(agent))
#define LIST                                                                                       \
	(NET | FLAG_BIT(columns) | FLAG_BIT(no_header) | FLAG_BIT(limit) | FLAG_BIT(filter) |      \
		FLAG_BIT(sort) | FLAG_BIT(watch))

const struct command command_table[] = {
	{ { "init" }, "[--provider openai|URL] [--secret-file F] [--project P]", 0, false,
		NET | FLAG_BIT(provider) | FLAG_BIT(secret_file) | FLAG_BIT(project) |
			FLAG_BIT(model) | FLAG_BIT(local_user) | FLAG_BIT(no_start) | FLAG_BIT(yes),
		cmd_init, "set up this host: files, units, policy, first key",
		{ "printf %s \"$YOUR_OPENAI_KEY\" | aigwctl init --secret-file -",
			"aigwctl init --provider http://127.0.0.1:11434/v1 --model llama3.2" },
		"For a single host with one provider. Writes /etc/aigw/policy.yaml and the secret, "
		"starts the units, applies the\n"
		"policy, and prints the first key: standard output holds it and nothing else (with "
		"-o json what was made besides).\n"
		"Overwrites nothing (exit 5)." },
	{ { "status" }, "", 0, false, NET | FLAG_BIT(watch), cmd_status,
		"one screen: controller, agents, providers, keys, traffic",
		{ "aigwctl status", "aigwctl status -o json" }, "" },
	{ { "validate" }, "[-f FILE]...", 0, false, TALK | FLAG_BIT(file) | FLAG_BIT(output),
		cmd_validate, "check policy files, offline",
		{ "aigwctl validate", "aigwctl validate -f policy.yaml -f extra.yaml" },
		"Findings are printed as file:line:column: sentence. Needs no controller." },
	{ { "apply" }, "[-f FILE]... [-m MESSAGE]", 0, false,
		NET | FLAG_BIT(file) | FLAG_BIT(message) | FLAG_BIT(wait) | FLAG_BIT(no_wait) |
			FLAG_BIT(yes) | FLAG_BIT(dry_run) | FLAG_BIT(if_revision),
		cmd_apply, "make the policy files the policy in force",
		{ "aigwctl apply", "aigwctl apply -f policy.yaml -y -m \"add embed\"",
			"aigwctl apply -n" },
		"Shows the plan and asks. Without a terminal -y is needed. The files are the whole "
		"policy: what is not in\n"
		"them is removed. Exit 9 if an agent refused the revision or did not answer in "
		"time; it keeps its last good." },
	{ { "diff" }, "[-f FILE]... [--revision A..B]", 0, false,
		NET | FLAG_BIT(file) | FLAG_BIT(revision), cmd_diff,
		"what apply would change, or what differs between two revisions",
		{ "aigwctl diff", "aigwctl diff -f policy.yaml -o json",
			"aigwctl diff --revision 41..42" },
		"Exit 0: no difference, 1: there are some, above 1: trouble." },
	{ { "history" }, "[--limit N] [--show REV]", 0, false, LIST | FLAG_BIT(show), cmd_history,
		"revisions of the policy, newest first",
		{ "aigwctl history", "aigwctl history --show 41" }, "" },
	{ { "rollback" }, "[REVISION]", 0, true,
		NET | FLAG_BIT(message) | FLAG_BIT(wait) | FLAG_BIT(no_wait) | FLAG_BIT(yes) |
			FLAG_BIT(dry_run) | FLAG_BIT(if_revision),
		cmd_rollback, "make an older revision the policy in force again",
		{ "aigwctl rollback", "aigwctl rollback 41 -y -m \"embed was wrong\"",
			"aigwctl rollback -n" },
		"Default: the one before the running one. It gets a new number; nothing is taken "
		"out "
		"of the history.\n"
		"Keys are no part of a policy: none that was revoked comes back." },
	{ { "key", "create" }, "NAME --project P [--expires DUR] [--require-tags A,B]", 1, false,
		NET | FLAG_BIT(project) | FLAG_BIT(expires) | FLAG_BIT(require_tags),
		cmd_key_create, "make a virtual key; it is shown once",
		{ "aigwctl key create ci --project search --expires 90d",
			"OPENAI_API_KEY=$(aigwctl key create notebook --project search)" },
		"Standard output holds the key and nothing else." },
	{ { "key", "list" }, "[--project P]", 0, false, LIST | FLAG_BIT(project), cmd_key_list,
		"keys and their states",
		{ "aigwctl key list", "aigwctl key list --project search -o csv" }, "" },
	{ { "key", "show" }, "ID", 1, false, NET, cmd_key_show, "one key",
		{ "aigwctl key show key_3kQ9zB1mXy0a" }, "" },
	{ { "key", "revoke" }, "ID", 1, false, NET | FLAG_BIT(dry_run), cmd_key_revoke,
		"refuse a key from now on, for ever", { "aigwctl key revoke key_3kQ9zB1mXy0a" },
		"Returns when every agent has confirmed and says how long that took. Exit 9 names "
		"those that did not:\n"
		"there the key may still work. Running streams go on. The id is asked for whole, "
		"so it doesn't ask again." },
	{ { "usage", "show" }, "[--by A,B] [--period P]", 0, false,
		LIST | FLAG_BIT(by) | FLAG_BIT(period) | FLAG_BIT(since) | FLAG_BIT(until),
		cmd_usage_show, "requests, tokens and money from the ledger",
		{ "aigwctl usage show --by project,model --period month",
			"aigwctl usage show --by key --since 24h",
			"aigwctl usage show --by day,provider --period last-month -o csv" },
		"Sums are exact. UNPRICED counts calls for which no price was in force; they are "
		"in no COST." },
	{ { "agent", "list" }, "", 0, false, LIST, cmd_agent_list, "agents and how they are",
		{ "aigwctl agent list", "aigwctl agent list -o wide" }, "" },
	{ { "agent", "show" }, "NAME", 1, false, NET, cmd_agent_show, "one agent",
		{ "aigwctl agent show web-01" }, "" },
	{ { "agent", "stats", "cat" }, "PATH", 1, false, TALK | FLAG_BIT(agent) | FLAG_BIT(timeout),
		cmd_agent_stats_cat, "a file of this host's stats, also where they are not mounted",
		{ "aigwctl agent stats cat summary",
			"aigwctl agent stats cat models/gpt-4o-mini/stat" },
		"The same bytes as in the mount, see aigw-stats(5)." },
	{ { "agent", "stats", "ls" }, "[PATH]", 0, true, (LIST | FLAG_BIT(agent)) & ~FLAG_BIT(ctl),
		cmd_agent_stats_ls, "a folder of this host's stats",
		{ "aigwctl agent stats ls", "aigwctl agent stats ls models" }, "" },
	{ { "agent", "drain" }, "NAME", 1, false, LOCAL, cmd_agent_drain,
		"refuse new calls at this host's agent, let the running ones go on",
		{ "aigwctl agent drain web-01" },
		"The process stays; `agent resume` takes it back. NAME has to be the agent of this "
		"host." },
	{ { "agent", "resume" }, "NAME", 1, false, LOCAL, cmd_agent_resume,
		"take calls again after `agent drain`", { "aigwctl agent resume web-01" }, "" },
	{ { "provider", "status" }, "[NAME]", 0, true, (LIST | FLAG_BIT(agent)) & ~FLAG_BIT(ctl),
		cmd_provider_status, "how providers do, as this host's agent sees it",
		{ "aigwctl provider status", "aigwctl provider status openai -o json" },
		"State: ok, failing (calls failed lately and none succeeded) or drained. Errors: since "
		"the agent's start. Probe: the\n"
		"last one of health.probe; of several credentials the first that was not good." },
	{ { "provider", "test" }, "NAME [--credential NAME]", 1, false,
		LOCAL | FLAG_BIT(credential) | FLAG_BIT(columns) | FLAG_BIT(no_header),
		cmd_provider_test, "ask a provider now, from this host, and say what is wrong",
		{ "aigwctl provider test openai",
			"aigwctl provider test openai --credential spare --timeout 60s -o json" },
		"One GET with each credential, of the list of models or of health.probe's path: no "
		"call, nothing is billed. Also while it\n"
		"is drained or its circuits are open. A failure changes nothing; after a good answer "
		"one call may try at once what was\n"
		"left alone. Exit code 0: all are good; 9: some are, or it can't be told; 1: none is." },
	{ { "provider", "drain" }, "NAME [--for DUR]", 1, false, DRAIN | FLAG_BIT(for),
		cmd_provider_drain, "send no calls to a provider for a while",
		{ "aigwctl provider drain azure-eu --for 30m" },
		"Neither first tries nor later ones, by whatever way; those under way go on. It ends "
		"by itself and survives restarts;\n"
		"no revision knows of it. With --agent at this host alone, without the controller." },
	{ { "provider", "resume" }, "NAME", 1, false, DRAIN, cmd_provider_resume,
		"take `provider drain` back", { "aigwctl provider resume azure-eu" }, "" },
	{ { "model", "disable" }, "NAME [--target PROVIDER/MODEL] [--for DUR]", 1, false,
		DRAIN | FLAG_BIT(for) | FLAG_BIT(target), cmd_model_disable,
		"serve no calls for a model, or none at one of its targets, for a while",
		{ "aigwctl model disable gpt-4o-mini --target azure-eu/gpt4o-mini-prod --for 2h" },
		"As `provider drain`, for this model alone." },
	{ { "model", "enable" }, "NAME [--target PROVIDER/MODEL]", 1, false,
		DRAIN | FLAG_BIT(target), cmd_model_enable, "take `model disable` back",
		{ "aigwctl model enable gpt-4o-mini --target azure-eu/gpt4o-mini-prod" }, "" },
	{ { "model", "targets" }, "NAME", 1, false, (LIST | FLAG_BIT(agent)) & ~FLAG_BIT(ctl),
		cmd_model_targets, "where this host's agent sends a model's calls, and how each stands",
		{ "aigwctl model targets gpt-4o-mini", "aigwctl model targets gpt-4o-mini -o wide" },
		"State: ok, open, probing, rate_limited, no_credential, provider_quota, drained or "
		"at_capacity." },
	{ { "model", "route" },
		"NAME --project P|--key ID [--uid N] [--user U] [--header NAME=VALUE] "
		"[--cache-key T] [--endpoint E] [--needs A,B] [--require-tags A,B] "
		"[--input-tokens N] [--output-tokens N]",
		1, false,
		LOCAL | FLAG_BIT(project) | FLAG_BIT(endpoint) | FLAG_BIT(needs) |
			FLAG_BIT(require_tags) | FLAG_BIT(input_tokens) | FLAG_BIT(output_tokens) |
			FLAG_BIT(user) | FLAG_BIT(key) | FLAG_BIT(uid) | FLAG_BIT(header) |
			FLAG_BIT(cache_key),
		cmd_explain_route, "where a call for a model would go now, and why",
		{ "aigwctl model route gpt-4o-mini --project search" }, "The same as `explain route`." },
	{ { "agent", "log-level" }, "NAME [LEVEL]", 0, true, LOCAL, cmd_agent_log_level,
		"show or set how much this host's agent logs",
		{ "aigwctl agent log-level web-01", "aigwctl agent log-level web-01 debug" },
		"error, warning, info or debug; until the agent's next reload or start." },
	{ { "tail" }, "[--filter EXPR] [-n N] [--follow]", 0, false,
		((LIST & ~FLAG_BIT(watch)) | FLAG_BIT(agent) | FLAG_BIT(follow) | FLAG_BIT(lines)) &
			~FLAG_BIT(ctl),
		cmd_tail, "requests of this host as they finish",
		{ "aigwctl tail --follow", "aigwctl tail -n 100 --filter status>=400",
			"aigwctl tail --follow -o jsonl" },
		"The agent keeps the last 4096 in memory. Times are UTC." },
	{ { "top" }, "[--by model|project|key|provider|uid] [--once]", 0, false,
		((LIST & ~FLAG_BIT(watch)) | FLAG_BIT(agent) | FLAG_BIT(by) | FLAG_BIT(once)) &
			~FLAG_BIT(ctl),
		cmd_top, "what this host's agent is busy with now",
		{ "aigwctl top", "aigwctl top --by key --sort -cost_per_hour",
			"aigwctl top --once --by provider -o json" },
		"Of the calls of the last 60 s, or as many of the last 4096 as fall into it; rates "
		"are per second, cost per hour. Drawn\n"
		"anew every 2 s until q or Ctrl-C; where there is no terminal, or with --once, a "
		"plain table." },
	{ { "events" }, "[--follow] [--kind GLOB] [--since T]", 0, false,
		((LIST & ~FLAG_BIT(watch)) | FLAG_BIT(agent) | FLAG_BIT(follow) | FLAG_BIT(kind) |
			FLAG_BIT(since)) &
			~FLAG_BIT(ctl),
		cmd_events, "what happened at this host's agent",
		{ "aigwctl events --since 1h", "aigwctl events --follow --kind agent.*" },
		"Policy, keys, drains, trouble, and finished requests (call.done)." },
	{ { "provider", "list" }, "", 0, false, LIST, cmd_provider_list,
		"providers and where their credentials are",
		{ "aigwctl provider list", "aigwctl provider list -o json" }, "" },
	{ { "provider", "show" }, "NAME", 1, false, NET, cmd_provider_show, "one provider",
		{ "aigwctl provider show openai" }, "" },
	{ { "model", "list" }, "[--project P]", 0, false, LIST | FLAG_BIT(project), cmd_model_list,
		"models, who serves them, what they cost today",
		{ "aigwctl model list", "aigwctl model list --project search" }, "" },
	{ { "model", "show" }, "NAME", 1, false, NET, cmd_model_show,
		"one model, by its name or an alias", { "aigwctl model show gpt-4o-mini" }, "" },
	{ { "project", "list" }, "", 0, false, LIST, cmd_project_list,
		"projects, who pays, what they may use",
		{ "aigwctl project list", "aigwctl project list --filter customer=acme" }, "" },
	{ { "project", "show" }, "NAME", 1, false, NET, cmd_project_show, "one project",
		{ "aigwctl project show search" }, "" },
	{ { "price", "list" }, "[--model M] [--at DATE]", 0, false,
		LIST | FLAG_BIT(model) | FLAG_BIT(at), cmd_price_list,
		"what a provider's model costs, from which day on",
		{ "aigwctl price list", "aigwctl price list --at 2026-11-01" }, "" },
	{ { "explain" }, "ERROR_CODE", 1, false, TALK | FLAG_BIT(output), cmd_explain,
		"what an error code means and what to do",
		{ "aigwctl explain model_not_allowed", "aigwctl explain failed:upstream_timeout" },
		"The code is the member `code` of an error, or stands in a record's outcome. Needs "
		"no "
		"controller." },
	{ { "explain", "request" }, "ID", 1, false, LOCAL | FLAG_BIT(ctl), cmd_explain_request,
		"what became of a call, and why",
		{ "aigwctl explain request req_01m8jv8ze8n7nrzps2cc000002",
			"aigwctl explain request req_01m8jv8ze8n7nrzps2cc000002 "
			"--ctl unix:/run/aigw-ctl/admin.sock" },
		"The id is in the answer's x-request-id and in aigwctl tail. This host's agent "
		"remembers the last 4096 calls, and as many that failed or fell back. If it does "
		"not know the call, the controller is asked, whom agents tell of those that failed "
		"or fell back; --agent and --ctl ask the one only." },
	{ { "explain", "route" },
		"MODEL --project P|--key ID [--uid N] [--user U] [--header NAME=VALUE] "
		"[--cache-key T] [--endpoint E] [--needs A,B] [--require-tags A,B] "
		"[--input-tokens N] [--output-tokens N]",
		1, false,
		LOCAL | FLAG_BIT(project) | FLAG_BIT(endpoint) | FLAG_BIT(needs) |
			FLAG_BIT(require_tags) | FLAG_BIT(input_tokens) | FLAG_BIT(output_tokens) |
			FLAG_BIT(user) | FLAG_BIT(key) | FLAG_BIT(uid) | FLAG_BIT(header) |
			FLAG_BIT(cache_key),
		cmd_explain_route, "where a call would go now, and why",
		{ "aigwctl explain route gpt-4o-mini --project search",
			"aigwctl explain route gpt-4o-mini --project search --needs tools,vision",
			"aigwctl explain route gpt-4o-mini --key key_3kQ9zB1mXy0a --user u-17" },
		"Decided by this host's agent as for a real request; nothing is sent. Where several "
		"of a priority are drawn, it says how often each comes first, and by what." },
	{ { "chat" }, "[--model NAME] [PROMPT]...", 0, true,
		TALK | FLAG_BIT(model) | FLAG_BIT(output), cmd_chat,
		"ask a model through this host's agent",
		{ "aigwctl chat \"hello\"", "aigwctl chat --model small <prompt.txt",
			"aigwctl chat -o json hello" },
		"Default: the first model that the caller may use. Asks the port and with the key "
		"that OPENAI_BASE_URL and\n"
		"OPENAI_API_KEY name (aigwctl env), else /run/aigw/agent.sock." },
	{ { "try" }, "MODEL [--show-route]", 1, false, LOCAL | FLAG_BIT(show_route), cmd_try,
		"one tiny call: who answers, why, how fast, at what cost",
		{ "aigwctl try gpt-4o-mini", "aigwctl try gpt-4o-mini --show-route" },
		"It is a call like others: it is counted and paid for. Goes where chat goes; this "
		"host's control socket\n"
		"says what became of it." },
	{ { "env" }, "--secret-file F [--shell S] [--port N]", 0, false,
		TALK | FLAG_BIT(secret_file) | FLAG_BIT(shell) | FLAG_BIT(port), cmd_env,
		"variables that point an OpenAI SDK at this host's agent",
		{ "eval \"$(aigwctl env --secret-file key.txt)\"" },
		"Programs that can dial a unix socket need no key: /run/aigw/agent.sock." },
	{ { "provider", "secret", "set" }, "NAME --secret-file F", 1, false,
		NET | FLAG_BIT(secret_file), cmd_provider_secret_set,
		"store a provider's credential and push it to the agents",
		{ "aigwctl provider secret set openai --secret-file key.txt",
			"pass show openai | aigwctl provider secret set openai --secret-file -" },
		"NAME is what the policy's `credential` says. A secret never stands in the "
		"arguments. An agent that has a file of\n"
		"that name (credentials directory, secrets_dir) goes on using it and is named." },
	{ { "demo" }, "[--provider sim|openai] [--port N] [--selftest]", 0, false,
		TALK | FLAG_BIT(provider) | FLAG_BIT(secret_file) | FLAG_BIT(port) |
			FLAG_BIT(requests) | FLAG_BIT(selftest) | FLAG_BIT(keep),
		cmd_demo, "the whole gateway, rootless and temporary",
		{ "aigwctl demo", "aigwctl demo --selftest",
			"aigwctl demo --provider openai --secret-file key.txt" },
		"Starts controller, agent and a simulated provider in a folder of its own, prints "
		"base URL, key, mount and what\n"
		"to try. Ctrl-C ends and removes everything." },
	{ { "completion" }, "bash|zsh|fish", 1, false, FLAG_BIT(help), cmd_completion,
		"the shell's completion of commands, flags and live names",
		{ "eval \"$(aigwctl completion bash)\"", "aigwctl completion fish" },
		"Names of keys, projects, models, providers and agents are asked of the "
		"controller, "
		"for 300 ms at most." },
	{ { "version" }, "", 0, false, NET, cmd_version,
		"of this program, the controller and the wire",
		{ "aigwctl version", "aigwctl version -o json" }, "" },
	{ { "help" }, "[COMMAND]", 0, true, FLAG_BIT(help), cmd_help,
		"this help, or that of one command", { "aigwctl help", "aigwctl help key create" },
		"" },
};
const unsigned command_count = ARRAY_LEN(command_table);

const struct exit_doc command_exits[] = {
	{ EXIT_DONE, "done" },
	{ EXIT_FAILED, "failed" },
	{ EXIT_USAGE, "usage error" },
	{ EXIT_NOT_FOUND, "no such object" },
	{ EXIT_NOT_PERMITTED, "not permitted" },
	{ EXIT_CONFLICT, "conflict: exists already, or revision moved" },
	{ EXIT_UNREACHABLE, "daemon not reachable" },
	{ EXIT_POLICY, "policy invalid" },
	{ EXIT_PARTLY, "partly done: some agents refused or did not confirm" },
	{ EXIT_TIMED_OUT, "no answer within --timeout" },
	{ EXIT_INTERRUPTED, "interrupted" },
};
const unsigned command_exit_count = ARRAY_LEN(command_exits);

const char *const command_later[] = {
	"doctor",
	"run",
	"confirm",
	"export",
	"replay",
	"compare",
	"bench",
	"support-bundle",
	"context",
	"login",
	"key rotate",
	"key disable",
	"key enable",
	"key limits",
	"key verify",
	"customer",
	"budget",
	"balance",
	"rollout",
	"guard",
	"secret",
	"alert",
	"admin",
	"project create",
	"project set",
	"project archive",
	"project usage",
	"price set",
	"price import",
	"price check",
	"provider secret rotate",
	"usage export",
	"usage forecast",
	"usage reconcile",
	"usage top",
	"agent join-token",
	"agent revoke",
	"agent spool",
	"agent upgrade-check",
	NULL,
};

const char *const command_later_flags[] = {
	"context",
	"debug",
	"confirm-within",
	"canary-agents",
	"models",
	"rpm",
	"tpm",
	"budget",
	"ip",
	"tag",
	"granularity",
	"unused-since",
	"idempotency-key",
	"c",
	NULL,
};
