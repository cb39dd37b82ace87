#include <aigw/prom.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static int64_t open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int64_t n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n - 3; /* . and .. and the folder's own */
}

/* Virtual and resident size in pages. */
static bool read_memory(uint64_t *ret_size, uint64_t *ret_resident)
{
	char text[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		(void)close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return sscanf(text, "%" SCNu64 " %" SCNu64, ret_size, ret_resident) == 2;
}

static void put_gauge(struct buf *b, const char *name, const char *help, int64_t value)
{
	prom_family(b, name, "gauge", help);
	prom_sample(b, name, NULL, 0, value);
}

void prom_process(struct buf *b, usec start_wall_us)
{
	struct rusage u;
	struct rlimit files;
	uint64_t size, resident;
	int64_t open_files = open_descriptors(), page = sysconf(_SC_PAGESIZE);

	if (getrusage(RUSAGE_SELF, &u) == 0) {
		usec cpu = (usec)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * USEC_PER_S +
			   u.ru_utime.tv_usec + u.ru_stime.tv_usec;

		prom_family(
			b, "process_cpu_seconds_total", "counter", "CPU time of user and system.");
		prom_sample_us(b, "process_cpu_seconds_total", NULL, 0, cpu);
	}
	if (read_memory(&size, &resident)) {
		put_gauge(
			b, "process_virtual_memory_bytes", "Virtual memory.", (int64_t)size * page);
		put_gauge(b, "process_resident_memory_bytes", "Resident memory.",
			(int64_t)resident * page);
	}
	if (open_files >= 0)
		put_gauge(b, "process_open_fds", "Open file descriptors.", open_files);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		put_gauge(b, "process_max_fds", "Most file descriptors that may be open.",
			(int64_t)files.rlim_cur);
	prom_family(b, "process_start_time_seconds", "gauge",
		"When the process was started, UNIX time.");
	prom_sample_us(b, "process_start_time_seconds", NULL, 0, start_wall_us);
}
