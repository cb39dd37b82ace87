/* Each secret has pages of its own: secrets are few and live long, and only whole pages can be kept
 * out of core dumps. */
#include <aigw/errbuf.h>
#include <aigw/secret.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECRET_FILE_MAX_BYTES 8192

static size_t secret_map_bytes(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (n + page - 1) / page * page;
}

int secret_set(struct secret *s, struct slice bytes)
{
	char *p = NULL;

	if (bytes.n > SIZE_MAX / 2)
		return -ENOMEM;
	if (bytes.n) {
		size_t size = secret_map_bytes(bytes.n);

		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return -ENOMEM;
		if (madvise(p, size, MADV_DONTDUMP) < 0) {
			int r = -errno;

			(void)munmap(p, size);
			return r;
		}
		memcpy(p, bytes.p, bytes.n);
	}
	secret_fini(s);
	*s = (struct secret){ p, bytes.n };
	return 0;
}

void secret_fini(struct secret *s)
{
	if (s->p) {
		secret_wipe(s->p, s->n);
		(void)munmap(s->p, secret_map_bytes(s->n));
	}
	*s = (struct secret){ NULL, 0 };
}

void secret_move(struct secret *to, struct secret *from)
{
	if (to == from)
		return;
	secret_fini(to);
	*to = *from;
	*from = (struct secret){ NULL, 0 };
}

struct slice secret_expose(const struct secret *s)
{
	return slice_of(s->p, s->n);
}

bool secret_eq(struct slice a, struct slice b)
{
	volatile unsigned char diff = 0;

	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		diff |= (unsigned char)(a.p[i] ^ b.p[i]);
	return diff == 0;
}

void secret_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

/* Up to cap bytes; negative errno. */
static ssize_t secret_read_fd(int fd, char *p, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		ssize_t r = read(fd, p + n, cap - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

static int secret_check(struct slice text, const char *what, struct errbuf *e)
{
	if (text.n == 0)
		return err_set(e, -EINVAL, "%s holds no secret: it is empty", what);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c < 0x20 || c == 0x7f)
			return err_set(e, -EINVAL,
				"%s: byte %zu is a control character; a secret is one line of text",
				what, i + 1);
	}
	return 0;
}

int secret_read_file(struct secret *s, const char *path, struct errbuf *e)
{
	char text[SECRET_FILE_MAX_BYTES + 3]; /* the largest secret, CR, LF and one byte too many */
	bool from_stdin = strcmp(path, "-") == 0;
	const char *what = from_stdin ? "standard input" : path;
	int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	size_t n;
	int r;

	if (fd < 0) {
		r = -errno;
		return err_set(e, r, "cannot open %s: %s", what, strerror(-r));
	}
	got = secret_read_fd(fd, text, sizeof(text));
	if (!from_stdin)
		(void)close(fd);
	if (got < 0) {
		r = err_set(e, (int)got, "cannot read %s: %s", what, strerror((int)-got));
		goto out;
	}
	n = (size_t)got;
	if (n && text[n - 1] == '\n')
		n--;
	if (n < (size_t)got && n && text[n - 1] == '\r')
		n--;
	if (n > SECRET_FILE_MAX_BYTES) {
		r = err_set(e, -EFBIG, "%s is longer than %d bytes: not a secret", what,
			SECRET_FILE_MAX_BYTES);
		goto out;
	}
	r = secret_check(slice_of(text, n), what, e);
	if (r < 0)
		goto out;
	r = secret_set(s, slice_of(text, n));
	if (r < 0)
		(void)err_set(e, r, "no memory for the secret in %s: %s", what, strerror(-r));
out:
	secret_wipe(text, sizeof(text));
	return r;
}
