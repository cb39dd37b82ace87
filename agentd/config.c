#include "config.h"

#include "upstream/proxy.h"

const struct config_row agent_config_rows[] = {
#define CONFIG(type, member, preset, min, max, choices, reload, doc)                               \
	{ #member, CONFIG_##type, offsetof(struct agent_config, member), preset, min, max,         \
		choices, reload, doc },
#include <aigw/tbl/agent_config.h>
#undef CONFIG
};
const unsigned agent_config_n_rows = ARRAY_LEN(agent_config_rows);

int agent_config_load(const char *path, bool may_miss, struct arena *a, struct agent_config *ret,
	struct errbuf *e)
{
	struct proxy proxy;
	int err = config_load(path, may_miss, agent_config_rows, agent_config_n_rows, a, ret, e);

	return err ? err : proxy_parse(ret->proxy, ret->no_proxy, &proxy, e);
}
