/* aigw-ctld: arguments, settings, start; nothing else. */
#include "ctld.h"

#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
	"Usage: aigw-ctld [--config FILE] [--check-config]\n"
	"\n"
	"The controller of aigw: keeps policy, keys, secrets and the ledger, and tells the "
	"agents.\n"
	"\n"
	"  --config FILE     settings (default " CTLD_CONFIG_PATH "; presets if it is not there)\n"
	"  --check-config    read the settings, say whether they are valid, and exit\n"
	"  --version         print the version and exit\n"
	"  --help            print this and exit\n"
	"\n"
	"SIGTERM stops it, SIGHUP reads the settings again. Everything else: aigwctl.\n";

struct arguments {
	const char *config;
	bool check, die_with_parent;
};

/* 1: go on; else the exit code is in *code. */
static int arguments_read(int argc, char **argv, struct arguments *a, int *code)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'n' },
		{ "die-with-parent", no_argument, NULL, 'd' }, /* for demo and tests */
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'c': a->config = optarg; break;
		case 'n': a->check = true; break;
		case 'd': a->die_with_parent = true; break;
		case 'V':
			(void)printf("aigw-ctld %s\n", AIGW_VERSION);
			*code = 0;
			return 0;
		case 'h':
			(void)fputs(help, stdout);
			*code = 0;
			return 0;
		default: *code = 2; return 0;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "aigw-ctld: unexpected argument: %s\n", argv[optind]);
		*code = 2;
		return 0;
	}
	return 1;
}

/* Ends with whoever started it, also if that one ended before we got here. */
static bool parent_follow(void)
{
	pid_t parent = getppid();

	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

int main(int argc, char **argv)
{
	static struct ctld ctld;
	struct arguments a = { 0 };
	struct errbuf e;
	int code;

	if (!arguments_read(argc, argv, &a, &code))
		return code;
	if (a.die_with_parent && !parent_follow())
		return 1;
	ctld.config_path = a.config ? a.config : CTLD_CONFIG_PATH;
	ctld.config_may_miss = !a.config;
	arena_init(&ctld.config_arena, 4096, 1u << 20);
	if (ctld_config_load(ctld.config_path, ctld.config_may_miss, &ctld.config_arena,
		    &ctld.config, &e) < 0) {
		(void)fprintf(stderr, "aigw-ctld: %s\n", e.text);
		return 2;
	}
	code = 0;
	if (a.check) {
		(void)printf("%s: valid\n", ctld.config_path);
	} else {
		log_init("aigw-ctld", ctld_config_log_level(&ctld.config));
		(void)signal(SIGPIPE, SIG_IGN);
		(void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the store */
		(void)umask(0077);
		if (ctld_start(&ctld, &e) < 0) {
			log_event(LOG_ERROR, "main", "ctld.failed", "reason=%s",
				log_quote(slice_str(e.text)));
			code = 1;
		} else if (ctld_run(&ctld) < 0) {
			code = 1;
		}
	}
	arena_fini(&ctld.config_arena);
	return code;
}
