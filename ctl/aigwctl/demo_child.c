/* The demo's programs: found, started, watched, stopped. Each runs in a process group of its own,
 * so that the terminal's Ctrl-C reaches only us and the end has an order; each ends with us
 * (--die-with-parent), even if we are killed. */
#include "demo.h"

#include <aigw/atomic_file.h>
#include <aigw/clock.h>
#include <aigw/text.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	const char *in_tree; /* seen from the folder of this program in the build tree */
	const char *installed;
} programs[DEMO_PROGRAMS] = {
	[DEMO_SIM] = { "aigw-sim", "../../tests/sim/aigw-sim", AIGW_LIBEXECDIR "/aigw-sim" },
	[DEMO_CTLD] = { "aigw-ctld", "../ctld/aigw-ctld", AIGW_SBINDIR "/aigw-ctld" },
	[DEMO_AGENTD] = { "aigw-agentd", "../../agentd/aigw-agentd", AIGW_SBINDIR "/aigw-agentd" },
};

/* --- start ------------------------------------------------------------------------- */

static int find(const struct demo *d, enum demo_program p, char path[static PATH_MAX])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		if (snprintf(path, PATH_MAX, "%s/%s", dirname(self), programs[p].in_tree) <
				PATH_MAX &&
			access(path, X_OK) == 0)
			return EXIT_DONE;
	}
	if (access(programs[p].installed, X_OK) == 0) {
		(void)snprintf(path, PATH_MAX, "%s", programs[p].installed);
		return EXIT_DONE;
	}
	return cli_fail(d->c, EXIT_FAILED,
		"%s is neither at %s nor at %s; build or install all of aigw", programs[p].name,
		n > 0 ? path : programs[p].in_tree, programs[p].installed);
}

/* In the child: nothing of ours but the three descriptors, no secret of the environment. */
_Noreturn static void become(char *const *argv, int in, int out, int log, const sigset_t *mask)
{
	if (setpgid(0, 0) < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(log, STDERR_FILENO) < 0 || sigprocmask(SIG_SETMASK, mask, NULL) < 0 ||
		unsetenv("OPENAI_API_KEY") < 0)
		_exit(126);
	(void)execv(argv[0], argv);
	_exit(127);
}

static int spawn(struct demo *d, enum demo_program p, char *const *argv)
{
	char name[64], path[108];
	int in, log, out[2] = { -1, -1 };
	pid_t pid = -1;

	(void)snprintf(name, sizeof(name), "log/%s", programs[p].name);
	in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log = open(demo_path(d, name, path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (in >= 0 && log >= 0 && (p != DEMO_SIM || pipe2(out, O_CLOEXEC | O_NONBLOCK) == 0))
		pid = fork();
	if (pid == 0) {
		if (out[1] >= 0) /* the child's end blocks, as programs expect of a stdout */
			(void)fcntl(out[1], F_SETFL, 0);
		become(argv, in, out[1] >= 0 ? out[1] : log, log, &d->signals.before);
	}
	if (pid < 0)
		(void)cli_fail(d->c, EXIT_FAILED, "can't start %s: %s", argv[0], strerror(errno));
	if (in >= 0)
		(void)close(in);
	if (log >= 0)
		(void)close(log);
	if (out[1] >= 0)
		(void)close(out[1]);
	if (pid < 0) {
		if (out[0] >= 0)
			(void)close(out[0]);
		return EXIT_FAILED;
	}
	d->child[p] = (struct demo_child){ .pid = pid, .out = out[0] };
	cli_verbose(d->c, "%s is pid %d", programs[p].name, (int)pid);
	return EXIT_DONE;
}

int demo_child_start(struct demo *d, enum demo_program p)
{
	char program[PATH_MAX], config[108];
	char *sim[] = { program, "--listen", "127.0.0.1:0", "--die-with-parent", NULL };
	char *daemon[] = { program, "--config", config, "--die-with-parent", NULL };
	int code = find(d, p, program);

	if (code)
		return code;
	(void)demo_path(d, p == DEMO_CTLD ? "ctld.yaml" : "agentd.yaml", config);
	return spawn(d, p, p == DEMO_SIM ? sim : daemon);
}

/* "ready http=127.0.0.1:41234" on the simulator's stdout. */
int demo_sim_wait(struct demo *d)
{
	usec deadline = clock_mono_us() + DEMO_START_US;
	char line[512] = "";
	size_t n = 0;

	while (!memchr(line, '\n', n)) {
		bool timeout;
		int code =
			demo_wait(d, d->child[DEMO_SIM].out, deadline - clock_mono_us(), &timeout);
		ssize_t got;

		if (code)
			return code;
		got = timeout ? 0 : read(d->child[DEMO_SIM].out, line + n, sizeof(line) - 1 - n);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return cli_fail(d->c, EXIT_FAILED, "aigw-sim did not say that it is ready");
		n += (size_t)got;
		line[n] = 0;
	}
	{
		const char *at = strstr(line, "http=");
		const char *colon = at ? strchr(at, ':') : NULL;
		uint64_t port = 0;

		if (!colon ||
			text_parse_u64(
				slice_of(colon + 1, strspn(colon + 1, "0123456789")), &port) < 0 ||
			port > 65535)
			return cli_fail(
				d->c, EXIT_FAILED, "aigw-sim said \"%s\", without a port", line);
		d->sim_port = (uint16_t)port;
	}
	return EXIT_DONE;
}

/* --- watch ------------------------------------------------------------------------- */

static void show_log(const struct demo *d, enum demo_program p)
{
	char name[64], path[108];
	struct buf b;
	size_t at;

	buf_init(&b, 64u << 20);
	(void)snprintf(name, sizeof(name), "log/%s", programs[p].name);
	if (file_read(demo_path(d, name, path), &b, NULL) == 0) {
		at = b.n;
		for (unsigned lines = 0; at > 0 && b.n - at < 8000; at--)
			if (b.p[at - 1] == '\n' && at < b.n && ++lines == 20)
				break;
		cli_put_text(d->c->err, slice_of(b.p + at, b.n - at));
	}
	buf_fini(&b);
}

/* Has one of the children ended that should run? */
static int look_after(struct demo *d)
{
	for (int p = 0; p < DEMO_PROGRAMS; p++) {
		int status;

		if (!d->child[p].pid ||
			waitpid(d->child[p].pid, &status, WNOHANG) != d->child[p].pid)
			continue;
		d->child[p].pid = 0;
		if (d->stopping)
			continue;
		show_log(d, (enum demo_program)p);
		if (WIFSIGNALED(status))
			return cli_fail(d->c, EXIT_FAILED,
				"%s was ended by signal %d (%s); its last lines are above",
				programs[p].name, WTERMSIG(status), strsignal(WTERMSIG(status)));
		return cli_fail(d->c, EXIT_FAILED,
			"%s ended with status %d; its last lines are above", programs[p].name,
			WEXITSTATUS(status));
	}
	return EXIT_DONE;
}

int demo_wait(struct demo *d, int fd, usec us, bool *ret_timeout)
{
	usec deadline = us == INT64_MAX ? INT64_MAX : clock_mono_us() + us;

	*ret_timeout = false;
	for (;;) {
		int rc = interrupt_wait(&d->signals, fd, POLLIN, deadline);
		int sig, code;

		if (rc == 0)
			return EXIT_DONE;
		if (rc == -ETIMEDOUT) {
			*ret_timeout = true;
			return EXIT_DONE;
		}
		if (rc != -EINTR)
			return cli_fail(d->c, EXIT_FAILED, "poll: %s", strerror(-rc));
		while ((sig = interrupt_take(&d->signals)) != 0)
			if (sig != SIGCHLD)
				d->signal = sig;
		code = look_after(d);
		if (code)
			return code;
		if (d->signal)
			return EXIT_INTERRUPTED;
		if (d->stopping)
			return EXIT_DONE;
	}
}

/* --- stop -------------------------------------------------------------------------- */

static void stop_one(struct demo *d, enum demo_program p)
{
	usec deadline = clock_mono_us() + 10 * USEC_PER_S;
	int status;

	if (!d->child[p].pid)
		return;
	(void)kill(d->child[p].pid, SIGTERM);
	d->signal = 0;
	while (d->child[p].pid && clock_mono_us() < deadline) {
		bool timeout;

		(void)look_after(d);
		/* a second Ctrl-C means now */
		if (d->child[p].pid &&
			demo_wait(d, -1, deadline - clock_mono_us(), &timeout) == EXIT_INTERRUPTED)
			break;
	}
	if (!d->child[p].pid)
		return;
	cli_note(d->c, "%s does not end, killing it", programs[p].name);
	(void)kill(d->child[p].pid, SIGKILL);
	while (waitpid(d->child[p].pid, &status, 0) < 0 && errno == EINTR)
		;
	d->child[p].pid = 0;
}

void demo_children_stop(struct demo *d)
{
	d->stopping = true;
	for (int p = DEMO_PROGRAMS - 1; p >= 0; p--) {
		stop_one(d, (enum demo_program)p);
		if (d->child[p].out > 0)
			(void)close(d->child[p].out);
		d->child[p].out = -1;
	}
}
