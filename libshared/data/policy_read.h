/* How the policy's files become a struct policy_doc: shared by the policy_*.c files. Private to
 * libshared/data; one reader per build, one thread. */
#ifndef AIGW_DATA_POLICY_READ_H
#define AIGW_DATA_POLICY_READ_H

#include <aigw/policy_doc.h>

#include "place.h"

#define POLICY_MAX_ITEMS    10000 /* of a section, all files together, and of any list */
#define POLICY_MAX_FINDINGS 50
#define POLICY_PACKED_MAX   (16u << 20)

enum policy_object {
	POLICY_top,
	POLICY_settings,
	POLICY_headers,
	POLICY_provider,
	POLICY_timeouts,
	POLICY_options,
	POLICY_price,
	POLICY_model,
	POLICY_target,
	POLICY_retry,
	POLICY_health,
	POLICY_customer,
	POLICY_project,
	POLICY_identity,
	POLICY_limits,
	POLICY_queue
};

/* Where in the document: from the outermost map inwards. Lives on the stack of whoever reads that
 * node. */
struct policy_at {
	const struct policy_at *up;
	const struct tree *node;
	const char *list; /* node is list[index]; NULL: node stands under its own key */
	uint32_t index;
};

/* Items of one section of all files. */
struct policy_section {
	const struct tree **items;
	uint32_t n;
};

/* Names of one name space, each with the index of what it names. */
struct policy_name {
	struct slice name;
	uint32_t value;
	const struct tree *node; /* where it was given */
	bool used;               /* for the warnings */
};

struct policy_names {
	struct policy_name *slots;
	struct slice *list; /* in order of appearance, for near names */
	uint32_t n, mask, capacity;
};

struct policy_reader {
	struct policy_doc *doc;
	struct arena scratch;
	struct buf *report;
	const char *const *names; /* of files */
	unsigned n_names;
	unsigned findings, errors;
	bool no_memory;
	const struct tree *misspelt; /* the last map in which an unknown key stood */
	bool uses_ca_file, uses_per_minute, uses_routing, uses_routing_2, uses_stream_usage;
	const struct tree *root; /* the merged document */
	struct policy_section providers, prices, models, customers, identities;
	struct policy_names provider_names, model_names, customer_names, project_names;
};

/* policy_report.c: findings with their places. A NULL node means the place itself. */
void policy_error(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...) PRINTF_LIKE(4, 5);
void policy_key_error(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...) PRINTF_LIKE(4, 5);
void policy_warn(struct policy_reader *r, const struct policy_at *at, const struct tree *node,
	const char *fmt, ...) PRINTF_LIKE(4, 5);
void policy_out_of_memory(struct policy_reader *r);
/* "file:line:col", or the path in a document that came over the wire. In the reader's scratch
 * memory. */
const char *policy_place(
	struct policy_reader *r, const struct policy_at *at, const struct tree *node);
/* What lacks from the map; not if an unknown key was reported in it, which most likely was meant.
 */
void policy_missing(struct policy_reader *r, const struct policy_at *at, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
/* Is it a map? Unknown keys in it are reported. */
bool policy_check_map(
	struct policy_reader *r, const struct policy_at *at, enum policy_object object);

/* policy_value.c: one value of a map. NULL: not there or wrong; the latter is reported. */
enum policy_need { POLICY_OPTIONAL, POLICY_REQUIRED };
const struct tree *policy_text(struct policy_reader *r, const struct policy_at *at, const char *key,
	enum policy_need need, struct slice *ret);
bool policy_is_name(struct slice s, size_t max); /* customers, projects, providers, secrets */
bool policy_is_model_name(struct slice s);
const struct tree *policy_name(
	struct policy_reader *r, const struct policy_at *at, struct slice *ret);
const struct tree *policy_model_name(
	struct policy_reader *r, const struct policy_at *at, const char *key, struct slice *ret);
void policy_duration(struct policy_reader *r, const struct policy_at *at, const char *key,
	usec preset, usec *ret);
void policy_bool(struct policy_reader *r, const struct policy_at *at, const char *key, bool preset,
	bool *ret);
/* A whole number from min to max; "percent": with the sign behind it. */
void policy_count(struct policy_reader *r, const struct policy_at *at, const char *key,
	uint32_t min, uint32_t max, uint32_t preset, uint32_t *ret);
void policy_percent(struct policy_reader *r, const struct policy_at *at, const char *key,
	uint32_t max, uint32_t preset, uint32_t *ret);
/* One of n words, by its place; words end with NULL. */
void policy_choice(struct policy_reader *r, const struct policy_at *at, const char *key,
	const char *const *words, unsigned preset, unsigned *ret);
bool policy_amount(
	struct policy_reader *r, const struct policy_at *at, const char *key, int64_t *ret_nano);
/* A list's first item, or NULL; *ret_n its length. Not a list or too long is reported. */
const struct tree *policy_list(
	struct policy_reader *r, const struct policy_at *at, const char *key, uint32_t *ret_n);
/* policy_eligible.c: lists of capabilities and tags, as bits. */
void policy_capabilities(
	struct policy_reader *r, const struct policy_at *up, uint32_t preset, uint32_t *ret);
void policy_tags(
	struct policy_reader *r, const struct policy_at *up, const char *key, uint64_t *ret);
struct slice policy_copy(struct policy_reader *r, struct slice s); /* into the document */
void *policy_alloc(
	struct policy_reader *r, size_t n, size_t size); /* of the document; NULL also if n is 0 */

/* policy_names.c */
void policy_names_init(struct policy_reader *r, struct policy_names *names, uint32_t capacity);
/* Takes the name in; what already has it comes back and stays. */
const struct policy_name *policy_names_put(struct policy_reader *r, struct policy_names *names,
	struct slice name, uint32_t value, const struct tree *node);
struct policy_name *policy_names_get(const struct policy_names *names, struct slice name);
/* Takes a name in or reports the second one. */
void policy_names_add(struct policy_reader *r, struct policy_names *names,
	const struct policy_at *at, const struct tree *node, struct slice name, uint32_t value);
/* The index that a reference means; a dangling one is reported with a near name. */
bool policy_names_refer(struct policy_reader *r, const struct policy_names *names, const char *kind,
	const struct policy_at *at, const struct tree *node, struct slice name, uint32_t *ret);

/* Sections, in this order: each refers to earlier ones only. */
void policy_read_settings(struct policy_reader *r);
void policy_read_providers(struct policy_reader *r);
void policy_read_prices(struct policy_reader *r);
void policy_read_models(struct policy_reader *r);
void policy_read_default_model(struct policy_reader *r);
/* Timeouts under `up`, each preset to what stands in the four already. */
void policy_read_timeouts(struct policy_reader *r, const struct policy_at *up, usec *connect_us,
	usec *first_byte_us, usec *idle_us, usec *total_us);
void policy_read_errors(
	struct policy_reader *r, const struct policy_at *up, struct policy_provider *p);
void policy_read_retry_on(
	struct policy_reader *r, const struct policy_at *up, struct policy_retry *retry);
/* policy_limits.c */
void policy_read_concurrency(
	struct policy_reader *r, const struct policy_at *up, uint32_t *ret_concurrency);
void policy_read_queue(
	struct policy_reader *r, const struct policy_at *up, struct policy_model *model);
void policy_read_customers(struct policy_reader *r);
void policy_read_identities(struct policy_reader *r);
void policy_warnings(struct policy_reader *r);

/* policy_merge.c: the files' roots -> r->root and the sections. */
void policy_merge(struct policy_reader *r, const struct tree *const *roots, unsigned n);

#endif
