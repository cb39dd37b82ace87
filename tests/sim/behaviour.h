/*
 * behaviour: how one request is to be answered, and the two ways to write it: "tokens-60+pace-2000"
 * and {"tokens": 60}. The table of names is in behaviour.c; `aigw-sim --behaviours` prints it.
 */
#ifndef SIM_BEHAVIOUR_H
#define SIM_BEHAVIOUR_H

#include "buf.h"

#include <jansson.h>

#define BEHAVIOUR_TEXT_MAX 128

struct behaviour {
	/* -1 where not said */
	int64_t fail, retry_after, retry_after_ms;
	int64_t cut_after, stall_after, bad_chunk, error_event;
	int64_t tokens, bytes, pace, slow, first_after, flaky, times, cached, reasoning;
	bool fail_close, fail_reset, fail_hang, fail_midbody, fail_badjson;
	bool head_only, no_usage, usage_in_finish, gzip, close_after, close_on_next, one_write;
	bool chunk_split, no_done, hold_open, role_only_first, swap_framing, stamp;
	bool no_prefill, echo_prefill;
	char code[BEHAVIOUR_TEXT_MAX];   /* of fail-N and error-event-N; empty: the usual one */
	char header[BEHAVIOUR_TEXT_MAX]; /* one more of the answer, NAME:VALUE; or empty */
};

/* Nothing said. Its padding is zero, and stays so when it is copied with memcpy. */
void behaviour_init(struct behaviour *b);
/* Applies on top of what is said already. NULL, or what is wrong (a static buffer, until the next
 * call). `named`: the text is a model name, whose first part may be a plain name or go on behind a
 * behaviour. */
const char *behaviour_apply_text(struct behaviour *b, const char *text, bool named);
const char *behaviour_apply_json(struct behaviour *b, json_t *what);
void behaviour_clear_faults(struct behaviour *b);
bool behaviour_has_fault(const struct behaviour *b);
void behaviour_names_add(struct buf *out); /* one line per name */

#endif
