/* Operators' drains over the control socket: {"provider": P} or {"model": M} or {"model": M,
 * "target": "P/M"}; with them "for_s". */
#include "control/private.h"

#include <aigw/clock.h>

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
	wrong = drain_make(&d, json_get_str(body, "provider", NULL),
		json_get_str(body, "model", NULL), json_get_str(body, "target", NULL),
		json_get_int(body, "for_s", DRAIN_PRESET_US / USEC_PER_S), clock_wall_us());
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
