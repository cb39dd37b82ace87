/* The way out by an HTTP proxy (RFC 9110 section 9.3.6, CONNECT): which providers take it, and what
 * the proxy is asked. Only https goes through it; the proxy sees names and ciphertext. Immutable
 * after proxy_parse; any thread. */
#ifndef AGENTD_UPSTREAM_PROXY_H
#define AGENTD_UPSTREAM_PROXY_H

#include <aigw/buf.h>
#include <aigw/url.h>

#define PROXY_SECRET "proxy" /* name of the credential: user:password */

struct proxy {
	struct url url;      /* host empty: none */
	struct slice except; /* hosts and .domains, by comma or space */
};

/* Texts of the settings `proxy` and `no_proxy`, borrowed. "off": none. -EINVAL with a sentence. */
int proxy_parse(const char *text, const char *except, struct proxy *ret, struct errbuf *e);
/* NULL: none at all. A loopback address or localhost is never asked of a proxy. */
bool proxy_takes(const struct proxy *p, const struct url *url);
/* The request for a tunnel; credential: user:password, or empty. b's error. */
int proxy_request(const struct url *url, struct slice credential, struct buf *b);

#endif
