/* An operator's drain: a provider, a model or one of a model's targets gets no calls until a time.
 * It stands in no revision. Its text is one line: KIND UNTIL NAME [PROVIDER/MODEL]. Pure; any
 * thread. */
#ifndef AIGW_DRAIN_H
#define AIGW_DRAIN_H

#include <aigw/buf.h>

#define DRAIN_PRESET_US (3600 * USEC_PER_S)
#define DRAIN_MAX_US    (30 * 24 * 3600 * USEC_PER_S)
#define DRAINS_MAX      256 /* at once, of one source */

enum drain_kind { DRAIN_provider, DRAIN_model, DRAIN_target };

struct drain {
	enum drain_kind kind;
	char name[128];   /* of the provider, else of the model */
	char target[256]; /* DRAIN_target: PROVIDER/MODEL */
	usec until_us;    /* wall */
};

/* As an operator says it: a provider, or a model, or a model and one target of it; NULL where it is
 * not named. NULL: done; else what is wrong. */
const char *drain_make(struct drain *ret, const char *provider, const char *model,
	const char *target, int64_t for_s, usec wall_us);
const char *drain_kind_name(enum drain_kind k);
bool drain_is_same(const struct drain *a, const struct drain *b); /* whatever their times */
/* Whether it holds this target of this model. */
bool drain_holds(
	const struct drain *d, struct slice model, struct slice provider, struct slice target);
int drain_format(struct buf *b, const struct drain *d); /* without a line's end */
int drain_parse(struct slice line, struct drain *ret);  /* -EINVAL */

/* A list of them, in no order. */
struct drains {
	struct drain v[DRAINS_MAX];
	uint32_t n;
};
/* Sets, or renews, its time. -ENOSPC. *ret_changed: it was not there. */
int drains_set(struct drains *all, const struct drain *d, bool *ret_changed);
bool drains_remove(struct drains *all, const struct drain *d); /* false: it was not there */
void drains_prune(struct drains *all, usec wall_us);           /* those that are over */
int drains_format(struct buf *b, const struct drains *all);    /* lines */
/* What is no line of this form is skipped: a later version may know more. */
void drains_parse(struct slice lines, struct drains *ret);

#endif
