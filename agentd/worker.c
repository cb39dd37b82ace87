#include "worker.h"

#include "request/queue.h"
#include "stats/series.h"

#include <aigw/clock.h>
#include <aigw/log.h>
#include <sys/random.h>

struct worker {
	struct loop loop;
	struct mailbox mailbox;
	uv_async_t durable, places;
	pthread_t thread;
	struct worker_config cfg;
	struct gateway *gw;
	struct conn_set conns;
	struct listener listeners[WORKER_LISTENERS];
	bool draining, told_empty;
	struct request_env env; /* last: large */
};

struct worker_mail {
	struct mail mail;
	struct rules *rules;
	void (*done)(void *arg, int err);
	void *arg;
	usec posted_us;
	struct buf text;
};

/* --- mail
 * ----------------------------------------------------------------------------------------------------
 */

static struct worker_mail *mail_new(void (*handle)(struct mail *, void *))
{
	struct worker_mail *m = calloc(1, sizeof(*m));

	ASSERT(m); /* a few dozen bytes on a cold path; without them neither revocation nor stop
		      would get through */
	m->mail.handle = handle;
	return m;
}

static void post(struct worker *w, void (*handle)(struct mail *, void *), struct rules *rules,
	void (*done)(void *, int), void *arg)
{
	struct worker_mail *m = mail_new(handle);

	m->rules = rules;
	m->done = done;
	m->arg = arg;
	m->posted_us = clock_mono_us();
	mailbox_post(&w->mailbox, &m->mail);
}

static void finish_mail(struct mail *mail, int err)
{
	struct worker_mail *m = container_of(mail, struct worker_mail, mail);

	if (m->done)
		m->done(m->arg, err);
	rules_unref(m->rules);
	buf_fini(&m->text);
	free(m);
}

static void on_rules(struct mail *mail, void *owner)
{
	struct worker_mail *m = container_of(mail, struct worker_mail, mail);
	struct worker *w = owner;
	struct worker_rules *fresh;
	int err = worker_rules_new(m->rules, w->env.rules, &w->loop, w->env.stats, &fresh);

	if (!err) {
		worker_rules_unref(w->env.rules);
		w->env.rules = fresh;
	} else {
		log_event(LOG_ERROR, "policy", "policy.out_of_memory", "worker=%u", w->cfg.index);
	}
	finish_mail(mail, err);
}

static void on_keys(struct mail *mail, void *owner)
{
	/* Verdicts carry their sequence and look-ups read the store, so there is nothing to change:
	 * that this mail is handled proves that every request identified before has been. */
	(void)owner;
	finish_mail(mail, 0);
}

static void on_ping(struct mail *mail, void *owner)
{
	struct worker_mail *m = container_of(mail, struct worker_mail, mail);
	struct worker *w = owner;

	buckets_add(series_own(stats_block_series(w->env.stats), SERIES_loop_lag),
		&series_own_bounds[SERIES_loop_lag], clock_mono_us() - m->posted_us);
	finish_mail(mail, 0); /* that it is handled is the answer */
}

static void on_metrics(struct mail *mail, void *owner)
{
	struct worker_mail *m = container_of(mail, struct worker_mail, mail);
	struct worker *w = owner;

	requests_metrics(&w->env, buf_view(&m->text), m->text.err);
	finish_mail(mail, 0);
}

static void tell_if_empty(struct worker *w)
{
	if (!w->draining || w->told_empty || w->conns.n_conns || w->env.n_live)
		return;
	w->told_empty = true;
	w->cfg.empty(w->cfg.index, w->cfg.owner);
}

static void on_drain(struct mail *mail, void *owner)
{
	struct worker *w = owner;

	w->draining = true;
	for (size_t i = 0; i < WORKER_LISTENERS; i++)
		listener_close(&w->listeners[i]);
	conn_set_drain(&w->conns);
	tell_if_empty(w);
	finish_mail(mail, 0);
}

static void on_end_all(struct mail *mail, void *owner)
{
	struct worker *w = owner;

	requests_end_all(&w->env);
	finish_mail(mail, 0);
}

/* Connections go, then requests (their records are settled), then pools; the loop ends by itself
 * when nothing is left. */
static void on_stop(struct mail *mail, void *owner)
{
	struct worker *w = owner;

	for (size_t i = 0; i < WORKER_LISTENERS; i++)
		listener_close(&w->listeners[i]);
	requests_end_all(&w->env);
	conn_set_close_all(&w->conns);
	body_cache_close(&w->env);
	worker_rules_unref(w->env.rules);
	w->env.rules = NULL;
	uv_unref((uv_handle_t *)&w->durable); /* the committer may still ring */
	uv_unref((uv_handle_t *)&w->places);  /* and other workers */
	finish_mail(mail, 0);
	mailbox_close(&w->mailbox);
}

void worker_post_rules(
	struct worker *w, struct rules *rules, void (*done)(void *arg, int err), void *arg)
{
	post(w, on_rules, rules_ref(rules), done, arg);
}

void worker_post_keys(struct worker *w, void (*done)(void *arg, int err), void *arg)
{
	post(w, on_keys, NULL, done, arg);
}

void worker_post_ping(struct worker *w, void (*done)(void *arg, int err), void *arg)
{
	post(w, on_ping, NULL, done, arg);
}

void worker_post_metrics(struct worker *w, struct buf *text)
{
	struct worker_mail *m = mail_new(on_metrics);

	m->text = *text;
	buf_init(text, 0);
	mailbox_post(&w->mailbox, &m->mail);
}

void worker_post_drain(struct worker *w)
{
	post(w, on_drain, NULL, NULL, NULL);
}

void worker_post_end_all(struct worker *w)
{
	post(w, on_end_all, NULL, NULL, NULL);
}

void worker_wake_durable(struct worker *w)
{
	(void)uv_async_send(&w->durable);
}

void worker_wake_queue(struct worker *w)
{
	(void)uv_async_send(&w->places);
}

/* --- life
 * ----------------------------------------------------------------------------------------------------
 */

static void on_durable(uv_async_t *a)
{
	struct worker *w = container_of(a, struct worker, durable);

	requests_durable(&w->env, committer_durable(w->gw->committer, w->cfg.index));
}

static void on_places(uv_async_t *a)
{
	queue_woken(&container_of(a, struct worker, places)->env);
}

static void on_conns_emptied(struct conn_set *s)
{
	tell_if_empty(container_of(s, struct worker, conns));
}

static void on_requests_emptied(struct request_env *env)
{
	tell_if_empty(container_of(env, struct worker, env));
}

static void on_ask_metrics(struct request_env *env)
{
	struct worker *w = container_of(env, struct worker, env);

	w->cfg.ask_metrics(w->cfg.index, w->cfg.owner);
}

static void on_wake_queue(struct request_env *env, unsigned worker)
{
	struct worker *w = container_of(env, struct worker, env);

	w->cfg.wake_queue(worker, w->cfg.owner);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	(void)loop_run(&w->loop);
	return NULL;
}

static int start_listeners(struct worker *w)
{
	int err = 0;

	if (w->cfg.tcp_fd >= 0)
		err = listener_start(&w->listeners[0], &w->loop, w->cfg.tcp_fd, false, &w->conns);
	if (!err && w->cfg.unix_fd >= 0)
		err = listener_start(&w->listeners[1], &w->loop, w->cfg.unix_fd, true, &w->conns);
	return err;
}

int worker_start(
	const struct worker_config *c, struct rules *rules, struct worker **ret, struct errbuf *e)
{
	struct worker *w = calloc(1, sizeof(*w));
	char name[16];
	int err;

	if (!w)
		return err_set(e, -ENOMEM, "out of memory");
	w->cfg = *c;
	w->gw = c->gw;
	err = loop_init(&w->loop, w);
	if (err) {
		free(w);
		return err_set(e, err, "worker: %s", uv_strerror(err));
	}
	request_env_init(&w->env, &w->loop, c->gw, c->index);
	w->env.stats = stats_worker(c->gw->stats, c->index);
	w->env.emptied = on_requests_emptied;
	w->env.ask_metrics = on_ask_metrics;
	w->env.wake_queue = on_wake_queue;
	conn_set_init(&w->conns, &w->env);
	w->conns.emptied = on_conns_emptied;
	if (getrandom(&w->env.op_prefix, sizeof(w->env.op_prefix), 0) != sizeof(w->env.op_prefix))
		err = -EIO;
	if (!err)
		err = keyset_reader_new(c->gw->keyset, &w->env.keys, e);
	if (!err)
		err = mailbox_init(&w->mailbox, &w->loop);
	if (!err)
		err = uv_async_init(&w->loop.uv, &w->durable, on_durable);
	if (!err)
		err = uv_async_init(&w->loop.uv, &w->places, on_places);
	if (!err && rules)
		err = worker_rules_new(rules, NULL, &w->loop, w->env.stats, &w->env.rules);
	if (!err)
		err = start_listeners(w);
	*ret = w; /* before it serves: the committer may want to wake it at once */
	if (!err)
		err = -pthread_create(&w->thread, NULL, run, w);
	if (err) /* at start only: the program ends, so the rest goes with it */
		return err_set(e, err, "worker %u can't start: %s", c->index, strerror(-err));
	(void)snprintf(name, sizeof(name), "worker-%u", c->index);
	(void)pthread_setname_np(w->thread, name);
	return 0;
}

void worker_stop(struct worker *w)
{
	post(w, on_stop, NULL, NULL, NULL);
	(void)pthread_join(w->thread, NULL);
}

void worker_free(struct worker *w)
{
	uv_close((uv_handle_t *)&w->durable, NULL);
	uv_close((uv_handle_t *)&w->places, NULL);
	request_env_fini(&w->env);
	loop_fini(&w->loop);
	(void)pthread_mutex_destroy(&w->mailbox.lock);
	free(w);
}
