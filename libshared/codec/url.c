#include <aigw/text.h>
#include <aigw/url.h>

#include <arpa/inet.h>

#define HOST_MAX_BYTES  253
#define LABEL_MAX_BYTES 63

/* The messages never repeat the text: a wrong base_url may hold a password. */

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int parse_scheme(struct slice *s, bool *ret_tls, struct errbuf *e)
{
	static const struct slice http = { "http://", 7 }, https = { "https://", 8 };

	if (s->n >= https.n && slice_eq_nocase(slice_of(s->p, https.n), https)) {
		*ret_tls = true;
		*s = slice_skip(*s, https.n);
	} else if (s->n >= http.n && slice_eq_nocase(slice_of(s->p, http.n), http)) {
		*ret_tls = false;
		*s = slice_skip(*s, http.n);
	} else {
		return err_set(e, -EINVAL, "the URL must begin with http:// or https://");
	}
	return 0;
}

static bool is_ip(int family, struct slice host)
{
	unsigned char addr[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];

	if (host.n >= sizeof(text) || memchr(host.p, '\0', host.n))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(family, text, addr) == 1;
}

/* Host names by the letter of RFC 1123, with the underscore that container networks use. */
static int check_name(struct slice host, bool *ret_is_ip, struct errbuf *e)
{
	size_t label = 0, last = 0;

	if (host.n == 0)
		return err_set(e, -EINVAL, "the URL has no host");
	if (host.n > HOST_MAX_BYTES)
		return err_set(e, -EINVAL, "the host name is longer than %d bytes", HOST_MAX_BYTES);
	for (size_t i = 0; i <= host.n; i++) {
		if (i == host.n || host.p[i] == '.') {
			if (label == 0 || label > LABEL_MAX_BYTES)
				return err_set(e, -EINVAL,
					"the host name has an empty label or one above %d bytes",
					LABEL_MAX_BYTES);
			last = i - label;
			label = 0;
			continue;
		}
		if (!is_alnum(host.p[i]) && host.p[i] != '-' && host.p[i] != '_')
			return err_set(e, -EINVAL, "byte %zu of the host name is not allowed there",
				i + 1);
		label++;
	}
	*ret_is_ip = is_ip(AF_INET, host);
	/* "2130706433", "127.1" and "0x7f.0.0.1" are addresses to some resolvers and names to
	 * others. */
	if (!*ret_is_ip && host.p[last] >= '0' && host.p[last] <= '9') {
		uint64_t number;
		bool decimal = text_parse_u64(slice_skip(host, last), &number) != -EINVAL;
		bool hex = host.p[last] == '0' && host.n > last + 1 &&
			   (host.p[last + 1] | 0x20) == 'x';

		if (decimal || hex)
			return err_set(e, -EINVAL,
				"the host is not a valid IPv4 address (four decimal numbers)");
	}
	return 0;
}

static int parse_port(struct slice text, struct url *u, struct errbuf *e)
{
	uint64_t port;

	if (text.n > 5 || text_parse_u64(text, &port) < 0 || port < 1 || port > UINT16_MAX)
		return err_set(e, -EINVAL, "the port must be a number from 1 to 65535");
	u->port_is_default = port == u->port;
	u->port = (uint16_t)port;
	return 0;
}

static int parse_authority(struct slice text, struct url *u, struct errbuf *e)
{
	struct slice host = text, rest = SLICE_EMPTY;
	size_t host_end;
	int r;

	if (text.n && memchr(text.p, '@', text.n))
		return err_set(
			e, -EINVAL, "the URL must not hold a user or password; use `credential`");
	if (text.n && text.p[0] == '[') {
		const char *end = memchr(text.p, ']', text.n);

		if (!end)
			return err_set(e, -EINVAL, "the IPv6 address lacks its closing bracket");
		host = slice_of(text.p + 1, (size_t)(end - text.p) - 1);
		host_end = host.n + 2;
		if (!is_ip(AF_INET6, host))
			return err_set(e, -EINVAL, "the text in brackets is not an IPv6 address");
		u->host_is_ip = true;
	} else {
		const char *colon = text.n ? memchr(text.p, ':', text.n) : NULL;

		host.n = colon ? (size_t)(colon - text.p) : text.n;
		host_end = host.n;
		r = check_name(host, &u->host_is_ip, e);
		if (r < 0)
			return r;
	}
	rest = slice_skip(text, host_end);
	if (rest.n) {
		if (rest.p[0] != ':')
			return err_set(e, -EINVAL, "only a port may follow the bracket");
		r = parse_port(slice_skip(rest, 1), u, e);
		if (r < 0)
			return r;
	}
	u->host = host;
	u->authority = u->port_is_default ? slice_of(text.p, host_end) : text;
	return 0;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static int check_path(struct slice path, struct errbuf *e)
{
	size_t segment = 0; /* where the current one begins */

	for (size_t i = 0; i <= path.n; i++) {
		if (i == path.n || path.p[i] == '/') {
			struct slice s = slice_of(path.p + segment, i - segment);

			if (slice_eq(s, SLICE(".")) || slice_eq(s, SLICE("..")))
				return err_set(
					e, -EINVAL, "the path must not hold . or .. segments");
			segment = i + 1;
			continue;
		}
		if (path.p[i] == '%') {
			if (path.n - i < 3 || !is_hex(path.p[i + 1]) || !is_hex(path.p[i + 2]))
				return err_set(
					e, -EINVAL, "a %% in the path lacks its two hex digits");
			continue;
		}
		if (!is_alnum(path.p[i]) &&
			(path.p[i] == '\0' || !strchr("-._~!$&'()*+,;=:@", path.p[i])))
			return err_set(
				e, -EINVAL, "byte %zu of the path is not allowed there", i + 1);
	}
	return 0;
}

int url_parse(struct slice text, struct url *ret, struct errbuf *e)
{
	struct url u = { .port_is_default = true };
	struct slice rest = text, authority;
	size_t n = 0;
	int r;

	r = parse_scheme(&rest, &u.tls, e);
	if (r < 0)
		return r;
	u.port = u.tls ? 443 : 80;
	for (size_t i = 0; i < rest.n; i++) {
		if (rest.p[i] == '?' || rest.p[i] == '#')
			return err_set(e, -EINVAL, "the URL must not hold a query or a fragment");
	}
	while (n < rest.n && rest.p[n] != '/')
		n++;
	authority = slice_of(rest.p, n);
	u.path = slice_skip(rest, n);
	while (u.path.n && u.path.p[u.path.n - 1] == '/')
		u.path.n--;
	r = parse_authority(authority, &u, e);
	if (r < 0)
		return r;
	r = check_path(u.path, e);
	if (r < 0)
		return r;
	*ret = u;
	return 0;
}
