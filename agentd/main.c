/* aigw-agentd: arguments, start order and its reverse; nothing else. */
#include "agent.h"

#include <aigw/log.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define DEFAULT_CONFIG "/etc/aigw/agentd.yaml"

static const char usage[] =
	"usage: aigw-agentd [--config FILE] [--check-config] [--log-requests] "
	"[--die-with-parent]\n"
	"       aigw-agentd --version | --help\n"
	"\n"
	"The AI gateway's agent: OpenAI-compatible API on this host, relayed to providers, "
	"metered.\n"
	"  --config FILE       settings, default " DEFAULT_CONFIG " (may be missing)\n"
	"  --check-config      read the settings, say what is wrong, exit\n"
	"  --log-requests      a log line for each call that ends; never a prompt, never a key\n"
	"  --die-with-parent   end when the starting process ends (demo, tests)\n"
	"\n"
	"See aigw-agentd(8), aigw-agentd.yaml(5).\n";

static int check(const char *path, bool may_miss)
{
	struct agent_config cfg;
	struct arena memory;
	struct errbuf why;
	int err;

	arena_init(&memory, 4096, 1 << 20);
	err = agent_config_load(path, may_miss, &memory, &cfg, &why);
	arena_fini(&memory);
	if (err)
		(void)fprintf(stderr, "%s\n", why.text);
	return err ? 1 : 0;
}

static int run(const char *path, bool may_miss, bool log_requests)
{
	static struct agent *a; /* a start that failed is not taken apart: the program ends */
	struct errbuf why = { "" };

	if (agent_new(path, may_miss, &a, &why)) {
		log_event(LOG_ERROR, "agent", "agent.start_failed", "why=%s",
			log_quote(slice_str(why.text)));
		return 1;
	}
	if (log_requests)
		agent_log_requests(a);
	agent_run(a);
	agent_free(a);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'C' },
		{ "log-requests", no_argument, NULL, 'r' },
		{ "die-with-parent", no_argument, NULL, 'p' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = NULL;
	bool only_check = false, log_requests = false;
	int c;

	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (c) {
		case 'c': path = optarg; break;
		case 'C': only_check = true; break;
		case 'r': log_requests = true; break;
		case 'p': (void)prctl(PR_SET_PDEATHSIG, SIGTERM); break;
		case 'V': (void)puts("aigw-agentd " AIGW_VERSION); return 0;
		case 'h': (void)fputs(usage, stdout); return 0;
		default: (void)fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(
			stderr, "aigw-agentd: unexpected argument '%s'\n%s", argv[optind], usage);
		return 2;
	}
	if (only_check)
		return check(path ? path : DEFAULT_CONFIG, !path);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the store */
	(void)umask(0077);
	/* Few threads allocate, and what a burst took shall go back. */
	(void)mallopt(M_ARENA_MAX, 4);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
	(void)prctl(PR_SET_DUMPABLE, 0);
	log_init("aigw-agentd", LOG_INFO);
	return run(path ? path : DEFAULT_CONFIG, !path, log_requests);
}
