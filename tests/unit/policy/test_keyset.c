/* The key set on the disk: what a verdict says, that revocations are seen at once and never undone,
 * what survives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <aigw/buf.h>
#include <aigw/policy_doc.h>
#include "policy/keyset.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t realm_a[16] = { 'a' }, realm_b[16] = { 'b' };

struct fixture {
	char dir[64];
	struct keyset *keys;
	struct keyset_reader *reader;
};

static void open_keys(struct fixture *f)
{
	struct errbuf e = { "" };

	if (keyset_open(f->dir, &f->keys, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(keyset_reader_new(f->keys, &f->reader, &e), 0);
}

static void close_keys(struct fixture *f)
{
	keyset_reader_free(f->reader);
	keyset_close(f->keys);
	f->reader = NULL;
	f->keys = NULL;
}

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memcpy(f->dir, "/tmp/aigw-keyset.XXXXXX", 24);
	assert_non_null(mkdtemp(f->dir));
	open_keys(f);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;
	char path[128];

	close_keys(f);
	(void)snprintf(path, sizeof(path), "%s/keys.mdb", f->dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/keys.mdb-lock", f->dir);
	(void)unlink(path);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

/* Key number i: its id and verifier follow from the number. */
static struct vkey key_of(unsigned i)
{
	struct vkey k;
	char id[VKEY_ID_LEN + 1];

	(void)snprintf(id, sizeof(id), "key_%012u", i);
	memcpy(k.id, id, VKEY_ID_LEN);
	memset(k.verifier, (int)(i % 251 + 1), sizeof(k.verifier));
	return k;
}

struct records {
	struct buf bytes[8];
	struct slice v[8];
	uint32_t n;
};

static void add(struct records *r, unsigned i, enum key_state state, const char *project)
{
	struct vkey key = key_of(i);
	struct key_record k = { .state = state,
		.project = slice_str(project),
		.name = SLICE("n"),
		.created_us = 1,
		.expires_us = 77,
		.revoked_us = state == KEY_REVOKED ? 5 : 0 };
	struct buf *b = &r->bytes[r->n];

	memcpy(k.id, key.id, sizeof(k.id));
	memcpy(k.verifier, key.verifier, sizeof(k.verifier));
	buf_init(b, 4096);
	assert_int_equal(key_record_pack(&k, b), 0);
	r->v[r->n++] = buf_view(b);
}

static void done(struct records *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		buf_fini(&r->bytes[i]);
	*r = (struct records){ .n = 0 };
}

static int replace(struct fixture *f, const uint8_t realm[16], uint64_t seq, struct records *r)
{
	struct errbuf e = { "" };
	int rc = keyset_replace(f->keys, realm, seq, r->v, r->n, &e);

	done(r);
	assert_true(rc == 0 || e.text[0]);
	return rc;
}

static int change(struct fixture *f, uint64_t seq, struct records *r)
{
	struct errbuf e = { "" };
	int rc = keyset_change(f->keys, seq, r->v, r->n, &e);

	done(r);
	assert_true(rc == 0 || e.text[0]);
	return rc;
}

static struct key_verdict look_up(struct fixture *f, unsigned i)
{
	struct vkey key = key_of(i);
	struct key_verdict v;

	memset(&v, 0xff, sizeof(v));
	assert_int_equal(keyset_look_up(f->reader, &key, &v), 0);
	return v;
}

static void a_new_store_knows_nobody(void **state)
{
	struct fixture *f = *state;
	uint8_t realm[16];

	keyset_realm(f->keys, realm);
	assert_memory_equal(realm, ((uint8_t[16]){ 0 }), 16);
	assert_int_equal(keyset_seq(f->keys), 0);
	assert_int_equal(keyset_count(f->keys), 0);
	assert_int_equal(keyset_generation(f->keys), 1);
	assert_int_equal(look_up(f, 1).state, 0);
}

static void a_verdict_carries_what_the_record_says(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };
	char long_name[POLICY_NAME_MAX + 1] = "";
	struct key_verdict v;

	memset(long_name, 'p', POLICY_NAME_MAX);
	add(&r, 1, KEY_ACTIVE, "search");
	add(&r, 2, KEY_DISABLED, long_name);
	add(&r, 3, KEY_REVOKED, "");
	assert_int_equal(replace(f, realm_a, 7, &r), 0);
	assert_int_equal(keyset_seq(f->keys), 7);
	assert_int_equal(keyset_count(f->keys), 3);
	v = look_up(f, 1);
	assert_int_equal(v.state, KEY_ACTIVE);
	assert_string_equal(v.project, "search");
	assert_int_equal(v.expires_us, 77);
	assert_int_equal(v.generation, keyset_generation(f->keys));
	v = look_up(f, 2);
	assert_int_equal(v.state, KEY_DISABLED);
	assert_string_equal(v.project, long_name);
	v = look_up(f, 3);
	assert_int_equal(v.state, KEY_REVOKED);
	assert_string_equal(v.project, "");
}

static void a_wrong_secret_is_an_unknown_key(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };

	add(&r, 1, KEY_ACTIVE, "search");
	assert_int_equal(replace(f, realm_a, 1, &r), 0);
	for (size_t i = 0; i < 32 * 8; i++) {
		struct vkey key = key_of(1);
		struct key_verdict v;

		key.verifier[i / 8] = (uint8_t)(key.verifier[i / 8] ^ 1u << i % 8);
		assert_int_equal(keyset_look_up(f->reader, &key, &v), 0);
		assert_int_equal(v.state, 0);
		assert_string_equal(v.project, "");
	}
}

static void a_committed_change_is_seen_by_the_next_look_up(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };
	struct key_verdict before;

	add(&r, 1, KEY_ACTIVE, "search");
	assert_int_equal(replace(f, realm_a, 1, &r), 0);
	before = look_up(f, 1);
	add(&r, 1, KEY_REVOKED, "search");
	add(&r, 2, KEY_ACTIVE, "other");
	assert_int_equal(change(f, 2, &r), 0);
	assert_int_not_equal(keyset_generation(f->keys), before.generation);
	assert_int_equal(look_up(f, 1).state, KEY_REVOKED);
	assert_int_equal(look_up(f, 2).state, KEY_ACTIVE);
	assert_int_equal(keyset_count(f->keys), 2);
}

static void a_change_must_follow(void **state)
{
	struct fixture *f = *state;
	static const uint64_t wrong[] = { 0, 1, 9, 10, 12, UINT64_MAX };
	struct records r = { .n = 0 };

	assert_int_equal(replace(f, realm_a, 10, &r), 0);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		add(&r, 1, KEY_ACTIVE, "search");
		assert_int_equal(change(f, wrong[i], &r), -EINVAL);
		assert_int_equal(keyset_seq(f->keys), 10);
		assert_int_equal(look_up(f, 1).state, 0);
	}
	assert_int_equal(change(f, 11, &r), 0);
	assert_int_equal(keyset_seq(f->keys), 11);
}

/* What comes after a revocation, and whether the key lives again. */
static void a_revoked_key_is_never_revived(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *what;
		bool snapshot;
		const uint8_t *realm;
		uint64_t seq;
		bool holds_the_key;
		enum key_state want;
	} cases[] = {
		{ "a change", false, realm_a, 6, true, KEY_REVOKED },
		{ "the same snapshot again", true, realm_a, 5, true, KEY_REVOKED },
		{ "an older snapshot", true, realm_a, 1, true, KEY_REVOKED },
		{ "a newer snapshot", true, realm_a, 90, true, KEY_REVOKED },
		{ "a snapshot without it", true, realm_a, 90, false, KEY_REVOKED },
		{ "another controller's snapshot", true, realm_b, 5, true, KEY_ACTIVE },
		{ "another controller's snapshot without it", true, realm_b, 5, false, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct records r = { .n = 0 };

		add(&r, 1, KEY_ACTIVE, "search");
		assert_int_equal(replace(f, (const uint8_t[16]){ 'x', (uint8_t)i }, 1, &r), 0);
		add(&r, 1, KEY_ACTIVE, "search");
		assert_int_equal(replace(f, realm_a, 4, &r), 0);
		add(&r, 1, KEY_REVOKED, "search");
		assert_int_equal(change(f, 5, &r), 0);
		if (cases[i].holds_the_key)
			add(&r, 1, KEY_ACTIVE, "search");
		add(&r, 2, KEY_ACTIVE, "search");
		if (cases[i].snapshot)
			assert_int_equal(replace(f, cases[i].realm, cases[i].seq, &r), 0);
		else
			assert_int_equal(change(f, cases[i].seq, &r), 0);
		if (look_up(f, 1).state != cases[i].want)
			fail_msg("after %s", cases[i].what);
		assert_int_equal(look_up(f, 2).state, KEY_ACTIVE);
		close_keys(f);
		open_keys(f);
		if (look_up(f, 1).state != cases[i].want)
			fail_msg("after %s and a restart", cases[i].what);
	}
}

static void a_snapshot_drops_what_it_does_not_hold(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };

	for (unsigned i = 0; i < 8; i++)
		add(&r, i, i % 2 ? KEY_ACTIVE : KEY_DISABLED, "search");
	assert_int_equal(replace(f, realm_a, 1, &r), 0);
	add(&r, 3, KEY_ACTIVE, "other");
	assert_int_equal(replace(f, realm_a, 2, &r), 0);
	assert_int_equal(keyset_count(f->keys), 1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(look_up(f, i).state, i == 3 ? KEY_ACTIVE : 0);
	assert_string_equal(look_up(f, 3).project, "other");
}

/* Sequences of another controller may be those of the last one; generations differ. */
static void a_generation_never_repeats(void **state)
{
	struct fixture *f = *state;
	uint64_t seen[4];
	struct records r = { .n = 0 };

	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		add(&r, 1, KEY_ACTIVE, "search");
		assert_int_equal(replace(f, i % 2 ? realm_a : realm_b, 5, &r), 0);
		seen[i] = look_up(f, 1).generation;
		assert_int_equal(seen[i], keyset_generation(f->keys));
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(seen[i], seen[j]);
	}
}

static void a_bad_record_leaves_all_as_it_was(void **state)
{
	struct fixture *f = *state;
	char long_name[POLICY_NAME_MAX + 2] = "";
	struct records r = { .n = 0 };
	uint8_t realm[16];

	memset(long_name, 'p', POLICY_NAME_MAX + 1);
	add(&r, 1, KEY_ACTIVE, "search");
	assert_int_equal(replace(f, realm_a, 1, &r), 0);
	for (int bad = 0; bad < 3; bad++) {
		add(&r, 2, KEY_ACTIVE, "search");
		add(&r, 3, KEY_ACTIVE, bad == 0 ? long_name : "search");
		if (bad == 1)
			r.v[1].n--;
		if (bad == 2)
			r.v[1] = SLICE_EMPTY;
		assert_int_equal(bad % 2 ? change(f, 2, &r) : replace(f, realm_b, 9, &r), -EBADMSG);
		assert_int_equal(keyset_seq(f->keys), 1);
		keyset_realm(f->keys, realm);
		assert_memory_equal(realm, realm_a, 16);
		assert_int_equal(look_up(f, 1).state, KEY_ACTIVE);
		assert_int_equal(look_up(f, 2).state, 0);
	}
}

static void all_survives_a_killed_process(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };
	uint8_t realm[16];
	int status;
	pid_t pid;

	close_keys(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		open_keys(f);
		add(&r, 1, KEY_ACTIVE, "search");
		if (replace(f, realm_a, 3, &r) < 0)
			_exit(1);
		add(&r, 1, KEY_REVOKED, "search");
		if (change(f, 4, &r) < 0)
			_exit(1);
		(void)kill(getpid(), SIGKILL); /* with a reader in the middle */
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	open_keys(f);
	assert_int_equal(keyset_seq(f->keys), 4);
	assert_int_equal(keyset_count(f->keys), 1);
	keyset_realm(f->keys, realm);
	assert_memory_equal(realm, realm_a, 16);
	assert_int_equal(look_up(f, 1).state, KEY_REVOKED);
}

static void file_path(const struct fixture *f, char path[static 128])
{
	(void)snprintf(path, 128, "%s/keys.mdb", f->dir);
}

static void the_file_is_private(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	file_path(f, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Every byte of a stored record is turned once: it is refused, or still says the same. */
static void a_damaged_record_is_not_believed(void **state)
{
	struct fixture *f = *state;
	struct records r = { .n = 0 };
	struct vkey key = key_of(1);
	struct key_verdict v;
	char path[128], *file, *at;
	struct stat st;
	unsigned refused = 0;
	int fd;

	add(&r, 1, KEY_REVOKED, "search");
	assert_int_equal(replace(f, realm_a, 1, &r), 0);
	file_path(f, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	file = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, file, (size_t)st.st_size, 0), st.st_size);
	at = memmem(file, (size_t)st.st_size, key.id, VKEY_ID_LEN);
	assert_non_null(at);
	for (size_t i = VKEY_ID_LEN; i < VKEY_ID_LEN + 60; i++) {
		char turned = (char)(at[i] ^ 0x20);
		int rc;

		assert_int_equal(pwrite(fd, &turned, 1, at - file + (off_t)i), 1);
		rc = keyset_look_up(f->reader, &key, &v);
		if (rc == 0)
			assert_int_equal(v.state, KEY_REVOKED);
		else
			refused++;
		assert_int_equal(pwrite(fd, at + i, 1, at - file + (off_t)i), 1);
	}
	assert_int_equal(refused, 60);
	(void)close(fd);
	free(file);
}

static void what_is_not_a_key_cache_is_refused(void **state)
{
	struct fixture *f = *state;
	struct errbuf e = { "" };
	struct keyset *k;
	char path[128];
	int fd;

	close_keys(f);
	file_path(f, path);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(write(fd, "not an LMDB file", 16), 16);
	(void)close(fd);
	assert_true(keyset_open(f->dir, &k, &e) < 0);
	assert_non_null(strstr(e.text, "keys.mdb"));
	assert_int_equal(keyset_open("/nonexistent/folder", &k, &e), -ENOENT);
	assert_int_equal(unlink(path), 0);
	open_keys(f);
}

/* The head is the value of "head": the format's four bytes come first. */
static void a_newer_format_is_refused(void **state)
{
	struct fixture *f = *state;
	static const char head[8] = { 'h', 'e', 'a', 'd', 0, 0, 0, 1 };
	struct errbuf e = { "" };
	struct keyset *k;
	struct stat st;
	char path[128], *file, *at;
	unsigned changed = 0;
	int fd;

	close_keys(f);
	file_path(f, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	file = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, file, (size_t)st.st_size, 0), st.st_size);
	for (at = file; (at = memmem(at, (size_t)(st.st_size - (at - file)), head, 8)); at++) {
		at[7] = 2;
		changed++;
	}
	assert_true(changed > 0);
	assert_int_equal(pwrite(fd, file, (size_t)st.st_size, 0), st.st_size);
	assert_int_equal(keyset_open(f->dir, &k, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "format 2"));
	for (at = file; (at = memmem(at, (size_t)(st.st_size - (at - file)), "head\0\0\0\2", 8));
		at++)
		at[7] = 1;
	assert_int_equal(pwrite(fd, file, (size_t)st.st_size, 0), st.st_size);
	(void)close(fd);
	free(file);
	open_keys(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_new_store_knows_nobody, begin, end),
		cmocka_unit_test_setup_teardown(a_verdict_carries_what_the_record_says, begin, end),
		cmocka_unit_test_setup_teardown(a_wrong_secret_is_an_unknown_key, begin, end),
		cmocka_unit_test_setup_teardown(
			a_committed_change_is_seen_by_the_next_look_up, begin, end),
		cmocka_unit_test_setup_teardown(a_change_must_follow, begin, end),
		cmocka_unit_test_setup_teardown(a_revoked_key_is_never_revived, begin, end),
		cmocka_unit_test_setup_teardown(a_snapshot_drops_what_it_does_not_hold, begin, end),
		cmocka_unit_test_setup_teardown(a_generation_never_repeats, begin, end),
		cmocka_unit_test_setup_teardown(a_bad_record_leaves_all_as_it_was, begin, end),
		cmocka_unit_test_setup_teardown(all_survives_a_killed_process, begin, end),
		cmocka_unit_test_setup_teardown(the_file_is_private, begin, end),
		cmocka_unit_test_setup_teardown(a_damaged_record_is_not_believed, begin, end),
		cmocka_unit_test_setup_teardown(a_newer_format_is_refused, begin, end),
		cmocka_unit_test_setup_teardown(what_is_not_a_key_cache_is_refused, begin, end),
	};

	return cmocka_run_group_tests_name("policy/keyset", tests, NULL, NULL);
}
