#include "statfs/key_list.h"

#define TEXT_MAX_BYTES ((size_t)64 << 20)

struct reading {
	struct key_list *list;
	uint32_t cap;
};

/* Slices into the text are offsets until all of it is there: the buffer moves. */
static int on_key(const struct key_record *k, void *arg)
{
	struct reading *r = arg;
	struct key_list *l = r->list;
	struct key_entry *e;

	if (l->n == r->cap) {
		uint32_t cap = r->cap ? r->cap * 2 : 64;
		struct key_entry *more = realloc(l->v, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->v = more;
		r->cap = cap;
	}
	e = &l->v[l->n];
	*e = (struct key_entry){ .number = vkey_id_number(k->id),
		.state = (uint8_t)k->state,
		.expires_us = k->expires_us,
		.project = { NULL, k->project.n },
		.name = { NULL, k->name.n },
		.require_tags = { NULL, k->require_tags.n } };
	memcpy(e->id, k->id, VKEY_ID_LEN);
	(void)buf_slice(&l->text, k->project);
	(void)buf_slice(&l->text, k->name);
	if (buf_slice(&l->text, k->require_tags))
		return -ENOMEM;
	l->n++;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct key_entry *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

int key_list_read(struct keyset_reader *r, uint64_t generation, struct key_list **ret)
{
	struct key_list *l = calloc(1, sizeof(*l));
	struct reading reading = { .list = l };
	const char *at;
	int err;

	if (!l)
		return -ENOMEM;
	atomic_init(&l->refs, 1);
	l->generation = generation;
	buf_init(&l->text, TEXT_MAX_BYTES);
	err = keyset_walk(r, on_key, &reading);
	if (err) {
		key_list_unref(l);
		return err;
	}
	at = l->text.p;
	for (uint32_t i = 0; i < l->n; i++) {
		l->v[i].project.p = at;
		at += l->v[i].project.n;
		l->v[i].name.p = at;
		at += l->v[i].name.n;
		l->v[i].require_tags.p = at;
		at += l->v[i].require_tags.n;
	}
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_number);
	*ret = l;
	return 0;
}

struct key_list *key_list_ref(struct key_list *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void key_list_unref(struct key_list *l)
{
	if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(l->v);
	buf_fini(&l->text);
	free(l);
}

const struct key_entry *key_list_find(const struct key_list *l, uint64_t number)
{
	const struct key_entry wanted = { .number = number };

	return l && l->n ? bsearch(&wanted, l->v, l->n, sizeof(*l->v), by_number) : NULL;
}

const struct key_entry *key_list_find_id(const struct key_list *l, struct slice id)
{
	const struct key_entry *e;

	if (id.n != VKEY_ID_LEN)
		return NULL;
	e = key_list_find(l, vkey_id_number(id.p));
	return e && memcmp(e->id, id.p, VKEY_ID_LEN) == 0 ? e : NULL;
}

const char *key_entry_state(const struct key_entry *k, usec wall_us)
{
	if (k->state == KEY_REVOKED)
		return "revoked";
	if (k->state == KEY_DISABLED)
		return "disabled";
	return k->expires_us && k->expires_us <= wall_us ? "expired" : "active";
}
