/* What is read of an answer for the record: usage, as the provider tells it or as it is estimated
 * from what has come. The worker's thread. */
#ifndef AGENTD_REQUEST_METER_H
#define AGENTD_REQUEST_METER_H

#include "request/request.h"

/* What was sent. */
void meter_input(const struct request *r, struct openai_usage *ret);
void meter_estimate(struct request *r);
/* One whole event. */
static inline void meter_count(struct request *r, size_t event_n)
{
	r->event_bytes += event_n;
	if (r->events++ == 0 || event_n < r->event_min)
		r->event_min = event_n;
}
/* With it counted. */
void meter_event(struct request *r, struct slice raw, bool has_usage, bool *ret_hide);
void meter_plain(struct request *r, struct slice whole);
void meter_tap(struct request *r);

#endif
