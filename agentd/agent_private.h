/* The agent between its files: life and signals (agent.c), start of its parts (agent_start.c), what
 * is in force and who has confirmed it (agent_rules.c), what the uplink asks and tells
 * (agent_link.c), the mount (agent_mount.c), the control socket (agent_control.c), probes by hand
 * (agent_probe.c), systemd (agent_service.c). Only for these files; control loop's thread, unless
 * it says otherwise. */
#ifndef AGENTD_AGENT_PRIVATE_H
#define AGENTD_AGENT_PRIVATE_H

#include "account/uplink.h"
#include "agent.h"
#include "builder.h"
#include "control/control.h"
#include "probe/prober.h"
#include "statfs/statfs.h"
#include "worker.h"

#include <aigw/sd.h>

/* Where a helper hands over the descriptor of a mount that it has made (agent_mount.c). */
struct mount_door {
	uv_poll_t listener, poll;
	struct deadline patience;
	int fd, visitor_fd; /* -1: none */
};

struct agent {
	struct loop loop;
	struct mailbox mailbox;
	uv_signal_t signals[3];
	struct deadline drain;   /* its end, then that of the grace behind it */
	const char *config_path; /* borrowed from the command line */
	bool config_may_miss;
	struct arena config_memory; /* of cfg */
	struct agent_config cfg;
	char host[64];
	char agent_id[64]; /* configured, else the host's name */
	struct gateway gw;
	struct builder builder;
	struct proxy proxy;          /* slices of cfg's first reading, which stays */
	struct rules *rules;         /* in force, control loop's reference */
	pthread_mutex_t policy_lock; /* guards shown_policy: lent to the statfs thread; no worker
					takes it */
	struct policy *shown_policy;
	struct uplink *uplink;
	struct stat_tree *tree;
	struct stat_mount *mount;
	struct drains drains, their_drains; /* of this host's control socket; the controller's */
	struct prober prober;               /* active probes */
	struct control *local;              /* control.sock; NULL: off, or it could not be opened */
	struct line_ring *events;           /* lines of the log */
	struct mount_door door;
	struct sd sd;
	struct deadline watchdog;
	struct deadline pulse; /* asks each worker how late it is, while there is traffic */
	int64_t pulse_requests;
	_Atomic unsigned unanswered; /* workers that have not answered the last question */
	bool stuck;                  /* and it has been logged */
	struct worker **workers;
	unsigned n_workers;
	uint32_t most_connections; /* that the descriptors suffice for, to both sides together */
	unsigned n_empty;          /* workers that have told so while draining */
	int tcp_fd, unix_fd;       /* -1: off */
	bool activated;            /* they are the service manager's, who keeps them */
	usec start_wall_us, start_mono_us;
	_Atomic int control;          /* enum uplink_state, for statfs */
	_Atomic bool policy_is_fresh; /* the controller's, of this run */
	_Atomic uint64_t policies_refused;
	struct deadline request_lines; /* looks for calls to be logged, if asked for */
	uint64_t request_lines_at;     /* number in gw.calls */
	bool draining;                 /* on the way out: nothing takes it back */
	bool ended_all;                /* the drain is over: requests were ended in-band */
	bool workers_gone; /* what still comes back from the committer has nobody to go to */
	bool uplink_closed;
};

/* --- agent.c --- */
void agent_take_settings(struct agent *a); /* those of a->cfg that may change while it runs */
void agent_on_signal(uv_signal_t *s, int number);
void agent_on_drain_end(struct deadline *d);
void agent_on_worker_empty(unsigned worker, void *owner); /* worker's thread */

/* --- agent_start.c --- */
int agent_start(
	struct agent *a, struct errbuf *e); /* everything, in order; on failure the program ends */

/* --- agent_service.c --- */
int agent_open_sockets(struct agent *a, struct errbuf *e);
void agent_close_sockets(struct agent *a); /* ours: the workers have closed, or are going to close,
					      their own */
void agent_start_service(struct agent *a); /* last: tells that it serves, feeds the watchdog */
void agent_tell_ready(struct agent *a);
void agent_start_pulse(struct agent *a);
void agent_stop_service(struct agent *a);                /* asks the workers nothing more */
void agent_on_ask_metrics(unsigned worker, void *owner); /* worker's thread */

/* --- agent_mount.c --- */
void agent_start_mount(struct agent *a); /* without it the agent goes on, and has said why */
void agent_stop_mount(struct agent *a);
int agent_make_tree(struct agent *a, struct errbuf *e); /* what mount and control socket show */

/* --- agent_control.c --- */
int agent_keep_events(struct agent *a, struct errbuf *e); /* before any thread: from here on what is
							     logged is kept */
void agent_start_control(struct agent *a); /* without it the agent goes on, and has said why */
void agent_stop_control(struct agent *a);
void agent_stop_request_lines(struct agent *a); /* after the workers */

/* --- agent_drains.c --- */
void agent_load_drains(struct agent *a);                        /* at start, before the workers */
void agent_put_drains(struct agent *a, const struct policy *p); /* before workers see p */
/* For the control socket; `by` is a user id. -ENOENT: the policy has none such. -ENOSPC. */
int agent_set_drain(
	struct drain *d, bool on, bool *ret_changed, uint32_t by, struct errbuf *e, void *owner);
const struct drains *agent_drains(void *owner);
void agent_take_drains(uint64_t version, const struct slice *lines, uint32_t n,
	void *owner); /* the controller's */

/* --- agent_route.c --- */
json_t *agent_route(
	const struct control_route *asked, void *owner, enum admin_error *code, struct errbuf *why);

/* --- agent_probe.c --- */
void *agent_test(const struct control_test *q, void (*done)(json_t *v, void *arg), void *arg,
	void *owner, enum admin_error *code, struct errbuf *why);
void agent_test_stop(void *handle);

/* --- agent_rules.c --- */
int agent_start_rules(struct agent *a,
	struct errbuf *e); /* credentials, and the policy of the cache if there is one */
struct policy *agent_shown_policy(struct agent *a); /* a reference, NULL: none yet; any thread */
const char *agent_secret_source(struct agent *a, struct slice name,
	uint64_t *ret_version); /* in force; ret_version may be NULL */

/* --- agent_link.c --- */
int agent_start_link(struct agent *a, struct errbuf *e);
void agent_on_committed(uint64_t last_seq, void *owner); /* committer's thread */

#endif
