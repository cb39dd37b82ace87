/* The rows of tbl/usage_fields.h as data, for the loops that encode, decode and print. Private to
 * libshared/data. */
#ifndef AIGW_DATA_USAGE_ROWS_H
#define AIGW_DATA_USAGE_ROWS_H

#include <aigw/usage.h>

struct usage_row {
	const char *name;
	const char *unit; /* of a number; NULL: a text */
	size_t offset;    /* in struct usage_record */
	uint16_t max;     /* bytes of a text */
	uint8_t tag;
};

#define USAGE_INT(tag, name, unit, doc) +1
#define USAGE_STR(tag, name, max, doc)  +1
enum {
	USAGE_ROWS = 0
#include <aigw/tbl/usage_fields.h>
};
#undef USAGE_INT
#undef USAGE_STR

extern const struct usage_row usage_rows[USAGE_ROWS];

static inline const int64_t *usage_int(const struct usage_record *r, const struct usage_row *row)
{
	return (const int64_t *)(const void *)((const char *)r + row->offset);
}

static inline const struct slice *usage_str(
	const struct usage_record *r, const struct usage_row *row)
{
	return (const struct slice *)(const void *)((const char *)r + row->offset);
}

#endif
