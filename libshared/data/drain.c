#include <aigw/drain.h>
#include <aigw/text.h>

static const char *const kinds[] = {
	[DRAIN_provider] = "provider", [DRAIN_model] = "model", [DRAIN_target] = "target"
};

const char *drain_kind_name(enum drain_kind k)
{
	return kinds[k];
}

/* As far as it fits; false: it is no name. */
static bool take_name(const char *s, char *to, size_t cap)
{
	size_t n = strlen(s);

	if (!n || n >= cap || strpbrk(s, " \n"))
		return false;
	memcpy(to, s, n + 1);
	return true;
}

const char *drain_make(struct drain *ret, const char *provider, const char *model,
	const char *target, int64_t for_s, usec wall_us)
{
	*ret = (struct drain){ .kind = provider ? DRAIN_provider
				       : target ? DRAIN_target
						: DRAIN_model };
	if (!provider == !model)
		return "the body has to name a provider, or a model";
	if (provider && target)
		return "a target is one of a model's; name the model";
	if (!take_name(provider ? provider : model, ret->name, sizeof(ret->name)))
		return "a name has 1 to 127 characters without spaces";
	if (target &&
		(!take_name(target, ret->target, sizeof(ret->target)) || !strchr(target, '/')))
		return "a target is PROVIDER/MODEL, as `model targets` lists them";
	if (for_s < 1 || for_s > DRAIN_MAX_US / USEC_PER_S)
		return "a drain lasts from 1 s to 30 days";
	ret->until_us = wall_us + for_s * USEC_PER_S;
	return NULL;
}

bool drain_is_same(const struct drain *a, const struct drain *b)
{
	return a->kind == b->kind && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->target, b->target) == 0;
}

bool drain_holds(
	const struct drain *d, struct slice model, struct slice provider, struct slice target)
{
	struct slice both = slice_str(d->target), name = slice_str(d->name);

	if (d->kind == DRAIN_provider)
		return slice_eq(name, provider);
	if (!slice_eq(name, model))
		return false;
	return d->kind == DRAIN_model ||
	       (both.n == provider.n + 1 + target.n && slice_starts(both, provider) &&
		       both.p[provider.n] == '/' &&
		       slice_eq(slice_skip(both, provider.n + 1), target));
}

int drain_format(struct buf *b, const struct drain *d)
{
	(void)buf_printf(b, "%s %" PRId64 " %s", kinds[d->kind], d->until_us, d->name);
	if (d->kind == DRAIN_target)
		(void)buf_printf(b, " %s", d->target);
	return b->err;
}

/* Up to the next space, which is taken away; never more than fits. */
static bool take_word(struct slice *line, char *to, size_t cap)
{
	const char *end = line->n ? memchr(line->p, ' ', line->n) : NULL;
	size_t n = end ? (size_t)(end - line->p) : line->n;

	if (!n || n >= cap || memchr(line->p, '\0', n))
		return false;
	memcpy(to, line->p, n);
	to[n] = '\0';
	*line = slice_skip(*line, end ? n + 1 : n);
	return true;
}

int drain_parse(struct slice line, struct drain *ret)
{
	char kind[16], until[24];

	*ret = (struct drain){ 0 };
	if (!take_word(&line, kind, sizeof(kind)) || !take_word(&line, until, sizeof(until)) ||
		!take_word(&line, ret->name, sizeof(ret->name)) ||
		text_parse_i64(slice_str(until), &ret->until_us))
		return -EINVAL;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		if (strcmp(kind, kinds[k]) != 0)
			continue;
		ret->kind = (enum drain_kind)k;
		if (k == DRAIN_target && !take_word(&line, ret->target, sizeof(ret->target)))
			return -EINVAL;
		return line.n ? -EINVAL : 0;
	}
	return -EINVAL;
}

int drains_set(struct drains *all, const struct drain *d, bool *ret_changed)
{
	*ret_changed = false;
	for (uint32_t i = 0; i < all->n; i++)
		if (drain_is_same(&all->v[i], d)) {
			all->v[i].until_us = d->until_us;
			return 0;
		}
	if (all->n == DRAINS_MAX)
		return -ENOSPC;
	all->v[all->n++] = *d;
	*ret_changed = true;
	return 0;
}

bool drains_remove(struct drains *all, const struct drain *d)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (drain_is_same(&all->v[i], d)) {
			all->v[i] = all->v[--all->n];
			return true;
		}
	return false;
}

void drains_prune(struct drains *all, usec wall_us)
{
	for (uint32_t i = 0; i < all->n;)
		if (all->v[i].until_us <= wall_us)
			all->v[i] = all->v[--all->n];
		else
			i++;
}

int drains_format(struct buf *b, const struct drains *all)
{
	for (uint32_t i = 0; i < all->n; i++) {
		(void)drain_format(b, &all->v[i]);
		(void)buf_char(b, '\n');
	}
	return b->err;
}

void drains_parse(struct slice lines, struct drains *ret)
{
	bool fresh;

	ret->n = 0;
	while (lines.n) {
		const char *end = memchr(lines.p, '\n', lines.n);
		size_t n = end ? (size_t)(end - lines.p) : lines.n;
		struct drain d;

		if (drain_parse(slice_of(lines.p, n), &d) == 0)
			(void)drains_set(ret, &d, &fresh);
		lines = slice_skip(lines, end ? n + 1 : n);
	}
}
