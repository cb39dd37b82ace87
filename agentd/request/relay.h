/* Between the files that carry an answer. Worker's thread. */
#ifndef AGENTD_REQUEST_RELAY_H
#define AGENTD_REQUEST_RELAY_H

#include "request/request.h"

/* relay.c */
/* Content in the client's framing: the head before it if that is still to come, the end behind it
 * if `last`. 0, 1: queued, negative: the client is gone. */
int relay_write(struct request *r, struct slice a, struct slice b, bool last);
bool relay_is_strict(const struct request *r);
void relay_commit(struct request *r); /* no other try from here on, and the prompt is not needed */
void relay_ended(struct request *r, enum usage_outcome outcome, enum fail f);
void relay_answer_ended(struct request *r); /* well, or with the provider's own error */

/* answer_head.c */
bool relay_on_head(struct attempt *a, const struct h1_head *h);
/* An error's answer, as much of it as was held. True: it goes no further. */
bool relay_judge(struct request *r, struct slice body);
/* What the client is not shown of an error. True: it was answered in our words. */
bool relay_refuse_shown(struct request *r, enum error_class c);
/* What a provider's `errors` say of an answer, then the tables. */
enum error_class relay_class(const struct policy_provider *p, unsigned status, struct slice body);
enum error_class relay_class_of(const struct request *r, unsigned status, struct slice body);
/* Of an error within a 200. */
enum error_class relay_class_in_band(const struct request *r, struct slice error);
void relay_count_error(struct request *r, enum provider_error e);
void relay_drop_prompt(struct request *r);

/* answer_wait.c: what the client of a stream gets before there is content, or between two pieces.
 */
void wait_init(struct request *r);
void wait_begin(struct request *r); /* the head of a stream is being sent */
void wait_stop(struct request *r);
bool wait_has_early_head(const struct request *r); /* by its policy, and it is a stream */
void wait_head(struct request *r);    /* the request is on its way: the head goes out */
void wait_say_who(struct request *r); /* content begins: what the head could not say, as comments */
/* The answer is no stream, and the client reads one: an error, told in it. */
void wait_error_body(struct request *r, struct slice piece, bool last);
void wait_error(struct request *r, struct slice error); /* in the provider's words */

/* answer_stream.c */
void relay_stream_body(struct request *r, char *p, size_t n, bool last);
void relay_stream_ended(struct request *r); /* it has told its end, whatever comes behind it */
/* An error in place of the first content, or of a plain answer: as if it had come with its status.
 */
void relay_error_first(struct request *r, struct slice error);

#endif
