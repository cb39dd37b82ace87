/* A daemon's settings file: read or refused with a place and a sentence, never more. */
#include "fuzz.h"

#include <aigw/config.h>

#include <sys/mman.h>
#include <unistd.h>

struct settings {
	const char *text;
	bool flag;
	int64_t number;
	usec time;
	uint64_t size;
	int word;
};

static const struct config_row rows[] = {
	{ "listen", CONFIG_STR, offsetof(struct settings, text), "here", 0, 0, "", false, "" },
	{ "flag", CONFIG_BOOL, offsetof(struct settings, flag), "false", 0, 0, "", true, "" },
	{ "workers", CONFIG_INT, offsetof(struct settings, number), "0", 0, 64, "", false, "" },
	{ "drain_timeout", CONFIG_DURATION, offsetof(struct settings, time), "80s", 0, 86400000000,
		"", true, "" },
	{ "spool_size", CONFIG_SIZE, offsetof(struct settings, size), "512MiB", 1 << 20,
		INT64_C(1) << 40, "", false, "" },
	{ "log", CONFIG_ENUM, offsetof(struct settings, word), "info", 0, 0,
		"error|warning|info|debug", true, "" },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	struct settings s;
	struct arena a;
	struct errbuf e = { "" };

	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	ASSERT(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	arena_init(&a, 4096, 1 << 20);
	if (config_load(path, false, rows, ARRAY_LEN(rows), &a, &s, &e)) {
		ASSERT(e.text[0]);
	} else {
		ASSERT(s.text && s.number >= 0 && s.number <= 64 && s.time >= 0);
		ASSERT(s.size >= 1 << 20 && s.size <= UINT64_C(1) << 40 && s.word >= 0 &&
			s.word < 4);
	}
	arena_fini(&a);
	return 0;
}
