/* Drains: those of this host's control socket and the controller's, each kept in a file of
 * STATE_DIR over a restart, put on every target that one of them holds. A target's word is an
 * atomic that any worker sees with its next call; calls under way go on. */
#include "agent_private.h"

#include <aigw/atomic_file.h>
#include <aigw/clock.h>
#include <aigw/log.h>

#define DRAINS_FILE_BYTES ((size_t)256 << 10)

static usec last_of(const struct drains *all, const struct policy_doc *d, uint32_t model,
	const struct policy_target *t)
{
	usec until = 0;

	for (uint32_t i = 0; i < all->n; i++)
		if (drain_holds(&all->v[i], d->models[model].name, d->providers[t->provider].name,
			    t->model))
			until = MAX(until, all->v[i].until_us);
	return until;
}

/* When the last drain that holds it is over, monotonic; 0: none does. */
static usec drained_until(const struct agent *a, const struct policy *p, uint32_t model,
	const struct policy_target *t)
{
	const struct policy_doc *d = p->doc;
	usec wall = clock_wall_us();
	usec until = MAX(last_of(&a->drains, d, model, t), last_of(&a->their_drains, d, model, t));

	return until > wall ? clock_mono_us() + (until - wall) : 0;
}

void agent_put_drains(struct agent *a, const struct policy *p)
{
	const struct policy_doc *d = p->doc;

	for (uint32_t m = 0; m < d->n_models; m++)
		for (uint32_t i = 0; i < d->models[m].n_targets; i++) {
			const struct policy_target *t = &d->models[m].targets[i];
			usec until = drained_until(a, p, m, t);
			uint32_t place = p->drain_place[t - d->targets];

			if (!place && until)
				log_event(LOG_ERROR, "route", "drain.no_place",
					"provider=" SLICE_FMT " model=" SLICE_FMT,
					SLICE_ARG(d->providers[t->provider].name),
					SLICE_ARG(t->model));
			health_drain(a->gw.health, place, until);
		}
}

/* --- on the disk ---------------------------------------------------------------------- */

struct drains_job {
	struct committer_job job;
	const char *state_dir, *file;
	struct buf text;
};

static const char own_file[] = "drains", their_file[] = "drains.controller";

static bool path_of(const char *state_dir, const char *file, char path[static 4096])
{
	int n = snprintf(path, 4096, "%s/%s", state_dir, file);

	return n > 0 && n < 4096;
}

static void on_write(struct committer_job *j, struct spool *s)
{
	struct drains_job *w = container_of(j, struct drains_job, job);
	char path[4096];
	struct errbuf e;

	(void)s;
	if (!path_of(w->state_dir, w->file, path))
		(void)err_set(&e, -ENAMETOOLONG, "state_dir is too long");
	else if (atomic_file_write(path, 0600, buf_view(&w->text), &e) == 0)
		e.text[0] = '\0';
	if (e.text[0])
		log_event(LOG_ERROR, "route", "drain.not_kept", "why=%s",
			log_quote(slice_str(e.text)));
	buf_fini(&w->text);
	free(w);
}

static void keep(struct agent *a, const char *file, const struct drains *all)
{
	struct drains_job *w = calloc(1, sizeof(*w));

	if (w)
		buf_init(&w->text, DRAINS_FILE_BYTES);
	if (!w || drains_format(&w->text, all)) {
		log_event(LOG_ERROR, "route", "drain.not_kept", "why=\"out of memory\"");
		if (w)
			buf_fini(&w->text);
		free(w);
		return;
	}
	w->job.run = on_write;
	w->state_dir = a->cfg.state_dir;
	w->file = file;
	committer_do(a->gw.committer, &w->job);
}

static void load(struct agent *a, const char *file, struct drains *all)
{
	char path[4096];
	struct errbuf e;
	struct buf text;
	int r;

	if (!path_of(a->cfg.state_dir, file, path))
		return;
	buf_init(&text, DRAINS_FILE_BYTES);
	r = file_read(path, &text, &e);
	if (r == 0)
		drains_parse(buf_view(&text), all);
	else if (r != -ENOENT)
		log_event(LOG_ERROR, "route", "drain.not_kept", "why=%s",
			log_quote(slice_str(e.text)));
	buf_fini(&text);
	drains_prune(all, clock_wall_us());
}

void agent_load_drains(struct agent *a)
{
	load(a, own_file, &a->drains);
	load(a, their_file, &a->their_drains);
	if (a->rules)
		agent_put_drains(a, a->rules->policy);
}

/* --- from the controller -------------------------------------------------------------- */

void agent_take_drains(uint64_t version, const struct slice *lines, uint32_t n, void *owner)
{
	struct agent *a = owner;
	struct drain d;
	bool fresh;

	a->their_drains.n = 0;
	for (uint32_t i = 0; i < n; i++)
		if (drain_parse(lines[i], &d) == 0)
			(void)drains_set(&a->their_drains, &d, &fresh);
	drains_prune(&a->their_drains, clock_wall_us());
	if (a->rules)
		agent_put_drains(a, a->rules->policy);
	keep(a, their_file, &a->their_drains);
	if (a->uplink)
		uplink_drains_ack(a->uplink, version);
}

/* --- from the control socket ---------------------------------------------------------- */

/* Targets of the policy in force that it holds. */
static uint32_t count_held(const struct policy *p, const struct drain *dr)
{
	const struct policy_doc *d = p->doc;
	uint32_t n = 0;

	for (uint32_t m = 0; m < d->n_models; m++)
		for (uint32_t i = 0; i < d->models[m].n_targets; i++) {
			const struct policy_target *t = &d->models[m].targets[i];

			n += drain_holds(
				dr, d->models[m].name, d->providers[t->provider].name, t->model);
		}
	return n;
}

/* An alias is the model's own name to whoever types it. */
static void resolve(const struct policy *p, struct drain *d)
{
	int m = d->kind == DRAIN_provider ? -1 : policy_model(p, slice_str(d->name));

	if (m >= 0)
		(void)snprintf(
			d->name, sizeof(d->name), SLICE_FMT, SLICE_ARG(p->doc->models[m].name));
}

int agent_set_drain(
	struct drain *d, bool on, bool *ret_changed, uint32_t by, struct errbuf *e, void *owner)
{
	struct agent *a = owner;
	bool changed = false;
	int r = 0;

	drains_prune(&a->drains, clock_wall_us());
	if (a->rules)
		resolve(a->rules->policy, d);
	if (on && (!a->rules || !count_held(a->rules->policy, d)))
		return err_set(e, -ENOENT, "the policy of this agent has no %s %s%s%s",
			drain_kind_name(d->kind), d->name, d->target[0] ? " with " : "", d->target);
	if (on)
		r = drains_set(&a->drains, d, &changed);
	else
		changed = drains_remove(&a->drains, d);
	if (r)
		return err_set(e, r, "%d drains are set already; take some back", DRAINS_MAX);
	if (a->rules)
		agent_put_drains(a, a->rules->policy);
	if (on || changed) {
		keep(a, own_file, &a->drains);
		log_event(LOG_INFO, "route", on ? "drain.set" : "drain.resumed",
			"kind=%s name=%s target=%s uid=%" PRIu32 " for_s=%" PRId64,
			drain_kind_name(d->kind), d->name, d->target[0] ? d->target : "-", by,
			on ? (d->until_us - clock_wall_us()) / USEC_PER_S : 0);
	}
	*ret_changed = changed;
	return 0;
}

const struct drains *agent_drains(void *owner)
{
	struct agent *a = owner;

	drains_prune(&a->drains, clock_wall_us());
	return &a->drains;
}
