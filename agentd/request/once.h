/* Idempotency-Key: a call that is to be made once. The key is the caller's own: the virtual key's,
 * else the uid's in its project. It is claimed when the request is whole and may call its model,
 * and given back where nothing was sent to a provider. Never forwarded. Worker's thread. */
#ifndef AGENTD_REQUEST_ONCE_H
#define AGENTD_REQUEST_ONCE_H

#include "request/request.h"

#define ONCE_KEY_MAX 255

bool once_is_field(const struct h1_field *f);
/* The caller is known, and a field is there. */
enum fail once_begin(struct request *r, const struct h1_head *h, struct errbuf *why);
bool once_claim(struct request *r); /* false: it has failed */
void once_end(struct request *r);   /* settled; idempotent */
void once_free(struct request *r);
bool once_is_spent(const struct request *r); /* the same key can't bring another answer */

#endif
