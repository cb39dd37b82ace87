/* What the tests of net/ share: a clock that can be put forward, turns of a loop, files that go
 * away again. */
#ifndef TEST_NET_FIXTURE_H
#define TEST_NET_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/loop.h>

/* All clocks of this process go forward by so much; a loop sees it at its next turn. */
void time_skip(usec us);

/* One turn of the loop that does not wait. */
void turn(struct loop *l);

/* A turn, a short wait for an event, a turn. */
void turn_waiting(struct loop *l);

/* Turns of the loop until the condition holds. What hangs is ended by SIGALRM. */
#define RUN_UNTIL(l, cond)                                                                         \
	do {                                                                                       \
		turn(l); /* what a turn does after its callbacks (deferred work) may be it */      \
		if (cond)                                                                          \
			break;                                                                     \
		turn_waiting(l);                                                                   \
	} while (!(cond))

/* A folder of this process; path() names a file in it (a static buffer of four). Both are gone
 * after fixture_end(). */
const char *path_of(const char *name);
void fixture_begin(void); /* main's first call: at most two minutes from here */
int fixture_end(int failed);

/* The same bytes for the same place: a stream's content is known without keeping it. */
char pattern_at(size_t at);
void pattern_fill(char *p, size_t at, size_t n);
bool pattern_is(const char *p, size_t at, size_t n);

#endif
