/* After a try that came to nothing: what it says of the target, whether there is another one, where
 * and when. The request keeps what has been tried. Worker's thread. */
#ifndef AGENTD_REQUEST_RETRY_H
#define AGENTD_REQUEST_RETRY_H

#include "dialect/openai_answer.h"
#include "upstream/attempt.h"

struct request;

/* After a try that came to nothing. True: another one follows, and the request waits for
 * it; what came of the answer is forgotten. */
COLD bool retry_follows(
	struct request *r, enum error_class c, enum attempt_failure f, unsigned status);
bool retry_may_follow(const struct request *r); /* no content has come, and tries are left */
bool retry_has_tries(const struct request *r);
/* After a stream that broke off within its text. True: another target goes on with it. */
COLD bool retry_continues(struct request *r, enum attempt_failure f);
void retry_init(struct request *r);
void retry_earn(struct request *r);                 /* a call begins: its part of the budget */
void retry_stop(struct request *r);                 /* no further try; a probe is given back */
void retry_learn_ok(struct request *r, bool whole); /* content has come; the answer is whole */
COLD void retry_learn_cut(struct request *r);       /* it broke off after that */
/* An error has come, of that class: what it says of the target and its credential. */
COLD void retry_learn(struct request *r, enum error_class c, unsigned status);

#endif
