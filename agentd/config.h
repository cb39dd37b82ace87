/* Settings of the agent: tbl/agent_config.h as a struct. */
#ifndef AGENTD_CONFIG_H
#define AGENTD_CONFIG_H

#include <aigw/config.h>

#define CONFIG_MEMBER_STR(m)      const char *m
#define CONFIG_MEMBER_BOOL(m)     bool m
#define CONFIG_MEMBER_INT(m)      int64_t m
#define CONFIG_MEMBER_DURATION(m) usec m
#define CONFIG_MEMBER_SIZE(m)     uint64_t m
#define CONFIG_MEMBER_ENUM(m)     int m

struct agent_config {
#define CONFIG(type, member, preset, min, max, choices, reload, doc) CONFIG_MEMBER_##type(member);
#include <aigw/tbl/agent_config.h>
#undef CONFIG
};

enum { DURABILITY_STRICT, DURABILITY_RELAXED };

extern const struct config_row agent_config_rows[];
extern const unsigned agent_config_n_rows;

int agent_config_load(const char *path, bool may_miss, struct arena *a, struct agent_config *ret,
	struct errbuf *e);

#endif
