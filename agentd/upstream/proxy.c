#include "upstream/proxy.h"

#include <aigw/text.h>

int proxy_parse(const char *text, const char *except, struct proxy *ret, struct errbuf *e)
{
	struct errbuf why;

	memset(ret, 0, sizeof(*ret));
	ret->except = slice_str(except);
	if (strcmp(text, "off") == 0)
		return 0;
	if (strchr(text, '@'))
		return err_set(e, -EINVAL,
			"proxy: user and password do not stand in the address, which everybody may "
			"read; put user:password into the credential '%s' of secrets_dir",
			PROXY_SECRET);
	if (url_parse(slice_str(text), &ret->url, &why))
		return err_set(e, -EINVAL, "proxy '%s': %s; write http://HOST:PORT or off", text,
			why.text);
	if (ret->url.tls || ret->url.path.n)
		return err_set(e, -EINVAL,
			"proxy '%s': write http://HOST:PORT; what goes through it is TLS in any "
			"case",
			text);
	return 0;
}

static bool is_loopback(const struct url *url)
{
	return slice_eq_nocase(url->host, SLICE("localhost")) ||
	       (url->host_is_ip && (slice_starts(url->host, SLICE("127.")) ||
					   slice_eq(url->host, SLICE("::1"))));
}

/* "api.example.com", ".example.com" (and what is below it), "*". */
static bool is_meant(struct slice name, struct slice host)
{
	if (slice_eq(name, SLICE("*")) || slice_eq_nocase(name, host))
		return true;
	if (name.p[0] != '.')
		return false;
	if (slice_eq_nocase(slice_skip(name, 1), host))
		return true;
	return host.n > name.n && slice_eq_nocase(slice_skip(host, host.n - name.n), name);
}

static bool is_excepted(struct slice list, struct slice host)
{
	while (list.n) {
		size_t n = 0;

		while (n < list.n && list.p[n] != ',' && list.p[n] != ' ')
			n++;
		if (n && is_meant(slice_of(list.p, n), host))
			return true;
		list = slice_skip(list, MIN(n + 1, list.n));
	}
	return false;
}

bool proxy_takes(const struct proxy *p, const struct url *url)
{
	return p && p->url.host.n && url->tls && !is_loopback(url) &&
	       !is_excepted(p->except, url->host);
}

static void put_target(const struct url *url, struct buf *b)
{
	bool is_v6 = memchr(url->host.p, ':', url->host.n) != NULL;

	if (is_v6)
		(void)buf_char(b, '[');
	(void)buf_slice(b, url->host);
	if (is_v6)
		(void)buf_char(b, ']');
	(void)buf_printf(b, ":%u", url->port);
}

int proxy_request(const struct url *url, struct slice credential, struct buf *b)
{
	size_t room = credential.n / 3 * 4 + 8;

	(void)buf_str(b, "CONNECT ");
	put_target(url, b);
	(void)buf_str(b, " HTTP/1.1\r\nHost: ");
	put_target(url, b);
	(void)buf_str(b, "\r\nUser-Agent: aigw/" AIGW_VERSION "\r\n");
	if (credential.n && !buf_reserve(b, room + 64)) {
		(void)buf_str(b, "Proxy-Authorization: Basic ");
		b->n += text_base64_encode(credential.p, credential.n, b->p + b->n);
		(void)buf_str(b, "\r\n");
	}
	return buf_str(b, "\r\n");
}
