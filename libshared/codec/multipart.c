#include <aigw/multipart.h>

enum { FIRST, BEHIND, HEAD, CONTENT, LAST, OVER, BROKEN };

/* --- parameters of a field: ; name=token or ; name="text" ----------------------------- */

static struct slice trim(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_skip(s, 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* The value up to the first semicolon; *rest begins with it. */
static struct slice head_of(struct slice s, struct slice *rest)
{
	const char *at = s.n ? memchr(s.p, ';', s.n) : NULL;
	size_t n = at ? (size_t)(at - s.p) : s.n;

	*rest = slice_skip(s, n);
	return trim(slice_of(s.p, n));
}

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* 1: one; 0: no more; -1: malformed. In quotes a backslash is not taken for an escape: browsers
 * write names so, other clients do not. */
static int next_parameter(struct slice *s, struct slice *name, struct slice *value)
{
	size_t n = 0;

	*s = trim(*s);
	if (!s->n)
		return 0;
	if (s->p[0] != ';')
		return -1;
	*s = trim(slice_skip(*s, 1));
	if (!s->n)
		return 0;
	while (n < s->n && is_token(s->p[n]))
		n++;
	if (n == 0 || n == s->n || s->p[n] != '=')
		return -1;
	*name = slice_of(s->p, n);
	*s = slice_skip(*s, n + 1);
	if (s->n && s->p[0] == '"') {
		for (n = 1; n < s->n && s->p[n] != '"'; n++)
			if (s->p[n] == '\\' && n + 1 < s->n && s->p[n + 1] == '"')
				n++;
		if (n >= s->n)
			return -1;
		*value = slice_of(s->p + 1, n - 1);
		*s = slice_skip(*s, n + 1);
		return 1;
	}
	/* A file's name may come without quotes, in any bytes but the separators. */
	for (n = 0; n < s->n && s->p[n] != ';' && s->p[n] != ' ' && s->p[n] != '"';)
		n++;
	*value = slice_of(s->p, n);
	*s = slice_skip(*s, n);
	return n ? 1 : -1;
}

/* --- the boundary --------------------------------------------------------------------- */

static bool is_boundary(struct slice s)
{
	if (s.n == 0 || s.n > MULTIPART_BOUNDARY_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c && strchr("'()+_,-./:=?", c))))
			return false;
	}
	return true;
}

bool multipart_begin(struct multipart *m, struct slice content_type)
{
	struct slice rest, name, value, boundary = SLICE_EMPTY;
	int r;

	memset(m, 0, offsetof(struct multipart, name));
	if (!slice_eq_nocase(head_of(content_type, &rest), SLICE("multipart/form-data")))
		return false;
	while ((r = next_parameter(&rest, &name, &value)) > 0) {
		if (!slice_eq_nocase(name, SLICE("boundary")))
			continue;
		if (boundary.n)
			return false;
		boundary = value;
	}
	if (r < 0 || !is_boundary(boundary))
		return false;
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.p, boundary.n);
	m->delimiter_n = (uint8_t)(4 + boundary.n);
	m->matched = 2; /* the first one needs no line end before it */
	m->state = FIRST;
	return true;
}

/* --- a part's fields ------------------------------------------------------------------ */

static bool set_why(struct multipart *m, const char *why)
{
	m->why = why;
	return false;
}

static bool name_is_fine(struct slice s)
{
	if (s.n == 0 || s.n > MULTIPART_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c && strchr("_-.[]", c))))
			return false;
	}
	return true;
}

static bool read_disposition(struct multipart *m, struct slice value)
{
	struct slice rest, name, v;
	int r;

	if (!slice_eq_nocase(head_of(value, &rest), SLICE("form-data")))
		return set_why(m, "a part is not content-disposition: form-data");
	while ((r = next_parameter(&rest, &name, &v)) > 0) {
		if (slice_eq_nocase(name, SLICE("name"))) {
			if (m->name_n)
				return set_why(m, "a part has two names");
			if (!name_is_fine(v))
				return set_why(m, "the name of a part has to be 1 to 64 letters, "
						  "digits, _ - . [ ]");
			memcpy(m->name, v.p, v.n);
			m->name_n = (uint16_t)v.n;
		} else if (slice_eq_nocase(name, SLICE("name*"))) {
			return set_why(m, "name*= is not allowed");
		} else if (slice_eq_nocase(name, SLICE("filename")) ||
			   slice_eq_nocase(name, SLICE("filename*"))) {
			m->is_file = true;
		}
	}
	if (r < 0)
		return set_why(m, "a content-disposition is malformed");
	return m->name_n ? true : set_why(m, "a part has no name");
}

static bool read_type(struct multipart *m, struct slice value)
{
	struct slice rest, name, v;
	int r;

	if (m->has_type)
		return set_why(m, "a part has two content types");
	m->has_type = true;
	m->type_is_text = slice_eq_nocase(head_of(value, &rest), SLICE("text/plain"));
	while ((r = next_parameter(&rest, &name, &v)) > 0) {
		if (slice_eq_nocase(name, SLICE("charset")) &&
			!slice_eq_nocase(v, SLICE("utf-8")) &&
			!slice_eq_nocase(v, SLICE("us-ascii")))
			m->type_is_text = false;
	}
	return r < 0 ? set_why(m, "the content type of a part is malformed") : true;
}

static bool read_field(struct multipart *m, struct slice line)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct slice name, value;

	if (!colon || line.p[0] == ' ' || line.p[0] == '\t')
		return set_why(m, "a field of a part is malformed");
	name = slice_of(line.p, (size_t)(colon - line.p));
	value = trim(slice_skip(line, name.n + 1));
	for (size_t i = 0; i < name.n; i++)
		if (!is_token(name.p[i]))
			return set_why(m, "a field of a part is malformed");
	if (slice_eq_nocase(name, SLICE("content-disposition"))) {
		if (m->name_n)
			return set_why(m, "a part has two dispositions");
		return read_disposition(m, value);
	}
	if (slice_eq_nocase(name, SLICE("content-type")))
		return read_type(m, value);
	if (slice_eq_nocase(name, SLICE("content-transfer-encoding")) &&
		!slice_eq_nocase(value, SLICE("binary")) &&
		!slice_eq_nocase(value, SLICE("8bit")) && !slice_eq_nocase(value, SLICE("7bit")))
		return set_why(m, "only binary parts are understood");
	return true;
}

/* m->head: lines that end with CR LF, the last one empty. */
static bool read_head(struct multipart *m)
{
	struct slice left = slice_of(m->head, (size_t)m->head_n - 2);

	while (left.n) {
		const char *end = memchr(left.p, '\n', left.n);
		size_t n = (size_t)(end - left.p); /* it ends with one */
		struct slice line = slice_of(left.p, n - 1);

		if (n == 0 || left.p[n - 1] != '\r' || memchr(line.p, '\r', line.n) ||
			memchr(line.p, '\0', line.n))
			return set_why(m, "a line of a part's fields is malformed");
		if (!read_field(m, line))
			return false;
		left = slice_skip(left, n + 1);
	}
	return m->name_n ? true : set_why(m, "a part has no content-disposition");
}

/* --- the body ------------------------------------------------------------------------- */

static enum multipart_event broken(struct multipart *m, const char *why)
{
	m->state = BROKEN;
	if (why)
		m->why = why;
	return MULTIPART_ERROR;
}

static void keep(struct multipart *m, const char *p, size_t n)
{
	size_t room = sizeof(m->value) - m->value_n;

	n = MIN(n, room);
	memcpy(m->value + m->value_n, p, n);
	m->value_n = (uint16_t)(m->value_n + n);
}

/* Content up to the next delimiter. CR stands in it at the first place only, so a match that fails
 * can begin anew at a CR and nowhere else. */
static bool take_content(struct multipart *m, const char *p, size_t n, size_t *used)
{
	size_t i = 0;

	while (i < n) {
		if (m->matched == 0) {
			const char *cr = memchr(p + i, '\r', n - i);
			size_t plain = cr ? (size_t)(cr - p) - i : n - i;

			keep(m, p + i, plain);
			i += plain;
			if (!cr)
				break;
			m->matched = 1;
			i++;
		} else if (p[i] == m->delimiter[m->matched]) {
			m->matched++;
			i++;
			if (m->matched == m->delimiter_n) {
				*used = i;
				m->at += i;
				return true;
			}
		} else {
			keep(m, m->delimiter, m->matched);
			m->matched = 0;
		}
	}
	*used = i;
	m->at += i;
	return false;
}

static enum multipart_event end_part(struct multipart *m)
{
	bool first = m->state == FIRST;

	m->to = first ? 0 : m->at - m->delimiter_n;
	m->matched = 0;
	m->tail = 0;
	m->state = BEHIND;
	return first ? MULTIPART_MORE : MULTIPART_PART_END;
}

/* Behind a delimiter: CR LF and a part, or -- and the end. */
static bool take_behind(struct multipart *m, char c)
{
	if (m->tail == 0 && (c == '\r' || c == '-')) {
		m->tail = c == '\r' ? 1 : 2;
		return true;
	}
	if (m->tail == 1 && c == '\n') {
		m->state = HEAD;
		m->head_n = m->name_n = m->value_n = 0;
		m->is_file = m->has_type = false;
		m->type_is_text = true;
		return true;
	}
	if (m->tail == 2 && c == '-') {
		m->state = LAST;
		m->tail = 0;
		return true;
	}
	return false;
}

/* Behind the last delimiter: nothing, or one line end. */
static bool take_last(struct multipart *m, char c)
{
	if (m->tail == 0 && c == '\r')
		m->tail = 1;
	else if (m->tail == 1 && c == '\n')
		m->state = OVER;
	else
		return false;
	return true;
}

static bool head_ends(const struct multipart *m)
{
	return (m->head_n == 2 && memcmp(m->head, "\r\n", 2) == 0) ||
	       (m->head_n >= 4 && memcmp(m->head + m->head_n - 4, "\r\n\r\n", 4) == 0);
}

static enum multipart_event begin_content(struct multipart *m)
{
	if (!read_head(m))
		return broken(m, NULL);
	m->state = CONTENT;
	m->from = m->at;
	m->matched = 0;
	return MULTIPART_PART;
}

/* One byte at a time outside of content: each is looked at. */
static enum multipart_event take_byte(struct multipart *m, char c)
{
	switch (m->state) {
	case FIRST:
		if (c != m->delimiter[m->matched])
			return broken(m, "the body does not begin with its boundary");
		m->at++;
		if (++m->matched == m->delimiter_n)
			(void)end_part(m);
		return MULTIPART_MORE;
	case BEHIND:
		if (!take_behind(m, c))
			return broken(m, "a boundary is not followed by a line end");
		m->at++;
		if (m->state == LAST)
			return m->parts ? MULTIPART_END : broken(m, "there is no part");
		if (m->state == HEAD && ++m->parts > MULTIPART_PARTS_MAX)
			return broken(m, "there are more than 256 parts");
		return MULTIPART_MORE;
	case HEAD:
		if (m->head_n == sizeof(m->head))
			return broken(m, "the fields of a part are larger than 2048 bytes");
		m->head[m->head_n++] = c;
		m->at++;
		return head_ends(m) ? begin_content(m) : MULTIPART_MORE;
	case LAST:
		if (!take_last(m, c))
			return broken(m, "something follows the last boundary");
		m->at++;
		return MULTIPART_MORE;
	default: return broken(m, m->why ? m->why : "something follows the last boundary");
	}
}

enum multipart_event multipart_next(struct multipart *m, const char *p, size_t n, size_t *used)
{
	size_t i = 0, got;

	*used = 0;
	while (i < n) {
		enum multipart_event e = MULTIPART_MORE;

		if (m->state == CONTENT) {
			if (take_content(m, p + i, n - i, &got))
				e = end_part(m);
			i += got;
		} else {
			e = take_byte(m, p[i]);
			i++;
		}
		*used = i;
		if (e != MULTIPART_MORE)
			return e;
	}
	return MULTIPART_MORE;
}

bool multipart_is_whole(const struct multipart *m)
{
	return (m->state == LAST && m->tail == 0) || m->state == OVER;
}
