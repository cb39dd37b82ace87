#include "policy/publish.h"

#include <aigw/clock.h>
#include <aigw/tree.h>

#define PUBLISH_TREE_BYTES (256u << 20) /* limit of the arena that policy files are parsed in */

struct published *published_ref(struct published *p)
{
	p->refs++;
	return p;
}

void published_unref(struct published *p)
{
	if (!p || --p->refs)
		return;
	policy_doc_free(p->doc);
	free(p->message);
	free(p);
}

static struct published *published_new(struct policy_doc *doc, uint64_t revision, usec applied_us,
	struct slice by, struct slice message)
{
	struct published *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->message = strndup(message.p ? message.p : "", message.n);
	if (!p->message) {
		free(p);
		return NULL;
	}
	p->refs = 1;
	p->revision = revision;
	p->applied_us = applied_us;
	p->doc = doc;
	memcpy(p->digest, doc->digest, sizeof(p->digest));
	(void)snprintf(p->by, sizeof(p->by), SLICE_FMT, SLICE_ARG(by));
	return p;
}

/* --- validating ---------------------------------------------------------------------------------
 */

int publish_build(
	const struct policy_file *files, size_t n, struct policy_doc **ret, struct buf *report)
{
	const struct tree *roots[PUBLISH_MAX_FILES];
	const char *names[PUBLISH_MAX_FILES];
	struct arena a;
	int r = 0;

	ASSERT(n <= PUBLISH_MAX_FILES);
	arena_init(&a, 64u << 10, PUBLISH_TREE_BYTES);
	for (size_t i = 0; i < n; i++) {
		struct errbuf e;
		struct tree *t;
		int one;

		names[i] = arena_bytes(&a, files[i].name.p, files[i].name.n);
		if (!names[i]) {
			r = -ENOMEM;
			goto out;
		}
		one = tree_from_yaml(&a, files[i].text, names[i], (uint16_t)i, &t, &e);
		if (one < 0) {
			(void)buf_printf(report, "%s\n", e.text);
			r = -EINVAL;
		}
		roots[i] = t;
	}
	if (r == 0)
		r = policy_doc_build(roots, names, (unsigned)n, ret, report);
out:
	arena_fini(&a);
	return r;
}

/* --- loading ------------------------------------------------------------------------------------
 */

struct load_run {
	struct published *p;
	struct errbuf *e;
};

static int load_run(struct store_txn *t, void *arg)
{
	struct load_run *run = arg;
	struct store_revision rev;
	struct policy_doc *doc;
	struct errbuf why;
	int r = store_revision_get(t, 0, &rev);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(run->e, r, "can't read the last revision from the store");
	r = policy_doc_unpack(rev.packed, &doc, &why);
	if (r < 0)
		return err_set(run->e, r == -ENOMEM ? r : -ENOTSUP,
			"revision %" PRIu64 " can't be used by this version: %s", rev.number,
			why.text);
	run->p = published_new(doc, rev.number, rev.applied_us, rev.by, rev.message);
	if (!run->p) {
		policy_doc_free(doc);
		return err_set(run->e, -ENOMEM, "out of memory");
	}
	return 0;
}

int publish_load(struct store *s, struct published **ret, struct errbuf *e)
{
	struct load_run run = { .e = e };
	int r = store_read(s, load_run, &run);

	if (r == 0)
		*ret = run.p;
	return r;
}

/* --- storing ------------------------------------------------------------------------------------
 */

struct store_run {
	struct store_revision rev;
	char object[32];
};

static int store_run(struct store_txn *t, void *arg)
{
	struct store_run *run = arg;
	struct store_audit line = { run->rev.applied_us, run->rev.by, SLICE("policy.apply"),
		slice_str(run->object), run->rev.message };
	int r = store_revision_put(t, &run->rev);

	return r < 0 ? r : store_audit_put(t, &line);
}

int publish_store(struct store *s, struct publish_request *q, struct published **ret)
{
	struct published *p;
	struct store_run run = { 0 };
	struct buf files;
	int r = -ENOMEM;

	buf_init(&files, 64u << 20);
	for (size_t i = 0; i < q->n_files; i++)
		store_files_add(&files, q->files[i].name, q->files[i].text);
	p = published_new(q->doc, q->number, clock_wall_us(), q->by, q->message);
	if (!p || files.err) {
		if (p)
			published_unref(p);
		else
			policy_doc_free(q->doc);
		goto out;
	}
	run.rev = (struct store_revision){ p->revision, p->applied_us, q->by, q->message,
		slice_of((const char *)p->digest, 32), buf_view(&p->doc->packed),
		buf_view(&files) };
	(void)snprintf(run.object, sizeof(run.object), "revision %" PRIu64, p->revision);
	r = store_write(s, files.n + p->doc->packed.n, store_run, &run);
	if (r < 0)
		published_unref(p);
	else
		*ret = p;
out:
	buf_fini(&files);
	return r;
}
