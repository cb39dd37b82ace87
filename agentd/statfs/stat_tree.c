#include "statfs/stat_tree.h"

#include "statfs/metrics.h"

#include <aigw/clock.h>
#include <aigw/log.h>

#include <grp.h>
#include <pthread.h>
#include <unistd.h>

#define STATS_GROUP "aigw-stats"

struct stat_tree {
	struct stat_tree_config config;
	struct node_owner owner;
	pthread_mutex_t lock; /* guards all below */
	struct watch watch;
	struct keyset_reader *reader; /* NULL: none could be had */
	struct key_list *keys;
	usec keys_read_us;
};

#define KEYS_EVERY_US USEC_PER_S /* the list is read anew at most so often */

static struct node_owner find_owner(void)
{
	struct node_owner o = { .uid = geteuid(), .gid = getegid(), .stats_gid = getegid() };
	char memory[4096];
	struct group entry, *found = NULL;

	if (getgrnam_r(STATS_GROUP, &entry, memory, sizeof(memory), &found) == 0 && found)
		o.stats_gid = found->gr_gid;
	return o;
}

int stat_tree_new(const struct stat_tree_config *c, struct stat_tree **ret)
{
	struct stat_tree *t = calloc(1, sizeof(*t));
	struct errbuf why;

	if (!t)
		return -ENOMEM;
	t->config = *c;
	t->owner = find_owner();
	(void)pthread_mutex_init(&t->lock, NULL);
	watch_init(&t->watch, c->stats, clock_mono_us(), clock_wall_us());
	/* Without it keys/ is empty. */
	if (c->keyset && keyset_reader_new(c->keyset, &t->reader, &why))
		log_event(LOG_WARNING, "statfs", "statfs.no_keys", "why=%s",
			log_quote(slice_str(why.text)));
	*ret = t;
	return 0;
}

void stat_tree_free(struct stat_tree *t)
{
	if (!t)
		return;
	watch_fini(&t->watch);
	key_list_unref(t->keys);
	keyset_reader_free(t->reader);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}

void stat_tree_tick(struct stat_tree *t)
{
	(void)pthread_mutex_lock(&t->lock);
	watch_tick(&t->watch, clock_mono_us(), clock_wall_us());
	(void)pthread_mutex_unlock(&t->lock);
}

void stat_tree_info(const struct stat_tree *t, struct statfs_info *ret)
{
	t->config.info_get(ret, t->config.owner);
}

const struct node_owner *stat_tree_owner(const struct stat_tree *t)
{
	return &t->owner;
}

/* The list as it is, or a new one if keys have changed. NULL: there is none. */
static struct key_list *take_keys(struct stat_tree *t)
{
	struct key_list *fresh, *ret;
	uint64_t generation;
	usec now;

	if (!t->reader)
		return NULL;
	generation = keyset_generation(t->config.keyset);
	(void)pthread_mutex_lock(&t->lock);
	now = clock_mono_us();
	if ((!t->keys || t->keys->generation != generation) &&
		(!t->keys_read_us || now - t->keys_read_us >= KEYS_EVERY_US)) {
		t->keys_read_us = now;
		if (key_list_read(t->reader, generation, &fresh) == 0) {
			key_list_unref(t->keys);
			t->keys = fresh;
		}
	}
	ret = t->keys ? key_list_ref(t->keys) : NULL;
	(void)pthread_mutex_unlock(&t->lock);
	return ret;
}

struct stat_look stat_look_begin(struct stat_tree *t)
{
	struct policy *p = t->config.policy_get(t->config.owner);
	struct key_list *keys = take_keys(t);

	return (struct stat_look){ { t->config.stats, p, keys }, p, keys };
}

void stat_look_end(struct stat_look *l)
{
	policy_unref(l->policy);
	key_list_unref(l->keys);
	l->policy = NULL;
	l->keys = NULL;
}

/* Under the lock until the caller gives it back. */
static struct render lock_render(struct stat_tree *t, const struct stat_look *l)
{
	struct render render = { .stats = t->config.stats,
		.health = t->config.health,
		.inflight = t->config.inflight,
		.policy = l->policy,
		.keys = l->keys,
		.watch = &t->watch };

	t->config.info_get(&render.info, t->config.owner);
	(void)pthread_mutex_lock(&t->lock);
	render.mono_us = clock_mono_us();
	render.wall_us = clock_wall_us();
	watch_judge(&t->watch, &render.info, l->policy != NULL, render.wall_us);
	return render;
}

int stat_tree_render(struct stat_tree *t, const struct stat_look *l, struct node n, struct buf *b)
{
	struct render render = lock_render(t, l);
	int r = render_node(&render, n, b);

	(void)pthread_mutex_unlock(&t->lock);
	return r;
}

void stat_tree_judge(struct stat_tree *t)
{
	struct stat_look l = stat_look_begin(t);

	(void)lock_render(t, &l);
	(void)pthread_mutex_unlock(&t->lock);
	stat_look_end(&l);
}

void stat_tree_metrics(struct stat_tree *t, bool all, struct buf *b)
{
	struct stat_look l = stat_look_begin(t);
	struct render render = lock_render(t, &l);

	metrics_render(&render, all ? METRICS_ALL : METRICS_OPEN, b);
	(void)pthread_mutex_unlock(&t->lock);
	stat_look_end(&l);
}

static bool is_in_group(const struct stat_peer *who, uint32_t gid)
{
	for (unsigned i = 0; i < who->n_groups; i++) {
		if (who->groups[i] == gid)
			return true;
	}
	return who->gid == gid;
}

/* Whether the bits (of others: 4 read, 1 pass) are that user's, as inode_permission(9) judges. */
static bool has_bits(
	const struct stat_tree *t, struct node n, const struct stat_peer *who, mode_t bits)
{
	struct stat st;

	node_attr(n, &t->owner, 0, &st);
	if (who->uid == st.st_uid)
		bits <<= 6;
	else if (is_in_group(who, st.st_gid))
		bits <<= 3;
	return (st.st_mode & bits) == bits;
}

bool stat_tree_may_read(const struct stat_tree *t, struct node n, const struct stat_peer *who)
{
	if (who->uid == 0)
		return true;
	for (struct node up = n; up.row != NODE_root;) {
		up = node_parent(up);
		if (!has_bits(t, up, who, S_IXOTH))
			return false;
	}
	return has_bits(t, n, who, S_IROTH);
}
