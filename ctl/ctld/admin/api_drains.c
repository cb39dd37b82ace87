/* Operators' drains for every agent: kept in the store, pushed over the feed, in no revision. */
#include "admin/api.h"
#include "admin/audit.h"
#include "ctld.h"

#include <aigw/clock.h>

static json_t *drain_json(const struct drain *d)
{
	json_t *v = json_pack("{s:s, s:o, s:o}", "kind", drain_kind_name(d->kind), "name",
		json_slice(slice_str(d->name)), "until", api_time(d->until_us));

	if (v)
		(void)json_object_set_new(
			v, "target", d->target[0] ? json_slice(slice_str(d->target)) : json_null());
	return v;
}

void api_drains_list(struct api_request *q)
{
	struct feed *f = &q->ctld->feed;
	json_t *list = json_array();

	drains_prune(&f->drains, clock_wall_us());
	for (uint32_t i = 0; i < f->drains.n; i++)
		(void)json_array_append_new(list, drain_json(&f->drains.v[i]));
	api_answer(q->x, 200, json_pack("{s:o}", "drains", list));
}

struct put_run {
	const char *by;
	const struct drain *drain;
	struct buf lines;
	uint64_t version;
	bool on;
};

static int put_write(struct store_txn *t, void *arg)
{
	struct put_run *run = arg;
	int r = store_drains_put(t, buf_view(&run->lines), &run->version);

	return r < 0 ? r
		     : audit_add(t, run->by, run->on ? "drain.set" : "drain.resumed",
			       slice_str(run->drain->name), "kind=%s target=%s",
			       drain_kind_name(run->drain->kind),
			       run->drain->target[0] ? run->drain->target : "-");
}

static const char *drain_state(const struct agent *a, const struct api_wait *w)
{
	return feed_drains_state(a, w->number);
}

/* Models are drained by their own names, whatever alias was typed. */
static bool is_known(const struct policy_doc *d, struct drain *dr)
{
	uint32_t held = 0;

	for (uint32_t m = 0; m < d->n_models && dr->kind != DRAIN_provider; m++)
		for (uint32_t i = 0; i < d->models[m].n_aliases; i++)
			if (slice_eq(d->models[m].aliases[i], slice_str(dr->name)))
				(void)snprintf(dr->name, sizeof(dr->name), SLICE_FMT,
					SLICE_ARG(d->models[m].name));
	for (uint32_t m = 0; m < d->n_models; m++)
		for (uint32_t i = 0; i < d->models[m].n_targets; i++) {
			const struct policy_target *t = &d->models[m].targets[i];

			held += drain_holds(
				dr, d->models[m].name, d->providers[t->provider].name, t->model);
		}
	return held > 0;
}

/* The list as it is to be. False: answered. */
static bool make_list(
	struct api_request *q, struct drain *d, bool on, struct drains *to, bool *ret_changed)
{
	struct feed *f = &q->ctld->feed;
	bool known = f->policy && is_known(f->policy->doc, d);

	drains_prune(&f->drains, clock_wall_us());
	*to = f->drains;
	if (on && !known) {
		api_error(q->x, ADMIN_ERROR_not_found, "the running policy has no %s %s%s%s",
			drain_kind_name(d->kind), d->name, d->target[0] ? " with " : "", d->target);
		return false;
	}
	if (!on) {
		*ret_changed = drains_remove(to, d);
		return true;
	}
	if (drains_set(to, d, ret_changed)) {
		api_error(q->x, ADMIN_ERROR_conflict, "%d drains are set already; take some back",
			DRAINS_MAX);
		return false;
	}
	return true;
}

static void change(struct api_request *q, bool on)
{
	static struct drains to; /* of the loop's thread; too large for its stack */
	struct put_run run = { .by = q->by, .on = on };
	struct drain d;
	const char *wrong = drain_make(&d, json_get_str(q->body, "provider", NULL),
		json_get_str(q->body, "model", NULL), json_get_str(q->body, "target", NULL),
		json_get_int(q->body, "for_s", DRAIN_PRESET_US / USEC_PER_S), clock_wall_us());
	usec timeout;
	bool changed;
	json_t *v;
	int r;

	if (wrong) {
		api_error(q->x, ADMIN_ERROR_usage, "%s", wrong);
		return;
	}
	if (!api_timeout(q, &timeout) || !make_list(q, &d, on, &to, &changed))
		return;
	run.drain = &d;
	buf_init(&run.lines, 1u << 20);
	r = drains_format(&run.lines, &to);
	if (r == 0)
		r = store_write(q->ctld->store, 256u << 10, put_write, &run);
	buf_fini(&run.lines);
	if (r < 0) {
		api_store_error(q->x, r);
		return;
	}
	log_event(LOG_INFO, "admin", on ? "drain.set" : "drain.resumed",
		"by=%s kind=%s name=%s target=%s", log_quote(slice_str(q->by)),
		drain_kind_name(d.kind), d.name, d.target[0] ? d.target : "-");
	feed_drains(&q->ctld->feed, &to, run.version);
	v = drain_json(&d);
	if (v)
		(void)json_object_set_new(v, "changed", json_boolean(changed));
	api_wait_agents(q, 200, v, drain_state, run.version, NULL, timeout);
}

void api_drain_set(struct api_request *q)
{
	change(q, true);
}

void api_drain_resume(struct api_request *q)
{
	change(q, false);
}
