#include "config.h"

#include "front/listener.h"
#include "upstream/proxy.h"
#include <sys/un.h>

const struct config_row agent_config_rows[] = {
#define CONFIG(type, member, preset, min, max, choices, reload, doc)                               \
	{ #member, CONFIG_##type, offsetof(struct agent_config, member), preset, min, max,         \
		choices, reload, doc },
#include <aigw/tbl/agent_config.h>
#undef CONFIG
};
const unsigned agent_config_n_rows = ARRAY_LEN(agent_config_rows);

/* What can be said of the places without touching them. */
static int check_places(const struct agent_config *cfg, struct errbuf *e)
{
	const struct {
		const char *name, *path;
	} sockets[] = {
		{ "socket", cfg->socket },
		{ "control_socket", cfg->control_socket },
		{ "controller", cfg->controller },
	};
	const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	for (size_t i = 0; i < ARRAY_LEN(sockets); i++) {
		const char *path = sockets[i].path;

		if (strncmp(path, "unix:", 5) == 0)
			path += 5;
		else if (sockets[i].path == cfg->controller && strcmp(path, "off") != 0)
			return err_set(
				e, -EINVAL, "controller: write unix:PATH or off, not '%s'", path);
		if (strlen(path) > most)
			return err_set(e, -ENAMETOOLONG,
				"%s: the path of a unix socket has at most %zu bytes; choose a "
				"shorter one",
				sockets[i].name, most);
	}
	return strcmp(cfg->listen, "off") == 0 ? 0 : listen_check(cfg->listen, e);
}

int agent_config_load(const char *path, bool may_miss, struct arena *a, struct agent_config *ret,
	struct errbuf *e)
{
	struct proxy proxy;
	int err = config_load(path, may_miss, agent_config_rows, agent_config_n_rows, a, ret, e);

	if (!err)
		err = check_places(ret, e);
	return err ? err : proxy_parse(ret->proxy, ret->no_proxy, &proxy, e);
}
