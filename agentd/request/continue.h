/* A chat stream that breaks off within its text goes on at another target (on_cut: continue): the
 * text delivered is kept, each part's usage and cost are booked when it ends, and what the next
 * target says is written anew, so that the client reads one stream. retry.c says whether and
 * where; answer_stream.c gives every event. Worker's thread. */
#ifndef AGENTD_REQUEST_CONTINUE_H
#define AGENTD_REQUEST_CONTINUE_H

#include "dialect/openai_continue.h"
#include "request/relay.h"

#define CONTINUE_TEXT_MAX (256u << 10) /* of delivered text, as escaped; with more none goes on */

struct continuation {
	struct buf text;           /* delivered, as escaped */
	struct buf id_text;        /* what ids points into */
	struct openai_ids ids;     /* of the stream that the client reads */
	struct buf out;            /* events written anew, of one read */
	struct buf body;           /* the request of the attempt at hand */
	size_t charged;            /* for it, of body_memory */
	struct openai_facts facts; /* of body */
	struct buf echo; /* text, decoded: an answer that begins with all of it repeats it */
	size_t echo_at;  /* of it met; SIZE_MAX: it was none, or all is met */
	struct openai_usage done; /* of the parts before */
	int64_t done_nano;
	unsigned parts;  /* before this one */
	bool done_seen;  /* the providers reported each of them */
	bool is_priced;  /* there was a price for the first: so there is for each */
	bool is_spoiled; /* more than text has been delivered, or too much of it */
	bool has_ids;
};

/* Content begins: keeps what is needed if the stream may be continued. */
void continue_begin(struct request *r);
void continue_free(struct request *r);
/* May the stream go on elsewhere from where it stands? */
bool continue_may(const struct request *r);
/* May the model's target i go on with it? */
bool continue_at(struct request *r, uint8_t i);
/* It does: the part that ended is booked. */
void continue_part(struct request *r);
void continue_rest(struct request *r); /* between two attempts: the slot says what was served */
/* The request for the target at hand; false: out of memory, or there is none to be made. */
bool continue_ask(struct request *r);

enum continue_what {
	CONTINUE_RELAY,
	CONTINUE_ELSEWHERE, /* an error stands in its place: better go on at another target */
	CONTINUE_MALFORMED
};
/* One whole event that is data: noted, and written anew if it goes on with an earlier part. */
enum continue_what continue_event(struct request *r, struct slice raw);
void continue_spoil(struct request *r); /* what is delivered can't be gone on with */
/* An event that is none of the text: the same bytes. */
void continue_verbatim(struct request *r, struct slice raw);

static inline bool continue_is_on(const struct request *r)
{
	return r->cont && r->cont->parts;
}

/* --- money: parts before this one, if there are any --- */
/* This part was not served: nothing is owed for it. */
bool continue_is_unserved(const struct request *r);
void continue_sum(const struct request *r, struct openai_usage *u);

#endif
