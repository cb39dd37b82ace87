/* One worker: a thread with its loop, listeners, connections, requests, pools and counters. Shares
 * with others only what is immutable (rules) or atomic (gateway); all else comes as mail. */
#ifndef AGENTD_WORKER_H
#define AGENTD_WORKER_H

#include "front/listener.h"

#include <aigw/mailbox.h>

#define WORKER_LISTENERS 2

struct worker_config {
	unsigned index;
	struct gateway *gw;
	int tcp_fd, unix_fd; /* -1: none */
	/* Worker's thread; must only post. */
	void (*empty)(unsigned worker, void *owner);       /* draining, and nobody is left */
	void (*ask_metrics)(unsigned worker, void *owner); /* worker_post_metrics() answers */
	void (*wake_queue)(unsigned worker, void *owner);  /* worker_wake_queue(), of another one */
	void *owner;
};

struct worker;

int worker_start(
	const struct worker_config *c, struct rules *rules, struct worker **ret, struct errbuf *e);

/* Any thread. `done` is called on the worker's thread when the worker has switched, or with -ENOMEM
 * when it stays with what it has; it must only post. */
void worker_post_rules(struct worker *w, struct rules *rules, void (*done)(void *arg, int err),
	void *arg); /* takes a reference */
void worker_post_keys(struct worker *w, void (*done)(void *arg, int err),
	void *arg); /* key verdicts of older sequences are not used from here on */
/* Whether its loop turns; how long it took goes to the metrics. `done` may be NULL. */
void worker_post_ping(struct worker *w, void (*done)(void *arg, int err), void *arg);
void worker_post_metrics(struct worker *w, struct buf *text); /* takes what is in the buf */
void worker_post_drain(struct worker *w);
void worker_post_end_all(struct worker *w); /* the drain's time is over */
void worker_wake_durable(struct worker *w); /* committer: the watermark moved */
void worker_wake_queue(struct worker *w);   /* a place at a provider was given back */

void worker_stop(
	struct worker *w); /* closes what is left and joins; worker_wake_durable() stays allowed */
void worker_free(struct worker *w); /* after the committer has ended */

#endif
