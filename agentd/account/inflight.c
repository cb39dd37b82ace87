/* File: one page of head (struct head), then the slots. The free list and the count of taken slots
 * live in this process's memory and are made anew at open from the slots' states; `touched` in the
 * head bounds that scan, so that a file of 32 MiB costs only the pages that were ever used. A slot
 * that was taken but never admitted has state FREE and leaves nothing behind.
 *
 * Slots are handed out last-freed first (their memory is warm), from a stack whose top carries a
 * tag against ABA. */
#include "account/inflight.h"

#include "account/held_file.h"

#include <stdalign.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <aigw/crc.h>

#define HEAD_BYTES 4096
#define HEAD_MAGIC                                                                                 \
	0x31746c666e697761u /* "awinflt1", little-endian: a mapping is never moved to another host \
			     */

struct head {
	uint64_t magic;
	uint32_t format;
	uint32_t layout; /* which usage fields stand where */
	uint32_t count;
	_Atomic uint32_t touched; /* slots that were taken at least once */
};

struct inflight {
	int fd;
	uint32_t count;
	size_t map_bytes;
	struct head *head;
	struct slot *slots;
	alignas(64) _Atomic uint64_t top; /* free stack: tag << 32 | slot or SLOT_NONE */
	alignas(64) _Atomic uint32_t used;
};

/* A changed table of usage fields makes another number. */
static uint32_t layout_number(void)
{
	static const char rows[] =
#define USAGE_INT(tag, name, unit, doc) #tag "i" #name ";"
#define USAGE_STR(tag, name, max, doc)  #tag "s" #name ";"
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
		;

	return crc32c(0, rows, sizeof(rows));
}

static size_t file_bytes(uint32_t count)
{
	return HEAD_BYTES + (size_t)count * SLOT_BYTES;
}

/* --- open
 * ------------------------------------------------------------------------------------------ */

static void file_unmap(struct inflight *f)
{
	if (f->head)
		(void)munmap(f->head, f->map_bytes);
	f->head = NULL;
	f->slots = NULL;
}

static int file_map(struct inflight *f, uint32_t count)
{
	char *p = mmap(NULL, file_bytes(count), PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	f->count = count;
	f->map_bytes = file_bytes(count);
	f->head = (struct head *)p;
	f->slots = (struct slot *)(p + HEAD_BYTES);
	return 0;
}

/* Empty, with n slots. The magic is written last: a file without it is nobody's and is made anew.
 */
static int file_create(struct inflight *f, uint32_t n)
{
	int r;

	file_unmap(f);
	if (ftruncate(f->fd, 0) < 0 || ftruncate(f->fd, (off_t)file_bytes(n)) < 0)
		return -errno;
	r = file_map(f, n);
	if (r < 0)
		return r;
	f->head->format = INFLIGHT_FORMAT;
	f->head->layout = layout_number();
	f->head->count = n;
	atomic_store_explicit(&f->head->touched, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	f->head->magic = HEAD_MAGIC;
	return 0;
}

static int file_grow(struct inflight *f, uint32_t n)
{
	int r;

	file_unmap(f);
	if (ftruncate(f->fd, (off_t)file_bytes(n)) < 0)
		return -errno;
	r = file_map(f, n);
	if (r == 0)
		f->head->count = n;
	return r;
}

/* Maps what a former process left. 1: nothing of use, to be created. */
static int file_adopt(struct inflight *f, const char *path, struct errbuf *e)
{
	struct head h;
	struct stat st;
	int r;

	if (fstat(f->fd, &st) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (st.st_size < (off_t)sizeof(h))
		return 1;
	r = file_map(f, 0);
	if (r < 0)
		return err_set(e, r, "%s: can't be mapped: %s", path, strerror(-r));
	h = *f->head;
	file_unmap(f);
	if (h.magic == 0)
		return 1;
	if (h.magic != HEAD_MAGIC)
		return err_set(e, -EBADMSG, "%s is not an in-flight file; move it away.", path);
	if (h.format != INFLIGHT_FORMAT)
		return err_set(e, -EPROTONOSUPPORT,
			"%s has format %" PRIu32
			"; this program knows format %d. Start the version that wrote it.",
			path, h.format, INFLIGHT_FORMAT);
	if (h.count == 0 || h.count > INFLIGHT_MAX_SLOTS || h.touched > h.count ||
		st.st_size < (off_t)file_bytes(h.count))
		return err_set(e, -EBADMSG, "%s is damaged: its head does not fit its size.", path);
	r = file_map(f, h.count);
	if (r < 0)
		return err_set(e, r, "%s: can't be mapped: %s", path, strerror(-r));
	return 0;
}

/* The free list from the states, lowest slot on top; what is taken stays taken. */
static void free_list_build(struct inflight *f)
{
	uint32_t i = atomic_load_explicit(&f->head->touched, memory_order_relaxed);
	uint32_t top = SLOT_NONE, used = 0;

	while (i-- > 0) {
		struct slot *s = &f->slots[i];

		if (atomic_load_explicit(&s->state, memory_order_relaxed) == SLOT_FREE) {
			atomic_store_explicit(&s->next_free, top, memory_order_relaxed);
			top = i;
		} else {
			atomic_store_explicit(&s->next_free, SLOT_TAKEN, memory_order_relaxed);
			used++;
		}
	}
	atomic_init(&f->top, top);
	atomic_init(&f->used, used);
}

static int file_settle(struct inflight *f, const char *path, uint32_t n, struct errbuf *e)
{
	int r = file_adopt(f, path, e);

	if (r < 0)
		return r;
	if (r == 0) {
		free_list_build(f);
		if (f->used != 0 && f->head->layout != layout_number())
			return err_set(e, -EPROTONOSUPPORT,
				"%s holds %" PRIu32 " calls of another version of the program. "
				"Start that version once, it books them.",
				path, f->used);
	}
	if (r == 1 || f->used == 0)
		r = file_create(f, n);
	else if (n > f->count)
		r = file_grow(f, n);
	if (r < 0)
		return err_set(e, r, "%s: can't be made %zu bytes long: %s", path, file_bytes(n),
			strerror(-r));
	free_list_build(f);
	return 0;
}

int inflight_open(const char *runtime_dir, uint32_t n, struct inflight **ret, struct errbuf *e)
{
	char path[HELD_FILE_PATH_MAX];
	struct inflight *f;
	int r;

	if (n == 0 || n > INFLIGHT_MAX_SLOTS)
		return err_set(e, -EINVAL, "inflight_slots: from 1 to %u", INFLIGHT_MAX_SLOTS);
	f = aligned_alloc(alignof(struct inflight), sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	memset(f, 0, sizeof(*f));
	r = held_file_open(runtime_dir, "inflight", "runtime_dir", path, &f->fd, e);
	if (r == 0)
		r = file_settle(f, path, n, e);
	if (r < 0) {
		inflight_close(f);
		return r;
	}
	*ret = f;
	return 0;
}

void inflight_close(struct inflight *f)
{
	if (!f)
		return;
	file_unmap(f);
	if (f->fd >= 0)
		(void)close(f->fd);
	free(f);
}

uint32_t inflight_count(const struct inflight *f)
{
	return f->count;
}

uint32_t inflight_used(const struct inflight *f)
{
	return atomic_load_explicit(&f->used, memory_order_relaxed);
}

uint32_t inflight_touched(const struct inflight *f)
{
	return atomic_load_explicit(&f->head->touched, memory_order_acquire);
}

struct slot *inflight_slot(struct inflight *f, uint32_t i)
{
	ASSERT(i < f->count);
	return &f->slots[i];
}

/* --- take and free
 * --------------------------------------------------------------------------------- */

static uint64_t stack_top(uint64_t old, uint32_t slot)
{
	return (old & ~(uint64_t)UINT32_MAX) + ((uint64_t)1 << 32) + slot;
}

static uint32_t stack_pop(struct inflight *f)
{
	uint64_t top = atomic_load_explicit(&f->top, memory_order_acquire);
	uint32_t i, next;

	do {
		i = (uint32_t)top;
		if (i == SLOT_NONE)
			return SLOT_NONE;
		next = atomic_load_explicit(&f->slots[i].next_free, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(
		&f->top, &top, stack_top(top, next), memory_order_acq_rel, memory_order_acquire));
	return i;
}

/* Slots in use are more than a cache holds: the one that comes next is on its way until then. */
static void prefetch_next(const struct inflight *f)
{
	uint32_t i = (uint32_t)atomic_load_explicit(&f->top, memory_order_relaxed);
	const char *s = i == SLOT_NONE ? NULL : (const char *)&f->slots[i];

	for (size_t at = 0; s && at < SLOT_BYTES - SLOT_TEXT_BYTES / 2; at += 64)
		__builtin_prefetch(s + at, 1);
}

static uint32_t touch_next(struct inflight *f)
{
	uint32_t i = atomic_load_explicit(&f->head->touched, memory_order_relaxed);

	do {
		if (i >= f->count)
			return SLOT_NONE;
	} while (!atomic_compare_exchange_weak_explicit(
		&f->head->touched, &i, i + 1, memory_order_acq_rel, memory_order_relaxed));
	return i;
}

/* The version is odd while the owner changes what slot_peek() has to see whole. */
static void slot_write_begin(struct slot *s)
{
	uint32_t v = atomic_load_explicit(&s->version, memory_order_relaxed);

	atomic_store_explicit(
		&s->version, v | 1, memory_order_relaxed); /* odd if its writer was killed */
	atomic_thread_fence(memory_order_release);
}

static void slot_write_end(struct slot *s)
{
	uint32_t v = atomic_load_explicit(&s->version, memory_order_relaxed);

	atomic_store_explicit(&s->version, v + 1, memory_order_release);
}

uint32_t inflight_take(struct inflight *f)
{
	uint32_t i = stack_pop(f);
	struct slot *s;

	if (i == SLOT_NONE)
		i = touch_next(f);
	if (i == SLOT_NONE)
		return SLOT_NONE;
	s = &f->slots[i];
	atomic_store_explicit(&s->next_free, SLOT_TAKEN, memory_order_relaxed);
	slot_write_begin(s);
	s->crc = 0;
	/* Old text stays: nothing points to it. */
	memset(&s->v, 0, offsetof(struct slot, text) - offsetof(struct slot, v));
	slot_write_end(s);
	atomic_fetch_add_explicit(&f->used, 1, memory_order_relaxed);
	prefetch_next(f);
	return i;
}

void inflight_free(struct inflight *f, uint32_t i)
{
	struct slot *s = inflight_slot(f, i);
	uint64_t top = atomic_load_explicit(&f->top, memory_order_relaxed);

	ASSERT(atomic_load_explicit(&s->next_free, memory_order_relaxed) == SLOT_TAKEN);
	atomic_store_explicit(&s->state, SLOT_FREE, memory_order_release);
	atomic_fetch_sub_explicit(&f->used, 1, memory_order_relaxed);
	do
		atomic_store_explicit(&s->next_free, (uint32_t)top, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(
		&f->top, &top, stack_top(top, i), memory_order_acq_rel, memory_order_relaxed));
}

/* --- one slot
 * -------------------------------------------------------------------------------------- */

static const uint8_t text_max[SLOT_TEXT_COUNT] = {
#define USAGE_INT(tag, name, unit, doc)
#define USAGE_STR(tag, name, max, doc) [SLOT_TEXT_##name] = (max),
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
};

/* At most n bytes of s, not ending within a UTF-8 character. */
static size_t text_cut(struct slice s, size_t n)
{
	size_t at = n;

	while (at > 0 && n - at < 3 && ((unsigned char)s.p[at] & 0xc0) == 0x80)
		at--;
	return ((unsigned char)s.p[at] & 0xc0) == 0x80 ? n : at; /* not UTF-8: cut anywhere */
}

void slot_set_text(struct slot *s, enum slot_text field, struct slice value)
{
	size_t n = MIN(value.n, (size_t)text_max[field]);
	uint16_t at = s->text_used;

	n = MIN(n, SLOT_TEXT_BYTES - (size_t)at);
	if (n < value.n) {
		n = text_cut(value, n);
		s->v.truncated = 1;
	}
	if (n == 0)
		return;
	slot_write_begin(s);
	bytes_copy(s->text + at, value.p, n);
	s->text_used = (uint16_t)(at + n);
	s->text_len[field] = 0;
	s->text_at[field][0] = (uint8_t)(at & 0xff);
	s->text_at[field][1] = (uint8_t)(at >> 8);
	/* A kill before this leaves the field empty, never torn. */
	atomic_thread_fence(memory_order_release);
	s->text_len[field] = (uint8_t)n;
	slot_write_end(s);
}

struct slice slot_text(const struct slot *s, enum slot_text field)
{
	size_t at = (size_t)(s->text_at[field][0] | s->text_at[field][1] << 8);
	size_t n = s->text_len[field];

	if (n == 0 || n > text_max[field] ||
		at + n > SLOT_TEXT_BYTES) /* a damaged slot says nothing */
		return SLICE_EMPTY;
	return slice_of(s->text + at, n);
}

_Static_assert(offsetof(struct slot, text_at) == offsetof(struct slot, text_len) + SLOT_TEXT_COUNT,
	"one run of bytes");

static uint32_t slot_crc(const struct slot *s)
{
	uint32_t crc = crc32c(0, &s->v, sizeof(s->v));

	/* Lengths and places stand one behind the other. */
	crc = crc32c(crc, (const char *)s + offsetof(struct slot, text_len),
		sizeof(s->text_len) + sizeof(s->text_at));
	return crc32c(crc, s->text, MIN((size_t)s->text_used, SLOT_TEXT_BYTES));
}

void slot_set_state(struct slot *s, enum slot_state state)
{
	if (state == SLOT_SETTLED)
		s->crc = slot_crc(s);
	atomic_store_explicit(&s->state, state, memory_order_release);
}

bool slot_is_intact(const struct slot *s)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_SETTLED &&
	       s->text_used <= SLOT_TEXT_BYTES && s->crc == slot_crc(s);
}

void slot_record(const struct slot *s, struct usage_record *ret)
{
#define USAGE_INT(tag, name, unit, doc) ret->name = s->v.name;
#define USAGE_STR(tag, name, max, doc)  ret->name = slot_text(s, SLOT_TEXT_##name);
#include <aigw/tbl/usage_fields.h>
#undef USAGE_INT
#undef USAGE_STR
}

/* Reads words that their owner writes with plain stores: each is read whole, and the version says
 * whether they fit together. The thread sanitizer can't know that. */
__attribute__((no_sanitize("thread"))) static void slot_copy(
	const struct slot *s, struct slot *copy)
{
	const uint64_t *from = (const uint64_t *)(const void *)s;
	uint64_t *to = (uint64_t *)(void *)copy;

	for (size_t i = 0; i < SLOT_BYTES / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
}

bool slot_peek(const struct slot *s, struct slot *copy)
{
	for (unsigned tries = 0; tries < 16; tries++) {
		uint32_t version = atomic_load_explicit(&s->version, memory_order_acquire);

		if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_FREE)
			return false;
		if (version & 1)
			continue;
		slot_copy(s, copy);
		if (atomic_load_explicit(&s->version, memory_order_relaxed) == version)
			return atomic_load_explicit(&copy->state, memory_order_relaxed) !=
			       SLOT_FREE;
	}
	return false;
}
