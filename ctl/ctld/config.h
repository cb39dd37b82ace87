/* Settings of aigw-ctld, by tbl/ctld_config.h. Strings live in the arena given at loading. Loop's
 * thread. */
#ifndef CTLD_CONFIG_H
#define CTLD_CONFIG_H

#include <aigw/config.h>
#include <aigw/log.h>

#define CTLD_CONFIG_PATH "/etc/aigw/ctld.yaml"

typedef const char *ctld_config_STR;
typedef int ctld_config_ENUM;

struct ctld_config {
#define CONFIG(type, member, preset, min, max, choices, reload, doc) ctld_config_##type member;
#include <aigw/tbl/ctld_config.h>
#undef CONFIG
};

/* `may_miss`: an absent file gives the presets. */
int ctld_config_load(const char *path, bool may_miss, struct arena *a, struct ctld_config *ret,
	struct errbuf *e);
enum log_level ctld_config_log_level(const struct ctld_config *c);
/* Space-separated names of settings that differ and need a restart. */
void ctld_config_restart_needed(
	const struct ctld_config *old, const struct ctld_config *fresh, struct buf *names);

#endif
