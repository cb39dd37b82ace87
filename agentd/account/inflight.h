/* The in-flight file: one 1 KiB slot for every call from its admission to the commit of its record,
 * in a MAP_SHARED file in the runtime directory (tmpfs): plain stores that a SIGKILL can't take.
 * The slot is the record's home until then.
 *
 * Slots are handed out last-freed first. A slot is written by one worker (from take to settle),
 * then read by the committer, which frees it; readers of other threads (statfs) use slot_peek().
 * File and spool are held by an exclusive lock. */
#ifndef AGENTD_ACCOUNT_INFLIGHT_H
#define AGENTD_ACCOUNT_INFLIGHT_H

#include <aigw/errbuf.h>
#include <aigw/usage.h>
#include <stdatomic.h>

#define SLOT_BYTES         1024
#define SLOT_TEXT_BYTES    640
#define SLOT_NONE          UINT32_MAX
#define SLOT_TAKEN         (UINT32_MAX - 1)
#define INFLIGHT_FORMAT    2
#define INFLIGHT_MAX_SLOTS (1u << 20)

enum slot_state {
	SLOT_FREE = 0,
	SLOT_ADMITTED = 1, /* nothing on its way upstream: a restart books refused:restart */
	SLOT_SENT = 2,     /* right before the first upstream byte: a restart books unknown */
	SLOT_SETTLED = 3,  /* final; crc covers values and text: a restart books it as it says */
};

enum slot_text {
#define USAGE_INT(tag, name, unit, doc)
#define USAGE_STR(tag, name, max, doc) SLOT_TEXT_##name,
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
	SLOT_TEXT_COUNT
};

struct slot_values {
#define USAGE_INT(tag, name, unit, doc) int64_t name;
#define USAGE_STR(tag, name, max, doc)
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
};

/* The private head is filled up to 384 bytes, so that SLOT_BYTES stay SLOT_BYTES when the table of
 * usage fields grows. */
struct slot {
	union {
		struct {
			_Atomic uint32_t state;     /* enum slot_state */
			_Atomic uint32_t version;   /* odd while taken anew or text is written: for
						       slot_peek */
			_Atomic uint32_t next_free; /* free list; SLOT_TAKEN while it is in use */
			uint32_t crc; /* CRC-32C of values, text_len, text_at and text when SETTLED
				       */
			struct slot_values v;   /* the owner writes them as the call goes on */
			uint64_t began_mono_us; /* for AGE in lists; meaningless after a reboot */
			int64_t rate_input, rate_output, rate_request,
				rate_minute; /* of the price: what a killed call is charged */
			/* Of v, what other targets have served before this one, and its cost. */
			int64_t before_input, before_output, before_nano;
			uint16_t text_used;
			uint8_t text_len[SLOT_TEXT_COUNT];
			uint8_t text_at[SLOT_TEXT_COUNT][2]; /* offset, little-endian */
		};
		uint64_t head_words[(SLOT_BYTES - SLOT_TEXT_BYTES) / 8];
	};
	_Alignas(8) char text[SLOT_TEXT_BYTES];
};
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "a slot is 1 KiB");

struct inflight;

/* Opens or creates RUNTIME_DIR/inflight with n slots and locks it; a file of other size keeps the
 * larger number until it is empty. Memory is touched slot by slot as they are taken. -EBUSY:
 * another agent holds it; -EPROTONOSUPPORT: it holds calls of another version of the program; each
 * with a sentence. Slots of a killed process stay taken: account_recover() books them. */
int inflight_open(const char *runtime_dir, uint32_t n, struct inflight **ret, struct errbuf *e);
void inflight_close(struct inflight *f);
uint32_t inflight_count(const struct inflight *f); /* slots in all */
uint32_t inflight_used(const struct inflight *f);  /* taken now (approximate) */
uint32_t inflight_touched(const struct inflight
		*f); /* slots from here on were never taken: readers of all stop here */
struct slot *inflight_slot(struct inflight *f, uint32_t i);

uint32_t inflight_take(
	struct inflight *f); /* any worker; SLOT_NONE: none free. Zeroed, state FREE */
void inflight_free(
	struct inflight *f, uint32_t i); /* committer; or a worker whose call leaves no record */

/* Appends a text; cut to its field's max and to what is left, between characters (then v.truncated
 * = 1). By the owner, before SLOT_SETTLED; each field once (a second value takes new room). */
void slot_set_text(struct slot *s, enum slot_text field, struct slice value);
struct slice slot_text(const struct slot *s, enum slot_text field);
void slot_set_state(
	struct slot *s, enum slot_state state); /* release order; SETTLED computes the crc */
bool slot_is_intact(const struct slot *s);      /* SETTLED: the crc holds */
/* The slot as a record; texts borrowed from the slot. */
void slot_record(const struct slot *s, struct usage_record *ret);
/* Consistent copy for other threads: false if it is free or kept changing. */
bool slot_peek(const struct slot *s, struct slot *copy);

#endif
