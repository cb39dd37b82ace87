/* `aigwctl demo`: the whole gateway in one folder, for as long as this program runs. demo.c has the
 * order of things, demo_home.c the folder and what is written into it, demo_child.c the programs,
 * demo_call.c the calls, demo_test.c the self test. One thread; signals wait in `signals`, so that
 * whatever comes, the end is the same: children stopped by pid in reverse order, mount gone, folder
 * gone. */
#ifndef AIGWCTL_DEMO_H
#define AIGWCTL_DEMO_H

#include "cli.h"
#include "exchange.h"
#include "interrupt.h"

#include <aigw/buf.h>
#include <aigw/secret.h>

#define DEMO_START_US                                                                              \
	(30 * USEC_PER_S) /* for each thing that has to come up; sanitizers are slow */
#define DEMO_MODEL          "gpt-4o-mini"
#define DEMO_ALIAS          "small"
#define DEMO_CUSTOMER       "demo-customer"
#define DEMO_KEY_PROJECT    "search"      /* pays for the key */
#define DEMO_SOCKET_PROJECT "support-bot" /* pays for our own uid on the unix socket */

/* Price of the simulated provider, in 10^-9 USD per token. */
#define DEMO_NANO_INPUT  150
#define DEMO_NANO_CACHED 75
#define DEMO_NANO_OUTPUT 600

enum demo_program { DEMO_SIM, DEMO_CTLD, DEMO_AGENTD, DEMO_PROGRAMS };

struct demo_child {
	pid_t pid; /* 0: not running */
	int out;   /* read end of its stdout; -1: goes to the log too */
};

/* What the calls that were made should add up to. */
struct demo_sum {
	int64_t requests, input_tokens, cached_tokens, output_tokens;
};

struct demo {
	const struct cli *c;
	struct cli api; /* the same for the demo's own controller */
	struct interrupt signals;
	bool openai, selftest, keep;
	bool stopping;
	int signal;        /* that ended it; 0: none */
	uint64_t requests; /* sample calls */
	uint16_t port, sim_port;
	const char *no_mount; /* why there is no mount; NULL: there is one */
	char dir[81];         /* short enough for socket paths; "": not made */
	char admin_socket[108];
	struct demo_child child[DEMO_PROGRAMS];
	struct secret credential; /* of the real provider */
	struct secret key;        /* the demo's own */
	struct demo_sum sum;
};

/* All functions that can fail return an exit code and have said why. */

/* demo_home.c */
int demo_home_make(struct demo *d);
void demo_home_remove(
	struct demo *d); /* and what is left of the mount; says what it can't remove */
int demo_port_choose(struct demo *d);
int demo_config_write(struct demo *d);
int demo_policy_text(const struct demo *d, struct buf *b);
const char *demo_path(const struct demo *d, const char *name, char out[static 108]);

/* demo_child.c */
int demo_child_start(struct demo *d, enum demo_program p);
int demo_sim_wait(struct demo *d);
void demo_children_stop(struct demo *d);
/* Until fd is readable, or `us` are over: EXIT_DONE (*ret_timeout says which). A child's death or a
 * signal: an exit code; while the children are being stopped a death is EXIT_DONE. */
int demo_wait(struct demo *d, int fd, usec us, bool *ret_timeout);

/* demo_call.c */
enum demo_call_kind { DEMO_PLAIN, DEMO_STREAM, DEMO_TOOL, DEMO_CALL_KINDS };
extern const char *const demo_call_names[DEMO_CALL_KINDS];
/* One call, its answer checked and added to the sum; over TCP with the key, or on the socket
 * without. */
int demo_call(struct demo *d, enum demo_call_kind kind, bool by_socket);
int demo_get(struct demo *d, const char *path,
	unsigned *ret_status); /* over TCP; status 0: nobody there yet */

/* demo_test.c */
int demo_selftest(struct demo *d);

#endif
