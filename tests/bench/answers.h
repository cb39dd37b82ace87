/* The bytes that bench-upstream answers with, built once at start: only the stamp inside an event
 * differs from call to call. One thread. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

enum { BURST_EVENTS = 50 };

struct answer {
	char *bytes;
	size_t len;
};

extern struct answer answer_plain;   /* a chat completion of 1 KB with usage, Content-Length */
extern struct answer answer_burst;   /* BURST_EVENTS content events, finish, usage, [DONE] */
extern struct answer answer_begin;   /* head and role event of a stream that stays open */
extern struct answer answer_event;   /* one stamped content event */
extern struct answer answer_unknown; /* 404 */

/* Exits on want of memory: it runs before anything else. */
void answers_build(void);

/* Puts the time into answer_event, or into each event of answer_burst. */
void answer_event_stamp(uint64_t ns);
void answer_burst_stamp(uint64_t ns);

/* A 200 with this JSON text; the caller frees bytes. */
struct answer answer_json(const char *status, const char *text);

#endif
