#include "config.h"

static const struct config_row rows[] = {
#define CONFIG(type, member, preset, min, max, choices, reload, doc)                               \
	{ #member, CONFIG_##type, offsetof(struct ctld_config, member), preset, min, max, choices, \
		reload, doc },
#include <aigw/tbl/ctld_config.h>
#undef CONFIG
};

int ctld_config_load(
	const char *path, bool may_miss, struct arena *a, struct ctld_config *ret, struct errbuf *e)
{
	*ret = (struct ctld_config){ 0 };
	return config_load(path, may_miss, rows, ARRAY_LEN(rows), a, ret, e);
}

enum log_level ctld_config_log_level(const struct ctld_config *c)
{
	return (enum log_level)c->log; /* the row's choices stand in the order of the enum */
}

void ctld_config_restart_needed(
	const struct ctld_config *old, const struct ctld_config *fresh, struct buf *names)
{
	config_restart_needed(rows, ARRAY_LEN(rows), old, fresh, names);
}
