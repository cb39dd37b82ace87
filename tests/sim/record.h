/* record: what came in, for the oracle: the recv line of the call log and the files of
 * --record-bodies. */
#ifndef SIM_RECORD_H
#define SIM_RECORD_H

#include "call.h"
#include "request.h"

/* The credential of a request: authorization (without "Bearer "), api-key or x-api-key; NULL if
 * there is none. */
const char *record_credential(const struct request *r);
/* Writes DIR/SEQ.head and DIR/SEQ.body if asked, then the recv line if there is a log. */
void record_recv(struct call *c);

#endif
