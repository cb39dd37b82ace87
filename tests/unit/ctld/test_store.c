/* The store's promises: what was written is there after re-opening; a failed write changed nothing;
 * a failed commit poisons the handle and nothing else. */
#include "fixture.h"

#include "store/store_lmdb.h"
#include <aigw/clock.h>
#include <lmdb.h>

static int commits_to_fail; /* the next n commits of write transactions fail like a disk */

int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);

int __wrap_mdb_txn_commit(MDB_txn *txn)
{
	if (commits_to_fail > 0) {
		commits_to_fail--;
		mdb_txn_abort(txn);
		return EIO;
	}
	return __real_mdb_txn_commit(txn);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fixture_open(f, STORE_MAP_BYTES);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_close(*state);
	free(*state);
	return 0;
}

static struct key_record key_named(char tail, const char *project, const char *name)
{
	struct key_record k = { .state = KEY_ACTIVE,
		.project = slice_str(project),
		.name = slice_str(name),
		.created_us = 5 };

	memcpy(k.id, "key_00000000000", 15);
	k.id[15] = tail;
	return k;
}

struct key_put {
	struct key_record key;
	uint64_t seq;
};

static int put_key(struct store_txn *t, void *arg)
{
	struct key_put *p = arg;

	return store_key_put(t, &p->key, &p->seq);
}

static int put_key_and_fail(struct store_txn *t, void *arg)
{
	int r = put_key(t, arg);

	return r < 0 ? r : -ECANCELED;
}

static int put_names(struct fixture *f, const char *tails)
{
	for (; *tails; tails++) {
		char name[2] = { *tails, 0 };
		struct key_put p = { .key = key_named(*tails, "search", name) };
		int r = store_write(f->store, 0, put_key, &p);

		if (r < 0)
			return r;
	}
	return 0;
}

struct changes {
	uint64_t after;
	char tails[64];
	size_t n;
};

static int change_seen(uint64_t seq, struct slice bytes, void *arg)
{
	struct changes *c = arg;
	struct key_record k;

	assert_int_equal(key_record_unpack(bytes, &k), 0);
	assert_int_equal(seq, c->after + c->n + 1);
	c->tails[c->n++] = k.id[15];
	return 0;
}

static int read_changes(struct store_txn *t, void *arg)
{
	struct changes *c = arg;

	return store_key_changes(t, c->after, change_seen, c);
}

static void key_changes_are_numbered_and_kept(void **state)
{
	struct fixture *f = *state;
	struct changes c = { .after = 1 };
	struct key_put revoke = { .key = key_named('a', "search", "a") };

	assert_int_equal(put_names(f, "abc"), 0);
	revoke.key.state = KEY_REVOKED;
	assert_int_equal(store_write(f->store, 0, put_key, &revoke), 0);
	assert_int_equal(revoke.seq, 4);
	fixture_reopen(f);
	assert_int_equal(store_read(f->store, read_changes, &c), 0);
	assert_string_equal(c.tails, "bca");
	c = (struct changes){ .after = 4 };
	assert_int_equal(store_read(f->store, read_changes, &c), 0);
	assert_int_equal(c.n, 0);
	c = (struct changes){ .after = 5 }; /* of another store's past */
	assert_int_equal(store_read(f->store, read_changes, &c), -ENOENT);
}

static int many_changes(struct store_txn *t, void *arg)
{
	struct key_put p = { .key = key_named('x', "search", "x") };

	(void)arg;
	for (int i = 0; i < STORE_KEY_CHANGES_KEPT + 5; i++) {
		int r = store_key_put(t, &p.key, &p.seq);

		if (r < 0)
			return r;
	}
	return 0;
}

static void old_changes_are_dropped_so_a_snapshot_is_needed(void **state)
{
	struct fixture *f = *state;
	struct changes c = { .after = 4 };

	assert_int_equal(store_write(f->store, 4u << 20, many_changes, NULL), 0);
	assert_int_equal(store_read(f->store, read_changes, &c), -ENOENT);
	c.after = STORE_KEY_CHANGES_KEPT;
	assert_int_equal(store_read(f->store, read_changes, &c), 0);
	assert_int_equal(c.n, 5);
}

static void a_name_is_unique_among_keys_that_are_not_revoked(void **state)
{
	struct fixture *f = *state;
	struct key_put first = { .key = key_named('1', "search", "ci") },
		       second = { .key = key_named('2', "search", "ci") };
	struct key_put other = { .key = key_named('3', "billing", "ci") };

	assert_int_equal(store_write(f->store, 0, put_key, &first), 0);
	assert_int_equal(store_write(f->store, 0, put_key, &second), -EEXIST);
	assert_int_equal(store_write(f->store, 0, put_key, &other), 0);
	first.key.state = KEY_REVOKED;
	assert_int_equal(store_write(f->store, 0, put_key, &first), 0);
	assert_int_equal(store_write(f->store, 0, put_key, &second), 0);
}

static void a_failed_write_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct key_put p = { .key = key_named('1', "search", "ci") };
	struct changes c = { 0 };

	assert_int_equal(store_write(f->store, 0, put_key_and_fail, &p), -ECANCELED);
	assert_int_equal(store_read(f->store, read_changes, &c), 0);
	assert_int_equal(c.n, 0);
}

static void a_failed_commit_poisons_the_handle_and_a_new_one_is_opened_later(void **state)
{
	struct fixture *f = *state;
	struct key_put p = { .key = key_named('1', "search", "ci") };
	struct changes c = { 0 };

	assert_int_equal(put_names(f, "a"), 0);
	clock_fake_set(10 * USEC_PER_S, 0);
	commits_to_fail = 1;
	assert_int_equal(store_write(f->store, 0, put_key, &p), -EIO);
	/* not tried again on that handle, nor at once on another */
	assert_int_equal(store_write(f->store, 0, put_key, &p), -EIO);
	assert_int_equal(store_read(f->store, read_changes, &c), -EIO);
	assert_int_equal(store_size(f->store).used_bytes, 0);
	clock_fake_advance(2 * USEC_PER_S);
	assert_int_equal(store_read(f->store, read_changes, &c), 0);
	assert_string_equal(c.tails, "a");
	assert_int_equal(store_write(f->store, 0, put_key, &p), 0);
	assert_int_equal(p.seq, 2);
	clock_fake_off();
}

static void a_batch_is_unavailable_when_the_commit_fails_and_booked_once_later(void **state)
{
	struct fixture *f = *state;
	struct agent_side a = { .store_id = { 1 } };
	struct ingest_batch b = batch_next(f, &a, 5, 0);

	clock_fake_set(10 * USEC_PER_S, 0);
	commits_to_fail = 1;
	assert_int_equal(batch_book(f, &b), INGEST_UNAVAILABLE);
	clock_fake_advance(2 * USEC_PER_S);
	assert_int_equal(batch_book(f, &b), INGEST_BOOKED);
	assert_int_equal(count_records(f), 5);
	clock_fake_off();
}

/* --- the other tables ---------------------------------------------------------------------------
 */

static int put_revision(struct store_txn *t, void *arg)
{
	return store_revision_put(t, arg);
}

static int check_revision(struct store_txn *t, void *arg)
{
	struct store_revision r;
	struct slice name, text, files;

	(void)arg;
	assert_int_equal(store_revision_get(t, 3, &r), -ENOENT);
	assert_int_equal(store_revision_get(t, 0, &r), 0);
	assert_int_equal(r.number, 2);
	assert_int_equal(store_revision_get(t, 1, &r), 0);
	assert_true(slice_eq(r.by, SLICE("anna")));
	assert_true(slice_eq(r.packed, SLICE("packed")));
	files = r.files;
	assert_true(store_files_next(&files, &name, &text));
	assert_true(slice_eq(name, SLICE("policy.yaml")));
	assert_true(store_files_next(&files, &name, &text));
	assert_true(slice_eq(text, SLICE("b: 2\n")));
	assert_false(store_files_next(&files, &name, &text));
	return 0;
}

static void revisions_keep_their_files(void **state)
{
	struct fixture *f = *state;
	struct store_revision r = { .number = 1,
		.applied_us = 7,
		.by = SLICE("anna"),
		.message = SLICE("first"),
		.digest = slice_of("0123456789abcdef0123456789abcdef", 32),
		.packed = SLICE("packed") };
	struct buf files;

	buf_init(&files, 4096);
	store_files_add(&files, SLICE("policy.yaml"), SLICE("a: 1\n"));
	store_files_add(&files, SLICE("more.yaml"), SLICE("b: 2\n"));
	r.files = buf_view(&files);
	assert_int_equal(store_write(f->store, 0, put_revision, &r), 0);
	r.number = 2;
	assert_int_equal(store_write(f->store, 0, put_revision, &r), 0);
	buf_fini(&files);
	fixture_reopen(f);
	assert_int_equal(store_read(f->store, check_revision, NULL), 0);
}

struct secret_put {
	struct store_secret secret;
	uint64_t version;
};

static int put_secret(struct store_txn *t, void *arg)
{
	struct secret_put *p = arg;

	return store_secret_put(t, &p->secret, &p->version);
}

static int secret_seen(const struct store_secret *s, void *arg)
{
	assert_true(slice_eq(s->name, SLICE("openai")));
	assert_true(slice_eq(s->value, SLICE("second")));
	*(uint64_t *)arg += s->version;
	return 0;
}

static int read_secrets(struct store_txn *t, void *arg)
{
	return store_secret_each(t, secret_seen, arg);
}

static void a_secret_set_again_has_the_next_version(void **state)
{
	struct fixture *f = *state;
	struct secret_put p = {
		.secret = { .name = SLICE("openai"), .value = SLICE("first"), .by = SLICE("anna") }
	};
	uint64_t version = 0;

	assert_int_equal(store_write(f->store, 0, put_secret, &p), 0);
	assert_int_equal(p.version, 1);
	p.secret.value = SLICE("second");
	assert_int_equal(store_write(f->store, 0, put_secret, &p), 0);
	assert_int_equal(p.version, 2);
	assert_int_equal(store_read(f->store, read_secrets, &version), 0);
	assert_int_equal(version, 2);
}

static int newer_format(struct store_txn *t, void *arg)
{
	(void)arg;
	return meta_put(t, "format", STORE_FORMAT + 1);
}

static void a_newer_format_is_refused_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct store *again;
	struct errbuf e;

	assert_int_equal(store_write(f->store, 0, newer_format, NULL), 0);
	store_close(f->store);
	f->store = NULL;
	assert_int_equal(store_open(f->dir, STORE_MAP_BYTES, &again, &e), -EPROTO);
	assert_non_null(strstr(e.text, "has format 2, this aigw-ctld knows up to 1"));
}

static void a_second_controller_is_turned_away(void **state)
{
	struct fixture *f = *state;
	struct store *again;
	struct errbuf e;

	assert_int_equal(store_open(f->dir, STORE_MAP_BYTES, &again, &e), -EBUSY);
	assert_non_null(strstr(e.text, "held by another aigw-ctld"));
}

static void the_realm_stays_and_differs_between_stores(void **state)
{
	struct fixture *f = *state, other = { 0 };
	uint8_t realm[16];

	memcpy(realm, store_realm(f->store), 16);
	fixture_reopen(f);
	assert_memory_equal(realm, store_realm(f->store), 16);
	fixture_open(&other, STORE_MAP_BYTES);
	assert_memory_not_equal(realm, store_realm(other.store), 16);
	fixture_close(&other);
}

static int big_row(struct store_txn *t, void *arg)
{
	struct store_revision *r = arg;

	return store_revision_put(t, r);
}

/* Without a hint of what is coming the map fills up in the middle: aborted, doubled, done again. */
static void a_full_map_is_doubled_and_the_write_done_again(void **state)
{
	struct fixture f = { 0 };
	struct store_revision r = { .number = 1,
		.digest = slice_of("0123456789abcdef0123456789abcdef", 32) };
	char *text = calloc(1, 300u << 10);

	(void)state;
	assert_non_null(text);
	fixture_open(&f, 256u << 10);
	r.packed = slice_of(text, 300u << 10);
	assert_int_equal(store_write(f.store, 0, big_row, &r), 0);
	assert_true(store_size(f.store).map_bytes >= 512u << 10);
	fixture_close(&f);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(key_changes_are_numbered_and_kept),
		T(old_changes_are_dropped_so_a_snapshot_is_needed),
		T(a_name_is_unique_among_keys_that_are_not_revoked),
		T(a_failed_write_changes_nothing),
		T(a_failed_commit_poisons_the_handle_and_a_new_one_is_opened_later),
		T(a_batch_is_unavailable_when_the_commit_fails_and_booked_once_later),
		T(revisions_keep_their_files),
		T(a_secret_set_again_has_the_next_version),
		T(a_newer_format_is_refused_with_a_sentence),
		T(a_second_controller_is_turned_away),
		T(the_realm_stays_and_differs_between_stores),
		cmocka_unit_test(a_full_map_is_doubled_and_the_write_done_again),
#undef T
	};

	return cmocka_run_group_tests_name("ctld/store", tests, NULL, NULL);
}
