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
