/* The policy in force: edit -> validate -> number -> store -> wake the feed. A published revision
 * is immutable and counted, since it may be on its way to a slow agent while the next one is
 * applied. Loop's thread. */
#ifndef CTLD_POLICY_PUBLISH_H
#define CTLD_POLICY_PUBLISH_H

#include "store/store.h"
#include <aigw/policy_doc.h>

struct published {
	unsigned refs;
	uint64_t revision;
	usec applied_us; /* wall */
	char by[64];
	char *message;
	uint8_t digest[32];
	struct policy_doc *doc; /* owned; doc->packed is what agents get */
};

struct published *published_ref(struct published *p);
void published_unref(struct published *p); /* NULL is fine */

struct policy_file {
	struct slice name, text;
};

#define PUBLISH_MAX_FILES 256

/* Parses and checks. 0, or -EINVAL with lines "file:line:col: sentence" in report; warnings go
 * there too. */
int publish_build(
	const struct policy_file *files, size_t n, struct policy_doc **ret, struct buf *report);

/* What stands in the store as the last revision; *ret is NULL if there is none. -ENOTSUP with a
 * sentence: it is of a newer version. */
int publish_load(struct store *s, struct published **ret, struct errbuf *e);

enum publish_change { PUBLISH_ADDED, PUBLISH_CHANGED, PUBLISH_REMOVED };
/* An object that differs; trees live until the call returns, NULL: not there. 0, or the errno that
 * ends the comparison. */
typedef int publish_change_fn(void *arg, enum publish_change change, const char *name,
	const struct tree *old, const struct tree *fresh);
int publish_compare(const struct policy_doc *from, const struct policy_doc *to,
	publish_change_fn *fn, void *arg); /* from: may be NULL */
/* What differs inside an object, but for lists of other objects: "timeouts",
 * "targets.openai/gpt-4o". */
typedef void publish_member_fn(
	void *arg, const char *member, const struct tree *old, const struct tree *fresh);
void publish_members(
	const struct tree *old, const struct tree *fresh, publish_member_fn *fn, void *arg);
void publish_text(const struct tree *t, struct buf *b); /* on one line, for eyes */

/* How a document differs from the running one, by object: "models.fast",
 * "customers.acme.projects.search". */
struct publish_plan {
	struct buf added, changed, removed; /* names, each followed by a newline */
};
int publish_plan(const struct policy_doc *from, const struct policy_doc *to,
	struct publish_plan *ret); /* from: may be NULL */
void publish_plan_fini(struct publish_plan *p);

struct publish_request {
	const struct policy_file *files;
	size_t n_files;
	struct policy_doc *doc; /* taken, also on failure */
	struct slice by, message;
	uint64_t number; /* of the new revision */
};

/* Stores text and document as a revision, with its line in the audit log, in one transaction. */
int publish_store(struct store *s, struct publish_request *r, struct published **ret);

#endif
