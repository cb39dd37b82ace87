/* Mail between threads: every mail is handled exactly once, on the loop's thread, one sender's in
 * the order of posting; closing loses none. */
#include "fixture.h"

#include <aigw/mailbox.h>

#define SENDERS 4
#define EACH    5000

struct post_office {
	struct loop loop;
	struct mailbox box;
	pthread_t thread; /* the loop's */
	unsigned next[SENDERS];
	unsigned handled;
};

struct letter {
	struct mail mail;
	unsigned sender, number;
};

struct sender {
	struct post_office *office;
	unsigned which;
};

static void on_letter(struct mail *m, void *owner)
{
	struct letter *letter = container_of(m, struct letter, mail);
	struct post_office *o = owner;

	assert_true(pthread_equal(pthread_self(), o->thread));
	assert_int_equal(letter->number, o->next[letter->sender]);
	o->next[letter->sender]++;
	o->handled++;
	free(letter); /* the handler owns it */
}

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < EACH; i++) {
		struct letter *letter = malloc(sizeof(*letter));

		*letter = (struct letter){
			.mail.handle = on_letter, .sender = s->which, .number = i
		};
		mailbox_post(&s->office->box, &letter->mail);
	}
	return NULL;
}

static struct post_office *office_open(void)
{
	struct post_office *o = calloc(1, sizeof(*o));

	assert_int_equal(loop_init(&o->loop, o), 0);
	assert_int_equal(mailbox_init(&o->box, &o->loop), 0);
	o->thread = pthread_self();
	return o;
}

static void office_close(struct post_office *o)
{
	loop_fini(&o->loop);
	(void)pthread_mutex_destroy(&o->box.lock);
	free(o);
}

static void test_order_over_threads(void **state)
{
	struct post_office *o = office_open();
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];

	(void)state;
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ o, i };
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	RUN_UNTIL(&o->loop, o->handled == SENDERS * EACH);
	for (unsigned i = 0; i < SENDERS; i++)
		(void)pthread_join(threads[i], NULL);
	turn(&o->loop);
	assert_int_equal(o->handled, SENDERS * EACH);
	mailbox_close(&o->box);
	office_close(o);
}

static void post_one(struct post_office *o, unsigned number)
{
	struct letter *letter = malloc(sizeof(*letter));

	*letter = (struct letter){ .mail.handle = on_letter, .number = number };
	mailbox_post(&o->box, &letter->mail);
}

static void on_letter_that_posts(struct mail *m, void *owner)
{
	struct post_office *o = owner;

	on_letter(m, owner);
	post_one(o, o->next[0]);
}

static void test_posted_by_a_handler(void **state)
{
	struct post_office *o = office_open();
	struct letter *letter = malloc(sizeof(*letter));

	(void)state;
	*letter = (struct letter){ .mail.handle = on_letter_that_posts };
	mailbox_post(&o->box, &letter->mail);
	RUN_UNTIL(&o->loop, o->handled == 2);
	mailbox_close(&o->box);
	office_close(o);
}

static void test_closing_handles_what_was_posted(void **state)
{
	struct post_office *o = office_open();

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		post_one(o, i);
	mailbox_close(&o->box);
	assert_int_equal(o->handled, 100);
	office_close(o);
}

/* Also what the handlers of the last mail post. */
static void test_closing_handles_what_its_handlers_post(void **state)
{
	struct post_office *o = office_open();
	struct letter *letter = malloc(sizeof(*letter));

	(void)state;
	*letter = (struct letter){ .mail.handle = on_letter_that_posts };
	mailbox_post(&o->box, &letter->mail);
	mailbox_close(&o->box);
	assert_int_equal(o->handled, 2);
	office_close(o);
}

static void on_letter_that_closes(struct mail *m, void *owner)
{
	struct post_office *o = owner;

	on_letter(m, owner);
	mailbox_close(&o->box);
}

/* A worker stops by mail: what stands behind that mail is handled too. */
static void test_closed_by_a_handler(void **state)
{
	struct post_office *o = office_open();
	struct letter *letter = malloc(sizeof(*letter));

	(void)state;
	*letter = (struct letter){ .mail.handle = on_letter_that_closes };
	mailbox_post(&o->box, &letter->mail);
	post_one(o, 1);
	(void)loop_run(&o->loop); /* ends by itself: the bell was all there was */
	assert_int_equal(o->handled, 2);
	office_close(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_over_threads),
		cmocka_unit_test(test_posted_by_a_handler),
		cmocka_unit_test(test_closing_handles_what_was_posted),
		cmocka_unit_test(test_closing_handles_what_its_handlers_post),
		cmocka_unit_test(test_closed_by_a_handler),
	};

	fixture_begin();
	return fixture_end(cmocka_run_group_tests(tests, NULL, NULL));
}
