/* STATE_DIR/policy.cache, integers big-endian:
 *   "AIGWPOLC", format (4), revision (8), applied (8), length (8), packed document, CRC-32C over
 * all before (4) */
#include "policy/keyset.h"

#include <aigw/atomic_file.h>
#include <aigw/crc.h>

#include <limits.h>

#define POLICY_CACHE_MAGIC  "AIGWPOLC"
#define POLICY_CACHE_FORMAT 1
#define HEAD_BYTES          (8 + 4 + 8 + 8 + 8)
#define CRC_BYTES           4
#define FILE_MAX_BYTES      ((size_t)64 << 20)

static void append_be(struct buf *b, uint64_t v, unsigned n)
{
	while (n--)
		(void)buf_char(b, (char)(v >> (8 * n)));
}

static uint64_t get_be(const char *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | (uint8_t)p[i];
	return v;
}

static int cache_path(const char *state_dir, char path[static PATH_MAX], struct errbuf *e)
{
	int n = snprintf(path, PATH_MAX, "%s/policy.cache", state_dir);

	return n < 0 || n >= PATH_MAX ? err_set(e, -ENAMETOOLONG, "state_dir is too long") : 0;
}

int policy_cache_write(const char *state_dir, uint64_t revision, usec applied_us,
	struct slice packed, struct errbuf *e)
{
	char path[PATH_MAX];
	struct buf b;
	int r = cache_path(state_dir, path, e);

	if (r < 0)
		return r;
	buf_init(&b, FILE_MAX_BYTES);
	(void)buf_str(&b, POLICY_CACHE_MAGIC);
	append_be(&b, POLICY_CACHE_FORMAT, 4);
	append_be(&b, revision, 8);
	append_be(&b, (uint64_t)applied_us, 8);
	append_be(&b, packed.n, 8);
	(void)buf_slice(&b, packed);
	append_be(&b, crc32c(0, b.p, b.n), CRC_BYTES);
	if (b.err)
		r = err_set(e, b.err, "cannot keep revision %" PRIu64 " in %s: %s", revision, path,
			strerror(-b.err));
	else
		r = atomic_file_write(path, 0600, buf_view(&b), e);
	buf_fini(&b);
	return r;
}

/* Checks a whole file; *ret points into it. */
static int cache_open(struct slice file, const char *path, struct slice *ret, struct errbuf *e)
{
	if (file.n < HEAD_BYTES + CRC_BYTES || memcmp(file.p, POLICY_CACHE_MAGIC, 8) != 0)
		return err_set(e, -EBADMSG, "%s is not a policy cache", path);
	if (get_be(file.p + 8, 4) > POLICY_CACHE_FORMAT)
		return err_set(e, -ENOTSUP,
			"%s has format %" PRIu64 ", this program knows up to %d", path,
			get_be(file.p + 8, 4), POLICY_CACHE_FORMAT);
	if (get_be(file.p + 8, 4) == 0 ||
		get_be(file.p + 28, 8) != file.n - HEAD_BYTES - CRC_BYTES ||
		get_be(file.p + file.n - CRC_BYTES, CRC_BYTES) !=
			crc32c(0, file.p, file.n - CRC_BYTES))
		return err_set(e, -EBADMSG, "%s is damaged", path);
	*ret = slice_of(file.p + HEAD_BYTES, file.n - HEAD_BYTES - CRC_BYTES);
	return 0;
}

int policy_cache_read(const char *state_dir, uint64_t *ret_revision, usec *ret_applied_us,
	struct buf *packed, struct errbuf *e)
{
	char path[PATH_MAX];
	struct slice document = SLICE_EMPTY;
	struct buf b;
	int r = cache_path(state_dir, path, e);

	if (r < 0)
		return r;
	buf_init(&b, FILE_MAX_BYTES);
	r = file_read(path, &b, e);
	if (r == 0)
		r = cache_open(buf_view(&b), path, &document, e);
	if (r == 0) {
		r = buf_slice(packed, document);
		if (r < 0)
			r = err_set(e, r, "the policy in %s is too large: %s", path, strerror(-r));
	}
	if (r == 0) {
		*ret_revision = get_be(b.p + 12, 8);
		*ret_applied_us = (usec)get_be(b.p + 20, 8);
	}
	buf_fini(&b);
	return r;
}
