/* Where provider credentials come from. Administrators' files hold the bare secret; our own cache's
 * files are "AIGWSECR", format (4), version (8), length of the name (1), name, length (4), secret,
 * CRC-32C over all before (4) with integers big-endian. The name stands in the file so that a copy
 * or a left-over is not taken for another secret. */
#include "policy/secrets.h"

#include <aigw/atomic_file.h>
#include <aigw/crc.h>
#include <aigw/text.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAGIC     "AIGWSECR"
#define SECRET_FORMAT    1
#define SECRET_NAME_MAX  64
#define SECRET_MAX_BYTES 8192
#define SECRETS_MAX      1024 /* of one set */
#define HEAD_BYTES       (8 + 4 + 8 + 1)
#define CRC_BYTES        4
#define FILE_MAX_BYTES   (HEAD_BYTES + SECRET_NAME_MAX + 4 + SECRET_MAX_BYTES + CRC_BYTES)

struct secret_entry {
	char name[SECRET_NAME_MAX];
	size_t name_n;
	enum secret_source source;
	uint64_t version;
	struct secret bytes;
};

struct secret_set {
	_Atomic uint32_t refs;
	unsigned n, cap;
	struct secret_entry *v; /* sorted by name once loaded */
};

const char *secret_source_name(enum secret_source s)
{
	switch (s) {
	case SECRET_NONE: return "none";
	case SECRET_CREDENTIALS_DIRECTORY: return "credentials_directory";
	case SECRET_SECRETS_DIR: return "secrets_dir";
	case SECRET_CACHE: return "cache";
	}
	return "none";
}

/* --- the set -------------------------------------------------------------------------- */

struct secret_set *secret_set_ref(struct secret_set *s)
{
	(void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void secret_set_unref(struct secret_set *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < s->n; i++)
		secret_fini(&s->v[i].bytes);
	free(s->v);
	free(s);
}

static struct slice entry_name(const struct secret_entry *e)
{
	return slice_of(e->name, e->name_n);
}

static int name_compare(struct slice a, struct slice b)
{
	int c = memcmp(a.p, b.p, MIN(a.n, b.n));

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int entry_compare(const void *a, const void *b)
{
	return name_compare(entry_name(a), entry_name(b));
}

static const struct secret_entry *entry_find(const struct secret_set *s, struct slice name)
{
	unsigned low = 0, high = s->n;

	while (name.n && low < high) {
		unsigned mid = low + (high - low) / 2;
		int c = name_compare(name, entry_name(&s->v[mid]));

		if (c == 0)
			return &s->v[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

struct slice secret_set_get(const struct secret_set *s, struct slice name,
	enum secret_source *ret_source, uint64_t *ret_version)
{
	const struct secret_entry *e = entry_find(s, name);

	if (ret_source)
		*ret_source = e ? e->source : SECRET_NONE;
	if (ret_version)
		*ret_version = e ? e->version : 0;
	return e ? secret_expose(&e->bytes) : SLICE_EMPTY;
}

unsigned secret_set_count(const struct secret_set *s)
{
	return s->n;
}

struct slice secret_set_name(const struct secret_set *s, unsigned i, enum secret_source *ret_source,
	uint64_t *ret_version)
{
	ASSERT(i < s->n);
	if (ret_source)
		*ret_source = s->v[i].source;
	if (ret_version)
		*ret_version = s->v[i].version;
	return entry_name(&s->v[i]);
}

/* While loading the set is not sorted yet. */
static bool set_has(const struct secret_set *s, struct slice name)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (slice_eq(entry_name(&s->v[i]), name))
			return true;
	}
	return false;
}

/* Takes the secret. */
static int set_add(struct secret_set *s, struct slice name, enum secret_source source,
	uint64_t version, struct secret *bytes)
{
	struct secret_entry *e;

	if (s->n == s->cap) {
		unsigned cap = s->cap ? s->cap * 2 : 8;
		struct secret_entry *v = realloc(s->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	e = &s->v[s->n++];
	*e = (struct secret_entry){ .name_n = name.n, .source = source, .version = version };
	memcpy(e->name, name.p, name.n);
	secret_move(&e->bytes, bytes);
	return 0;
}

/* --- reading -------------------------------------------------------------------------- */

/* [A-Za-z0-9._-]{1,64}, not beginning with a dot: neither a way out of the folder nor an editor's
 * left-over. */
static bool name_is_valid(struct slice name)
{
	if (name.n == 0 || name.n > SECRET_NAME_MAX || name.p[0] == '.')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (c != '.' && c != '_' && c != '-' && !text_is_base62(slice_of(&c, 1)))
			return false;
	}
	return true;
}

static uint64_t get_be(const char *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | (uint8_t)p[i];
	return v;
}

static int cache_file_open(struct slice file, struct slice name, uint64_t *ret_version,
	struct secret *ret, struct errbuf *e)
{
	size_t name_n, n;

	if (file.n < HEAD_BYTES + CRC_BYTES || memcmp(file.p, SECRET_MAGIC, 8) != 0)
		return err_set(e, -EBADMSG, "it is not a cached secret");
	if (get_be(file.p + 8, 4) > SECRET_FORMAT)
		return err_set(e, -ENOTSUP,
			"it has format %" PRIu64 ", this program knows up to %d",
			get_be(file.p + 8, 4), SECRET_FORMAT);
	if (get_be(file.p + 8, 4) == 0 ||
		get_be(file.p + file.n - CRC_BYTES, 4) != crc32c(0, file.p, file.n - CRC_BYTES))
		return err_set(e, -EBADMSG, "it is damaged");
	name_n = (uint8_t)file.p[HEAD_BYTES - 1];
	if (file.n < HEAD_BYTES + name_n + 4 + CRC_BYTES)
		return err_set(e, -EBADMSG, "it is damaged");
	n = (size_t)get_be(file.p + HEAD_BYTES + name_n, 4);
	if (n != file.n - HEAD_BYTES - name_n - 4 - CRC_BYTES)
		return err_set(e, -EBADMSG, "it is damaged");
	if (!slice_eq(slice_of(file.p + HEAD_BYTES, name_n), name))
		return err_set(e, -EBADMSG, "it holds a secret of another name");
	*ret_version = get_be(file.p + 12, 8);
	return secret_set(ret, slice_of(file.p + HEAD_BYTES + name_n + 4, n));
}

static int cache_file_read(const char *path, struct slice name, uint64_t *ret_version,
	struct secret *ret, struct errbuf *e)
{
	struct buf b;
	int r;

	buf_init(&b, FILE_MAX_BYTES);
	r = buf_reserve(&b, FILE_MAX_BYTES); /* never moved, so that one wipe clears all */
	if (r == 0)
		r = file_read(path, &b, e);
	else
		(void)err_set(e, r, "%s", strerror(-r));
	if (r == 0)
		r = cache_file_open(buf_view(&b), name, ret_version, ret, e);
	if (b.p)
		secret_wipe(b.p, b.cap);
	buf_fini(&b);
	return r;
}

struct place {
	const char *dir;
	const char *prefix; /* of the file's name, before the secret's */
	const char *skip;   /* files whose name begins so are not looked at; "": none */
	enum secret_source source;
	struct buf *report;
	bool may_be_closed; /* its files come another way: as credentials of the service */
};

static void warn(const struct place *p, const char *path, const char *why)
{
	if (p->report)
		(void)buf_printf(p->report, "%s: %s\n", path, why);
}

static int load_file(
	struct secret_set *s, const struct place *p, const char *path, struct slice name)
{
	struct errbuf e = { "" };
	struct secret bytes = { NULL, 0 };
	struct stat st;
	uint64_t version = 0;
	int r;

	if (stat(path, &st) < 0) {
		warn(p, path, strerror(errno));
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	if (p->source == SECRET_SECRETS_DIR && st.st_mode & S_IRWXO)
		warn(p, path, "every user of this host may read this secret; set its mode to 0600");
	if (s->n >= SECRETS_MAX) {
		warn(p, path, "not read, there are too many secrets");
		return 0;
	}
	if (p->source == SECRET_CACHE)
		r = cache_file_read(path, name, &version, &bytes, &e);
	else
		r = secret_read_file(&bytes, path, &e);
	if (r == 0)
		r = set_add(s, name, p->source, version, &bytes);
	else if (r != -ENOMEM)
		warn(p, path, e.text);
	secret_fini(&bytes);
	return r == -ENOMEM ? r : 0;
}

static int load_place(struct secret_set *s, const struct place *p)
{
	char path[PATH_MAX];
	const struct dirent *d;
	DIR *dir = opendir(p->dir);
	int r = 0;

	if (!dir) {
		if (errno != ENOENT && !(errno == EACCES && p->may_be_closed))
			warn(p, p->dir, strerror(errno));
		return 0;
	}
	while (r == 0 && (d = readdir(dir))) {
		struct slice name = slice_str(d->d_name);
		int n;

		if (!slice_starts(name, slice_str(p->prefix)) ||
			(p->skip[0] && slice_starts(name, slice_str(p->skip))))
			continue;
		name = slice_skip(name, strlen(p->prefix));
		n = snprintf(path, sizeof(path), "%s/%s", p->dir, d->d_name);
		if (n < 0 || (size_t)n >= sizeof(path) || !name_is_valid(name) || set_has(s, name))
			continue;
		r = load_file(s, p, path, name);
	}
	(void)closedir(dir);
	return r;
}

static bool place_is_used(const char *dir)
{
	return dir && dir[0] && strcmp(dir, "off") != 0;
}

int secret_set_load(const char *credentials_dir, const char *secrets_dir, const char *state_dir,
	struct secret_set **ret, struct buf *report)
{
	struct secret_set *s = calloc(1, sizeof(*s));
	char cache[PATH_MAX];
	int n = snprintf(cache, sizeof(cache), "%s/secrets", state_dir);
	const struct place places[] = {
		{ credentials_dir, "provider_", "", SECRET_CREDENTIALS_DIRECTORY, report, false },
		{ credentials_dir, "", "provider_", SECRET_CREDENTIALS_DIRECTORY, report, false },
		{ secrets_dir, "", "", SECRET_SECRETS_DIR, report, place_is_used(credentials_dir) },
		{ n > 0 && (size_t)n < sizeof(cache) ? cache : NULL, "", "", SECRET_CACHE, report,
			false },
	};
	int r = 0;

	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	for (size_t i = 0; i < ARRAY_LEN(places) && r == 0; i++) {
		if (place_is_used(places[i].dir))
			r = load_place(s, &places[i]);
	}
	if (r < 0) {
		secret_set_unref(s);
		return r;
	}
	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), entry_compare);
	*ret = s;
	return 0;
}

/* --- the cache ------------------------------------------------------------------------ */

static void append_be(struct buf *b, uint64_t v, unsigned n)
{
	while (n--)
		(void)buf_char(b, (char)(v >> (8 * n)));
}

/* STATE_DIR/secrets, made if it is missing; a new folder is durable only when the one above is
 * synced. */
static int cache_folder(const char *state_dir, char path[static PATH_MAX], struct errbuf *e)
{
	int n = snprintf(path, PATH_MAX, "%s/secrets", state_dir);
	int fd, r = 0;

	if (n < 0 || n >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "state_dir is too long");
	if (mkdir(path, 0700) < 0) {
		r = errno == EEXIST ? 0 : -errno;
		return r ? err_set(e, r, "cannot make %s: %s", path, strerror(-r)) : 0;
	}
	fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		(void)close(fd);
	return r ? err_set(e, r, "cannot sync %s: %s", state_dir, strerror(-r)) : 0;
}

/* A credential becomes part of a head: nothing in it may end a line. Files are checked by
 * secret_read_file(). */
static bool is_one_line(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	}
	return true;
}

int secret_cache_put(const char *state_dir, struct slice name, uint64_t version, struct slice bytes,
	struct errbuf *e)
{
	char path[PATH_MAX];
	struct buf b;
	size_t n;
	int r;

	if (!name_is_valid(name))
		return err_set(e, -EINVAL,
			"the name of a secret has 1 to %d letters, digits, dots, underscores and "
			"dashes and does not "
			"begin with a dot",
			SECRET_NAME_MAX);
	if (bytes.n == 0 || bytes.n > SECRET_MAX_BYTES)
		return err_set(e, -EINVAL, "a secret has 1 to %d bytes", SECRET_MAX_BYTES);
	if (!is_one_line(bytes))
		return err_set(e, -EINVAL, "a secret has no control characters");
	r = cache_folder(state_dir, path, e);
	if (r < 0)
		return r;
	n = strlen(path);
	if (n + 1 + name.n + 1 > sizeof(path))
		return err_set(e, -ENAMETOOLONG, "state_dir is too long");
	path[n] = '/';
	memcpy(path + n + 1, name.p, name.n);
	path[n + 1 + name.n] = '\0';
	buf_init(&b, FILE_MAX_BYTES);
	if (buf_reserve(&b, FILE_MAX_BYTES) == 0) {
		(void)buf_str(&b, SECRET_MAGIC);
		append_be(&b, SECRET_FORMAT, 4);
		append_be(&b, version, 8);
		append_be(&b, name.n, 1);
		(void)buf_slice(&b, name);
		append_be(&b, bytes.n, 4);
		(void)buf_slice(&b, bytes);
		append_be(&b, crc32c(0, b.p, b.n), CRC_BYTES);
	}
	r = b.err ? err_set(e, b.err, "cannot keep a secret: %s", strerror(-b.err))
		  : atomic_file_write(path, 0600, buf_view(&b), e);
	if (b.p)
		secret_wipe(b.p, b.cap);
	buf_fini(&b);
	return r;
}
