/* aigw-sim: a provider for tests. See --help, script.h for behaviours, tokens.h for the arithmetic,
 * calllog.h for the log. */
#include "corpus.h"
#include "server.h"
#include "sim.h"
#include "tls.h"

#include <errno.h>
#include <getopt.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS_KEPT 65536
#define TICKETS    2

static const char usage[] =
	"usage: aigw-sim [options]\n"
	"Acts as an OpenAI provider for tests. Prints `ready http=ADDR:PORT tls=ADDR:PORT "
	"unix=PATH` when it listens.\n"
	"\n"
	"  --listen ADDR:PORT      plain HTTP/1.1; port 0 chooses one (default 127.0.0.1:0 if "
	"nothing else is given)\n"
	"  --unix PATH             plain HTTP/1.1 on a unix socket\n"
	"  --tls-listen ADDR:PORT  TLS 1.2 and 1.3, with one of\n"
	"    --tls-cert F --tls-key F     PEM files\n"
	"    --tls-self-signed DIR        makes DIR/ca.pem, cert.pem, key.pem for localhost, "
	"127.0.0.1, ::1\n"
	"    --tls-tickets N              session tickets per handshake, 0..16 (default 2; 0: no "
	"resumption)\n"
	"  --require-key KEY       401 for any other credential\n"
	"  --pace-us N             microseconds between content chunks where nothing else says so "
	"(default 0)\n"
	"  --log FILE              call log, JSON lines\n"
	"  --log-headers           all request headers in the log's recv lines, credentials as "
	"their last 4 bytes\n"
	"  --calls N               log lines kept for GET /__calls (default 65536; 0 without "
	"--log: no log at all)\n"
	"  --record-bodies DIR     DIR/SEQ.head and DIR/SEQ.body of each request\n"
	"  --corpus DIR            answer with recorded exchanges: `model` names the exchange's "
	"id\n"
	"  --cut-seed S            cuts the bytes of all answers at random places, by this seed\n"
	"  --die-with-parent       end when the parent process ends\n"
	"  --behaviours            list what model names, PUT /__script and the body member "
	"\"sim\" can ask for\n"
	"  --version, --help\n";

enum {
	OPT_LISTEN = 256,
	OPT_UNIX,
	OPT_TLS_LISTEN,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TLS_SELF,
	OPT_TLS_TICKETS,
	OPT_KEY,
	OPT_PACE,
	OPT_LOG,
	OPT_LOG_HEADERS,
	OPT_CALLS,
	OPT_RECORD,
	OPT_CORPUS,
	OPT_CUT_SEED,
	OPT_DIE,
	OPT_BEHAVIOURS,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "unix", required_argument, NULL, OPT_UNIX },
	{ "tls-listen", required_argument, NULL, OPT_TLS_LISTEN },
	{ "tls-cert", required_argument, NULL, OPT_TLS_CERT },
	{ "tls-key", required_argument, NULL, OPT_TLS_KEY },
	{ "tls-self-signed", required_argument, NULL, OPT_TLS_SELF },
	{ "tls-tickets", required_argument, NULL, OPT_TLS_TICKETS },
	{ "require-key", required_argument, NULL, OPT_KEY },
	{ "pace-us", required_argument, NULL, OPT_PACE },
	{ "log", required_argument, NULL, OPT_LOG },
	{ "log-headers", no_argument, NULL, OPT_LOG_HEADERS },
	{ "calls", required_argument, NULL, OPT_CALLS },
	{ "record-bodies", required_argument, NULL, OPT_RECORD },
	{ "corpus", required_argument, NULL, OPT_CORPUS },
	{ "cut-seed", required_argument, NULL, OPT_CUT_SEED },
	{ "die-with-parent", no_argument, NULL, OPT_DIE },
	{ "behaviours", no_argument, NULL, OPT_BEHAVIOURS },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

struct args {
	struct sim_opts sim;
	struct tls_files tls;
	int64_t calls;
	bool die_with_parent;
};

static _Noreturn void wrong_usage(const char *why)
{
	fprintf(stderr, "aigw-sim: %s\n%s", why, usage);
	exit(64);
}

static int64_t number_read(const char *text, int64_t max)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || *end || end == text || v < 0 || v > max)
		wrong_usage("a number is out of range");
	return v;
}

static _Noreturn void behaviours_print(void)
{
	struct buf out = { 0 };

	behaviour_names_add(&out);
	fwrite(out.p, 1, out.len, stdout);
	buf_free(&out);
	exit(0);
}

static void option_take(struct args *a, int opt, char *value)
{
	switch (opt) {
	case OPT_LISTEN: a->sim.listen = value; break;
	case OPT_UNIX: a->sim.unix_path = value; break;
	case OPT_TLS_LISTEN: a->sim.tls_listen = value; break;
	case OPT_TLS_CERT: a->tls.cert = value; break;
	case OPT_TLS_KEY: a->tls.key = value; break;
	case OPT_TLS_SELF: a->tls.self_signed = value; break;
	case OPT_TLS_TICKETS: a->tls.tickets = (int)number_read(value, 16); break;
	case OPT_KEY: a->sim.require_key = value; break;
	case OPT_PACE: a->sim.pace_us = number_read(value, 3600000000); break;
	case OPT_LOG: a->sim.log_path = value; break;
	case OPT_LOG_HEADERS: a->sim.log_headers = true; break;
	case OPT_CALLS: a->calls = number_read(value, 16 * 1024 * 1024); break;
	case OPT_RECORD: a->sim.record_dir = value; break;
	case OPT_CORPUS: a->sim.corpus_dir = value; break;
	case OPT_CUT_SEED:
		a->sim.cut_seed = (uint64_t)number_read(value, INT64_MAX);
		a->sim.cut = true;
		break;
	case OPT_DIE: a->die_with_parent = true; break;
	case OPT_BEHAVIOURS: behaviours_print();
	case OPT_VERSION: puts("aigw-sim " AIGW_VERSION); exit(0);
	case OPT_HELP: fputs(usage, stdout); exit(0);
	default: wrong_usage("unknown option");
	}
}

static void args_read(struct args *a, int argc, char **argv)
{
	int opt;

	*a = (struct args){ .calls = CALLS_KEPT, .tls.tickets = TICKETS };
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		option_take(a, opt, optarg);
	if (optind < argc)
		wrong_usage("no arguments are expected");
	if (!a->sim.listen && !a->sim.tls_listen && !a->sim.unix_path)
		a->sim.listen = "127.0.0.1:0";
	if (!a->tls.cert != !a->tls.key || (a->tls.cert && a->tls.self_signed))
		wrong_usage("--tls-cert and --tls-key, or --tls-self-signed");
	if (!a->sim.tls_listen != !(a->tls.cert || a->tls.self_signed))
		wrong_usage("--tls-listen and a certificate go together");
}

static void process_prepare(const struct args *a)
{
	struct rlimit files;
	pid_t parent = getppid();

	(void)signal(SIGPIPE, SIG_IGN);
	if (a->die_with_parent) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			exit(0);
	}
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int sim_open(struct sim *sim, const struct args *a)
{
	int rc;

	sim->opts = a->sim;
	if (RAND_bytes((unsigned char *)&sim->boot, sizeof(sim->boot)) != 1)
		return 1;
	sim->script = script_new(a->sim.pace_us, a->sim.cut);
	rc = calllog_open(&sim->log, a->sim.log_path, (size_t)a->calls);
	if (rc) {
		fprintf(stderr, "aigw-sim: %s: %s\n", a->sim.log_path, strerror(-rc));
		return 1;
	}
	if (a->sim.record_dir && mkdir(a->sim.record_dir, 0755) < 0 && errno != EEXIST) {
		fprintf(stderr, "aigw-sim: %s: %s\n", a->sim.record_dir, strerror(errno));
		return 1;
	}
	if (a->sim.tls_listen && !(sim->tls = tls_context_new(&a->tls)))
		return 1;
	if (a->sim.corpus_dir && !(sim->corpus = corpus_open(a->sim.corpus_dir, a->sim.cut)))
		return 1;
	return 0;
}

int main(int argc, char **argv)
{
	static struct sim sim;
	struct args a;
	int rc;

	args_read(&a, argc, argv);
	process_prepare(&a);
	rc = sim_open(&sim, &a);
	if (!rc)
		rc = server_run(&sim);
	calllog_close(&sim.log);
	script_free(sim.script);
	corpus_free(sim.corpus);
	SSL_CTX_free(sim.tls);
	return rc;
}
