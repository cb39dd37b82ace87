/* Sums for reports: one row per quarter of an hour (UTC, by end time) and combination of
 * dimensions, so that every grouping can be answered exactly from rollups alone. Sums are 128 bits
 * wide: nothing that records say can make them wrap. Written in the same transaction as the
 * records; derived, so they can be rebuilt from them. Loop's thread, inside a transaction of the
 * store. */
#ifndef CTLD_REPORT_ROLLUP_H
#define CTLD_REPORT_ROLLUP_H

#include "store/store.h"
#include <aigw/usage.h>

#define ROLLUP_QUARTER_US (15 * 60 * USEC_PER_S)

__extension__ typedef __int128 rollup_int;
__extension__ typedef unsigned __int128 rollup_uint;

enum rollup_sum {
	SUM_requests,
	SUM_ok,
	SUM_errors,
	SUM_input_tokens,
	SUM_cached_input_tokens,
	SUM_output_tokens,
	SUM_reasoning_tokens,
	SUM_cost,
	SUM_charge,
	SUM_unpriced,
	SUM_estimated,
	SUM_COUNT
};

struct rollup_sums {
	rollup_int v[SUM_COUNT];
};

/* Names of dimensions; the first eight are what a query may filter and group by as text. */
enum rollup_dim {
	DIM_customer,
	DIM_project,
	DIM_key,
	DIM_model,
	DIM_provider,
	DIM_agent,
	DIM_uid,
	DIM_outcome,
	DIM_endpoint,
	DIM_ROW_COUNT, /* these stand in a row's key */
	DIM_day = DIM_ROW_COUNT,
	DIM_hour,
	DIM_COUNT /* these come from its time */
};
extern const char *const rollup_dim_names[DIM_COUNT];
#define ROLLUP_TEXT_DIMS DIM_uid /* dimensions below this one are texts */

struct rollup_key {
	usec quarter_us;                     /* start of the quarter, wall */
	struct slice text[ROLLUP_TEXT_DIMS]; /* borrowed */
	int64_t uid;                         /* plus one; 0: none */
	uint8_t outcome, endpoint;
};

/* What a record adds. False: its values can't stand in a rollup (times before 1970, texts over
 * their maximum, unknown enums); such a record counts as undecodable. */
bool rollup_of(const struct usage_record *r, struct slice agent, struct rollup_key *key,
	struct rollup_sums *sums);
int rollup_add(struct store_txn *t, const struct rollup_key *key, const struct rollup_sums *sums);

/* --- queries
 * -------------------------------------------------------------------------------------- */
struct rollup_query {
	usec since_us, until_us; /* whole quarters: since is rounded down, until up */
	uint16_t by;             /* bits 1 << rollup_dim */
	bool filtered[ROLLUP_TEXT_DIMS];
	struct slice filter[ROLLUP_TEXT_DIMS];
};

struct rollup_group {
	struct rollup_key
		key; /* members that the query groups by; quarter_us: start of the day or hour */
	struct rollup_sums sums;
};

struct rollup_result {
	struct rollup_group *groups; /* in the order of their keys */
	size_t n;
	struct rollup_sums total;
};

#define ROLLUP_MAX_GROUPS 200000

/* -E2BIG: more groups than ROLLUP_MAX_GROUPS. Free with rollup_result_free. */
int rollup_query(struct store *s, const struct rollup_query *q, struct rollup_result *ret);
void rollup_result_free(struct rollup_result *r);

/* Builds all rollups anew from the records and puts them in place. Blocks the loop for about 5 us
 * per record. */
struct rollup_rebuilt {
	uint64_t records;     /* that were summed */
	uint64_t differences; /* rows that were missing, too many or different */
};
int rollup_rebuild(struct store *s, struct rollup_rebuilt *ret);

/* Decimal text of a 128-bit number; money gets nine decimals. */
void rollup_format(rollup_int v, bool nano, char out[static 48]);

#endif
