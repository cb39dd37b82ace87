/* Absolute http and https URLs of providers (RFC 3986, the part that a base_url may use): no user
 * info, no query, no fragment. Pure; slices point into the text given. */
#ifndef AIGW_URL_H
#define AIGW_URL_H

#include <aigw/slice.h>
#include <aigw/errbuf.h>

struct url {
	bool tls;
	struct slice host; /* without brackets for IPv6 */
	bool host_is_ip;
	uint16_t port; /* explicit, or 80 / 443 */
	bool port_is_default;
	struct slice path;      /* "" or "/v1"; no trailing slash */
	struct slice authority; /* as to be sent in Host: "[::1]:8080", "api.openai.com" (no default
				   port) */
};

int url_parse(struct slice text, struct url *ret, struct errbuf *e);

#endif
