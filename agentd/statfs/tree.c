#include "statfs/tree.h"

#include <aigw/text.h>

struct row {
	struct slice path;
	const char *doc;
	mode_t mode;
	enum stat_kind kind;
};

static const struct row rows[NODE_ROW_COUNT] = {
#define STAT_NODE(id, path, mode, object, render, doc)                                             \
	{ { path, sizeof(path) - 1 }, doc, mode, STAT_##object },
#include <aigw/tbl/stat_nodes.h>
#undef STAT_NODE
};

mode_t node_mode(enum node_row row)
{
	return rows[row].mode;
}

const char *node_path(enum node_row row)
{
	return rows[row].path.p;
}

const char *node_doc(enum node_row row)
{
	return rows[row].doc;
}

enum stat_kind node_kind(enum node_row row)
{
	return rows[row].kind;
}

/* --- names ---------------------------------------------------------------------------- */

/* Bytes at the front of s that may stand as they are: one character, or 0 if its first byte has to
 * be written as %XX. */
static size_t plain_bytes(struct slice s)
{
	unsigned char c = (unsigned char)s.p[0];

	if (c < 0x80)
		return c > ' ' && c != 0x7f && c != '/' && c != '%';
	/* U+0080..9F: control characters of terminals */
	if (c == 0xc2 && s.n > 1 && (unsigned char)s.p[1] < 0xa0)
		return 0;
	return text_utf8_len(s);
}

size_t node_encode_name(struct slice name, char out[static NODE_NAME_MAX + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t at = 0;

	for (struct slice s = name; s.n;) {
		size_t n = at == 0 && s.p[0] == '.' ? 0 : plain_bytes(s);

		if (at + MAX(n, (size_t)3) > NODE_NAME_MAX)
			return 0;
		if (n) {
			memcpy(out + at, s.p, n);
			at += n;
		} else {
			out[at++] = '%';
			out[at++] = digits[(unsigned char)s.p[0] >> 4];
			out[at++] = digits[(unsigned char)s.p[0] & 15];
		}
		s = slice_skip(s, MAX(n, (size_t)1));
	}
	out[at] = '\0';
	return at;
}

/* --- objects -------------------------------------------------------------------------- */

static uint32_t object_count(const struct node_view *v, enum stat_kind kind)
{
	if (kind == STAT_UID)
		return stats_slots(v->stats, STAT_UID);
	if (kind == STAT_KEY)
		return v->keys ? v->keys->n : 0;
	if (!v->policy)
		return 0;
	switch (kind) {
	case STAT_MODEL: return v->policy->doc->n_models;
	case STAT_PROVIDER: return v->policy->doc->n_providers;
	case STAT_PROJECT: return v->policy->doc->n_projects;
	case STAT_GLOBAL:
	case STAT_UID:
	case STAT_KEY:
	case STAT_KIND_COUNT: break;
	}
	return 0;
}

/* The number and file name of the i-th object. False if it is not shown: it has no slot of its own,
 * or its name does not fit a file's. */
static bool object_at(const struct node_view *v, enum stat_kind kind, uint32_t i,
	uint64_t *ret_object, char name[static NODE_NAME_MAX + 1])
{
	const struct policy *p = v->policy;
	uint32_t uid;

	switch (kind) {
	case STAT_MODEL:
		*ret_object = p->model_stat[i];
		return *ret_object && node_encode_name(p->doc->models[i].name, name);
	case STAT_PROVIDER:
		*ret_object = p->provider_stat[i];
		return *ret_object && node_encode_name(p->doc->providers[i].name, name);
	case STAT_PROJECT:
		*ret_object = p->project_stat[i];
		return *ret_object && node_encode_name(p->doc->projects[i].name, name);
	case STAT_UID:
		if (!stats_slot_uid(v->stats, i, &uid))
			return false;
		*ret_object = uid;
		(void)snprintf(name, NODE_NAME_MAX + 1, "%" PRIu32, uid);
		return true;
	case STAT_KEY:
		*ret_object = v->keys->v[i].number;
		(void)snprintf(name, NODE_NAME_MAX + 1, "%.*s", VKEY_ID_LEN, v->keys->v[i].id);
		return true;
	case STAT_GLOBAL:
	case STAT_KIND_COUNT: break;
	}
	return false;
}

int node_object_index(const struct node_view *v, enum stat_kind kind, uint32_t slot)
{
	const uint32_t *slots;

	if (!v->policy || slot == 0)
		return -1;
	slots = kind == STAT_MODEL      ? v->policy->model_stat
		: kind == STAT_PROVIDER ? v->policy->provider_stat
		: kind == STAT_PROJECT  ? v->policy->project_stat
					: NULL;
	for (uint32_t i = 0; slots && i < object_count(v, kind); i++) {
		if (slots[i] == slot)
			return (int)i;
	}
	return -1;
}

/* Every user has a folder, also one who has not called yet: `self` must lead somewhere. */
static bool uid_of_name(struct slice name, uint64_t *ret)
{
	uint64_t uid;

	if (text_parse_u64(name, &uid) < 0 || uid >= UINT32_MAX || (name.n > 1 && name.p[0] == '0'))
		return false;
	*ret = uid;
	return true;
}

static int object_by_name(
	const struct node_view *v, enum stat_kind kind, struct slice name, uint64_t *ret)
{
	char there[NODE_NAME_MAX + 1];
	uint64_t object;

	if (kind == STAT_UID)
		return uid_of_name(name, ret) ? 0 : -ENOENT;
	if (kind == STAT_KEY) {
		const struct key_entry *k = key_list_find_id(v->keys, name);

		if (!k)
			return -ENOENT;
		*ret = k->number;
		return 0;
	}
	for (uint32_t i = 0; i < object_count(v, kind); i++) {
		if (object_at(v, kind, i, &object, there) && slice_eq(slice_str(there), name)) {
			*ret = object;
			return 0;
		}
	}
	return -ENOENT;
}

/* --- look-up -------------------------------------------------------------------------- */

/* The last part of a row's path if it lies right below `dir`; SLICE_EMPTY if it does not. */
static struct slice row_below(enum node_row dir, enum node_row row)
{
	struct slice above = rows[dir].path, path = rows[row].path;

	if (row == NODE_root || !slice_starts(path, above))
		return SLICE_EMPTY;
	path = slice_skip(path, above.n);
	if (above.n) {
		if (path.n == 0 || path.p[0] != '/')
			return SLICE_EMPTY;
		path = slice_skip(path, 1);
	}
	return path.n == 0 || memchr(path.p, '/', path.n) ? SLICE_EMPTY : path;
}

/* Whether the row stands for the objects of the folder above it. */
static bool row_is_pattern(enum node_row dir, enum node_row row)
{
	return rows[row].kind != rows[dir].kind;
}

uint64_t node_ino(struct node n)
{
	return n.object << 8 | (n.row + 1u);
}

int node_of_ino(const struct node_view *v, uint64_t ino, struct node *ret)
{
	uint64_t row = (ino & 0xff) - 1, object = ino >> 8;
	struct node n = { (enum node_row)row, object };

	if (row >= NODE_ROW_COUNT)
		return -ENOENT;
	if (rows[row].kind == STAT_KEY) {
		if (!key_list_find(v->keys, object))
			return -ENOENT;
		*ret = n;
		return 0;
	}
	if (object > UINT32_MAX)
		return -ENOENT;
	switch (rows[row].kind) {
	case STAT_GLOBAL:
		if (object != 0)
			return -ENOENT;
		break;
	case STAT_UID:
	case STAT_KEY:
	case STAT_KIND_COUNT: break;
	case STAT_MODEL:
	case STAT_PROVIDER:
	case STAT_PROJECT:
		if (node_object_index(v, rows[row].kind, (uint32_t)n.object) < 0)
			return -ENOENT;
	}
	*ret = n;
	return 0;
}

int node_child(const struct node_view *v, struct node dir, struct slice name, struct node *ret)
{
	if (!S_ISDIR(rows[dir.row].mode))
		return -ENOTDIR;
	for (int row = (int)dir.row + 1; row < NODE_ROW_COUNT; row++) {
		struct slice below = row_below(dir.row, row);
		uint64_t object = dir.object;

		if (below.n == 0)
			continue;
		if (row_is_pattern(dir.row, row)) {
			if (object_by_name(v, rows[row].kind, name, &object) < 0)
				continue;
		} else if (!slice_eq(below, name)) {
			continue;
		}
		*ret = (struct node){ row, object };
		return 0;
	}
	return -ENOENT;
}

int node_look_up(const struct node_view *v, struct slice path, struct node *ret)
{
	struct node n = { NODE_root, 0 };

	while (path.n) {
		const char *slash = memchr(path.p, '/', path.n);
		struct slice name = slice_of(path.p, slash ? (size_t)(slash - path.p) : path.n);
		int r = node_child(v, n, name, &n);

		if (r < 0)
			return r;
		path = slice_skip(path, name.n + (slash ? 1 : 0));
	}
	*ret = n;
	return 0;
}

struct node node_parent(struct node n)
{
	for (int row = (int)n.row - 1; row >= 0; row--) {
		if (S_ISDIR(rows[row].mode) && row_below(row, n.row).n)
			return (struct node){ row, row_is_pattern(row, n.row) ? 0 : n.object };
	}
	return (struct node){ NODE_root, 0 };
}

bool node_next(const struct node_view *v, struct node dir, uint64_t *pos, struct node *ret,
	char ret_name[static NODE_NAME_MAX + 1])
{
	/* A position is a row in the upper half and, where the row stands for objects, which of
	 * them in the lower. */
	uint32_t object_pos = (uint32_t)*pos;

	for (uint64_t row = *pos >> 32; row < NODE_ROW_COUNT; row++, object_pos = 0) {
		struct slice below = row_below(dir.row, (enum node_row)row);
		uint64_t object;
		uint32_t n;

		if (below.n == 0)
			continue;
		if (!row_is_pattern(dir.row, (enum node_row)row)) {
			memcpy(ret_name, below.p, below.n);
			ret_name[below.n] = '\0';
			*ret = (struct node){ (enum node_row)row, dir.object };
			*pos = (row + 1) << 32;
			return true;
		}
		n = MIN(object_count(v, rows[row].kind), NODE_LIST_MAX);
		for (; object_pos < n; object_pos++) {
			if (!object_at(v, rows[row].kind, object_pos, &object, ret_name))
				continue;
			*ret = (struct node){ (enum node_row)row, object };
			*pos = row << 32 | (object_pos + 1);
			return true;
		}
	}
	*pos = (uint64_t)NODE_ROW_COUNT << 32;
	return false;
}

void node_attr(struct node n, const struct node_owner *o, usec changed_wall_us, struct stat *ret)
{
	mode_t mode = rows[n.row].mode;

	*ret = (struct stat){
		.st_ino = node_ino(n),
		.st_mode = mode,
		.st_nlink = S_ISDIR(mode) ? 2 : 1,
		.st_uid = o->uid,
		.st_gid = mode & S_IROTH ? o->gid : o->stats_gid,
		.st_mtim = { .tv_sec = changed_wall_us / USEC_PER_S },
	};
	/* The user alone: the group is one that only the agent is in. */
	if (rows[n.row].kind == STAT_UID) {
		ret->st_uid = (uint32_t)n.object;
		ret->st_gid = o->gid;
	}
	ret->st_atim = ret->st_ctim = ret->st_mtim;
}
