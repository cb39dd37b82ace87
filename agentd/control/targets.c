/* Operators' drains over the control socket. */
#include "control/private.h"

#include <aigw/clock.h>

/* A word of the body, as far as it fits; false: it is not one. */
static bool take_name(const json_t *body, const char *member, char *to, size_t cap)
{
	const char *s = json_get_str(body, member, NULL);
	size_t n = s ? strlen(s) : 0;

	if (!n || n >= cap || strpbrk(s, " \n"))
		return false;
	memcpy(to, s, n + 1);
	return true;
}

/* {"provider": P} or {"model": M} or {"model": M, "target": "P/M"}; with them "for_us". */
static const char *read_drain(const json_t *body, struct drain *d)
{
	int64_t for_us = json_get_int(body, "for_us", DRAIN_PRESET_US);
	bool provider = json_object_get(body, "provider") != NULL;

	*d = (struct drain){ .kind = DRAIN_provider };
	if (provider == (json_object_get(body, "model") != NULL))
		return "the body has to name a provider, or a model";
	if (!take_name(body, provider ? "provider" : "model", d->name, sizeof(d->name)))
		return "a name has 1 to 127 characters without spaces";
	if (!provider) {
		d->kind = json_object_get(body, "target") ? DRAIN_target : DRAIN_model;
		if (d->kind == DRAIN_target &&
			(!take_name(body, "target", d->target, sizeof(d->target)) ||
				!strchr(d->target, '/')))
			return "a target is PROVIDER/MODEL, as `model targets` lists them";
	} else if (json_object_get(body, "target")) {
		return "a target is one of a model's; name the model";
	}
	if (for_us < USEC_PER_S || for_us > DRAIN_MAX_US)
		return "a drain lasts from 1 s to 30 days";
	d->until_us = clock_wall_us() + for_us;
	return NULL;
}

static json_t *show_drain(const struct drain *d)
{
	json_t *v = json_pack("{s:s, s:o, s:I, s:I}", "kind", drain_kind_name(d->kind), "name",
		json_slice(slice_str(d->name)), "until", (json_int_t)(d->until_us / USEC_PER_S),
		"left_s", (json_int_t)((d->until_us - clock_wall_us()) / USEC_PER_S));

	if (v && d->kind == DRAIN_target)
		(void)json_object_set_new(v, "target", json_slice(slice_str(d->target)));
	return v;
}

static void change(struct control *c, struct http_exchange *x, bool on)
{
	struct errbuf e;
	JSON_AUTO *body = json_parse(http_body(x), &e);
	const char *wrong;
	struct drain d;
	bool changed;
	json_t *v;
	int r;

	if (!json_is_object(body)) {
		control_error(x, ADMIN_ERROR_usage, "the body has to be a JSON object");
		return;
	}
	wrong = read_drain(body, &d);
	if (wrong) {
		control_error(x, ADMIN_ERROR_usage, "%s", wrong);
		return;
	}
	r = c->cfg.set_drain(&d, on, &changed, http_peer_of(x).uid, &e, c->cfg.owner);
	if (r) {
		control_error(x, r == -ENOENT ? ADMIN_ERROR_not_found : ADMIN_ERROR_conflict, "%s",
			e.text);
		return;
	}
	v = show_drain(&d);
	if (v)
		(void)json_object_set_new(v, "changed", json_boolean(changed));
	control_answer(x, 200, v);
}

void targets_drain(struct control *c, struct http_exchange *x)
{
	change(c, x, true);
}

void targets_resume(struct control *c, struct http_exchange *x)
{
	change(c, x, false);
}

void targets_drained(struct control *c, struct http_exchange *x)
{
	const struct drains *all = c->cfg.drains(c->cfg.owner);
	json_t *list = json_array();

	for (uint32_t i = 0; i < all->n; i++)
		(void)json_array_append_new(list, show_drain(&all->v[i]));
	control_answer(x, 200, list);
}
