/* Daemon settings: a YAML file -> a struct, by a table of rows (tbl/agent_config.h,
 * tbl/ctld_config.h). Unknown and duplicate keys, wrong types, missing units and values out of
 * range are errors "file:line:col: sentence" with a near name. Any thread. */
#ifndef AIGW_CONFIG_H
#define AIGW_CONFIG_H

#include <aigw/arena.h>
#include <aigw/buf.h>
#include <aigw/errbuf.h>

enum config_type {
	CONFIG_STR,      /* const char *, in the arena */
	CONFIG_BOOL,     /* bool */
	CONFIG_INT,      /* int64_t with min and max */
	CONFIG_DURATION, /* usec */
	CONFIG_SIZE,     /* uint64_t bytes */
	CONFIG_ENUM,     /* int: index into the words of `choices`, separated by '|' */
};

struct config_row {
	const char *name;
	enum config_type type;
	size_t offset;      /* of the member */
	const char *preset; /* default as text; NULL: "" */
	int64_t min, max;   /* INT, DURATION (us), SIZE (bytes) */
	const char *choices;
	bool reload; /* SIGHUP may change it; else a restart is needed */
	const char *doc;
};

/* Fills *out from the file (path NULL or absent file with may_miss: presets only). Strings live in
 * the arena. */
int config_load(const char *path, bool may_miss, const struct config_row *rows, unsigned n,
	struct arena *a, void *out, struct errbuf *e);
/* Names (space separated) of rows with reload == false whose values differ; "" if none. */
void config_restart_needed(const struct config_row *rows, unsigned n, const void *old,
	const void *new_, struct buf *names);

#endif
