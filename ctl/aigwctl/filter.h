/* Conditions on rows (--filter) and their order (--sort). Values are compared as what they look
 * like: decimal numbers exactly and of any length, everything else as text. Pure; one thread. */
#ifndef AIGWCTL_FILTER_H
#define AIGWCTL_FILTER_H

#include <aigw/errbuf.h>
#include <aigw/slice.h>

enum filter_op {
	FILTER_EQUAL,
	FILTER_DIFFERENT,
	FILTER_CONTAINS,
	FILTER_LESS,
	FILTER_AT_MOST,
	FILTER_MORE,
	FILTER_AT_LEAST
};

struct filter {
	struct slice column, value; /* of the text given */
	enum filter_op op;
};

/* "cost >= 0.5", "state=up", "name ~ 'gpt 4'". -EINVAL with a sentence. */
int filter_parse(const char *text, struct filter *ret, struct errbuf *e);
bool filter_holds(const struct filter *f, struct slice cell);

/* Below, at or above 0, as strcmp(); numbers before text. */
int filter_compare(struct slice a, struct slice b);

#endif
