/* The fuzz targets without a fuzzer: every file of the folder given, whole and cut off at each
 * length. */
#include "fuzz.h"

#include <aigw/atomic_file.h>
#include <aigw/buf.h>
#include <aigw/errbuf.h>

#include <dirent.h>

#define INPUT_MAX_BYTES (1u << 20)
#define CUTS_MAX        2048 /* a longer input is cut at as many places, evenly */

static void run(const char *p, size_t n)
{
	/* A copy of exactly that size: the sanitizer sees a read past its end. */
	uint8_t *copy = malloc(n ? n : 1);

	ASSERT(copy);
	if (n)
		memcpy(copy, p, n);
	(void)LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static int replay(const char *path)
{
	struct errbuf e;
	struct buf b;
	size_t step;

	buf_init(&b, INPUT_MAX_BYTES);
	if (file_read(path, &b, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	run(b.p, b.n);
	step = b.n / CUTS_MAX + 1;
	for (size_t n = 0; n < b.n; n += step)
		run(b.p, n);
	buf_fini(&b);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	unsigned files = 0;
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;

	if (!folder) {
		(void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(folder))) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		if (replay(path) < 0)
			return 1;
		files++;
	}
	(void)closedir(folder);
	(void)printf("%u inputs\n", files);
	return files ? 0 : 1;
}
