/* JSON trees for cold paths (admin API, command line). The only header that shows the JSON library
 * (jansson); integers stay 64-bit, member order is kept, duplicates are refused. Any thread. */
#ifndef AIGW_JSON_H
#define AIGW_JSON_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <jansson.h>

/* New reference or NULL with a sentence ("line 3, column 7: ..."). Duplicate members are refused.
 */
json_t *json_parse(struct slice text, struct errbuf *e);
int json_write(const json_t *v, struct buf *b, bool pretty); /* 0 or -ENOMEM/-ENOBUFS */

void json_unrefp(json_t **v); /* for CLEANUP() */
#define JSON_AUTO CLEANUP(json_unrefp) json_t

/* Members by name; a missing or wrongly typed one gives the default. */
/* For jansson's functions that read, or only count a reference, and take it without const. */
static inline json_t *json_unconst(const json_t *v)
{
	union {
		const json_t *from;
		json_t *to;
	} u = { .from = v };

	return u.to;
}

const char *json_get_str(const json_t *o, const char *name, const char *otherwise);
int64_t json_get_int(const json_t *o, const char *name, int64_t otherwise);
bool json_get_bool(const json_t *o, const char *name, bool otherwise);
json_t *json_slice(struct slice s); /* new string; invalid UTF-8 becomes U+FFFD */
json_t *json_nano(int64_t nano);    /* money: decimal text with nine decimals, never a number */

#endif
