/* The demo's folder: made, filled, removed. */
#include "demo.h"

#include <aigw/atomic_file.h>
#include <aigw/text.h>
#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *demo_path(const struct demo *d, const char *name, char out[static 108])
{
	int n = snprintf(out, 108, "%s/%s", d->dir, name);

	ASSERT(n > 0 && n < 108);
	return out;
}

/* --- folder ------------------------------------------------------------------------ */

static const char *base_folder(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		return "/run";
	return runtime && *runtime == '/' && access(runtime, W_OK) == 0 ? runtime : "/dev/shm";
}

/* Why the agent can't mount here, or NULL. */
static const char *mount_hindrance(void)
{
	const char *path = getenv("PATH");

	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return "/dev/fuse is missing or not permitted (container?)";
	if (geteuid() == 0)
		return NULL;
	for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
		char file[512];
		int n = snprintf(
			file, sizeof(file), "%.*s/fusermount3", (int)strcspn(path, ":"), path);

		if (n > 0 && (size_t)n < sizeof(file) && access(file, X_OK) == 0)
			return NULL;
	}
	return "fusermount3 is missing (package fuse3)";
}

int demo_home_make(struct demo *d)
{
	static const char *const folders[] = { "agent", "ctl", "run", "stats", "log" };
	char dir[512], path[108];
	int n = snprintf(dir, sizeof(dir), "%s/aigw-demo.%d", base_folder(), (int)getpid());

	if (n < 0 || (size_t)n >= sizeof(d->dir))
		return cli_fail(d->c, EXIT_FAILED,
			"%s is too long for socket paths; set XDG_RUNTIME_DIR to a shorter one",
			dir);
	if (mkdir(dir, 0700) < 0)
		return cli_fail(
			d->c, EXIT_FAILED, "can't make the folder %s: %s", dir, strerror(errno));
	memcpy(d->dir, dir, (size_t)n + 1);
	for (unsigned i = 0; i < ARRAY_LEN(folders); i++)
		if (mkdir(demo_path(d, folders[i], path), 0700) < 0)
			return cli_fail(d->c, EXIT_FAILED, "can't make the folder %s: %s", path,
				strerror(errno));
	(void)demo_path(d, "admin.sock", d->admin_socket);
	d->no_mount = mount_hindrance();
	cli_verbose(d->c, "folder %s", d->dir);
	return EXIT_DONE;
}

static bool is_mounted(const char *path)
{
	struct buf b;
	char line[128];
	bool found;

	buf_init(&b, 8u << 20);
	(void)snprintf(line, sizeof(line), " %s ", path); /* the fifth field of mountinfo */
	found = file_read("/proc/self/mountinfo", &b, NULL) == 0 &&
		memmem(b.p, b.n, line, strlen(line));
	buf_fini(&b);
	return found;
}

/* The agent unmounts when it ends; this is for one that was killed. */
static void unmount(const struct demo *d)
{
	char path[108];
	char *argv[] = { "fusermount3", "-u", "-z", "-q", path, NULL };
	pid_t pid;
	int status;

	if (!is_mounted(demo_path(d, "stats", path)))
		return;
	if (umount2(path, MNT_DETACH) == 0)
		return;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	if (is_mounted(path))
		(void)cli_fail(d->c, EXIT_FAILED, "can't unmount %s; try: fusermount3 -u -z %s",
			path, path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	(void)remove(path); /* what is left shows in the folder's own removal */
	return 0;
}

void demo_home_remove(struct demo *d)
{
	if (!*d->dir)
		return;
	unmount(d);
	if (d->keep) {
		cli_note(d->c, "kept: %s", d->dir);
		return;
	}
	(void)nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (access(d->dir, F_OK) == 0)
		(void)cli_fail(d->c, EXIT_FAILED, "can't remove all of %s", d->dir);
	*d->dir = 0;
}

/* --- port -------------------------------------------------------------------------- */

static bool port_is_free(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
		  bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(fd, 1) == 0;

	if (fd >= 0)
		(void)close(fd);
	return ok;
}

int demo_port_choose(struct demo *d)
{
	if (d->port) {
		if (port_is_free(d->port))
			return EXIT_DONE;
		return cli_fail(d->c, EXIT_FAILED,
			"port %u is taken; without --port the demo finds a free one",
			(unsigned)d->port);
	}
	d->port = 2449;
	if (port_is_free(d->port))
		return EXIT_DONE;
	for (d->port = 2460; d->port < 2660; d->port++)
		if (port_is_free(d->port))
			return EXIT_DONE;
	return cli_fail(d->c, EXIT_FAILED, "no free port from 2460 to 2659; name one with --port");
}

/* --- settings and policy ----------------------------------------------------------- */

static void put_path(
	const struct demo *d, struct buf *b, const char *key, const char *before, const char *name)
{
	char path[108], text[128];

	(void)snprintf(text, sizeof(text), "%s%s", before, demo_path(d, name, path));
	(void)buf_printf(b, "%s: ", key);
	(void)text_json_quote(b, slice_str(text)); /* a JSON string is one of YAML */
	(void)buf_char(b, '\n');
}

static int put_file(const struct demo *d, const char *name, struct buf *b)
{
	char path[108];
	struct errbuf e;
	int rc = b->err ? err_set(&e, b->err, "out of memory")
			: atomic_file_write(demo_path(d, name, path), 0600, buf_view(b), &e);

	buf_fini(b);
	return rc ? cli_fail(d->c, EXIT_FAILED, "%s", e.text) : EXIT_DONE;
}

int demo_config_write(struct demo *d)
{
	struct buf b;
	int code;

	buf_init(&b, 64u << 10);
	put_path(d, &b, "admin_socket", "", "admin.sock");
	put_path(d, &b, "agents_socket", "", "agents.sock");
	put_path(d, &b, "state_dir", "", "ctl");
	code = put_file(d, "ctld.yaml", &b);
	if (code)
		return code;
	buf_init(&b, 64u << 10);
	(void)buf_printf(&b,
		"listen: \"127.0.0.1:%u\"\nagent_id: demo\nsecrets_dir: off\ndrain_timeout: 2s\n"
		"spool_size: 64MiB\ninflight_slots: 1024\n",
		(unsigned)d->port);
	put_path(d, &b, "socket", "", "agent.sock");
	put_path(d, &b, "controller", "unix:", "agents.sock");
	put_path(d, &b, "state_dir", "", "agent");
	put_path(d, &b, "runtime_dir", "", "run");
	put_path(d, &b, "control_socket", "", "control.sock");
	if (d->no_mount)
		(void)buf_str(&b, "stats: off\n");
	else
		put_path(d, &b, "stats", "", "stats");
	return put_file(d, "agentd.yaml", &b);
}

static void put_openai(struct buf *b)
{
	const char *base = getenv("OPENAI_BASE_URL");

	(void)buf_str(
		b, "providers:\n  - {name: openai, type: openai, credential: openai, base_url: ");
	(void)text_json_quote(b, slice_str(base && *base ? base : "https://api.openai.com/v1"));
	(void)buf_str(b, "}\n"
			 "prices:\n"
			 "  - {provider: openai, model: gpt-4o-mini, from: 2024-07-18, input: "
			 "0.15, cached_input: 0.075, output: 0.60}\n"
			 "  - {provider: openai, model: text-embedding-3-small, from: 2024-01-25, "
			 "input: 0.02, output: 0}\n");
}

int demo_policy_text(const struct demo *d, struct buf *b)
{
	const char *provider = d->openai ? "openai" : "sim";

	(void)buf_str(b, "apiVersion: aigw/v1\nsettings: {currency: USD}\n");
	if (d->openai)
		put_openai(b);
	else
		(void)buf_printf(b,
			"providers:\n"
			"  - {name: sim, type: openai-compatible, base_url: "
			"\"http://127.0.0.1:%u/v1\"}\n"
			"prices:\n"
			"  - {provider: sim, model: \"*\", from: 2024-01-01, input: 0.%03d, "
			"cached_input: 0.%03d, output: 0.%03d}\n",
			(unsigned)d->sim_port, DEMO_NANO_INPUT, DEMO_NANO_CACHED, DEMO_NANO_OUTPUT);
	return buf_printf(b,
		"models:\n"
		"  - {name: " DEMO_MODEL ", aliases: [" DEMO_ALIAS
		"], targets: [{provider: %s, model: gpt-4o-mini}]}\n"
		"  - {name: embed, targets: [{provider: %s, model: text-embedding-3-small}]}\n"
		"customers:\n"
		"  - name: " DEMO_CUSTOMER "\n"
		"    projects:\n"
		"      - {name: " DEMO_KEY_PROJECT "}\n"
		"      - {name: " DEMO_SOCKET_PROJECT "}\n"
		"identities:\n"
		"  - {uid: %u, project: " DEMO_SOCKET_PROJECT "}\n",
		provider, provider, (unsigned)geteuid());
}
