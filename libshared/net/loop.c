/* The wheel: slot = tick mod 512 of 10 ms each; a deadline further away than one turn stays in its
 * slot and is passed over until its tick comes. One uv_timer is set for the next slot that is not
 * empty, so an idle loop does not wake. */
#include <aigw/clock.h>
#include <aigw/loop.h>
#include <sys/mman.h>

#define NO_TICK UINT64_MAX

static uint64_t tick_now(const struct loop *l)
{
	return uv_now(&l->uv) * 1000 / LOOP_WHEEL_TICK_US;
}

static void on_wheel_timer(uv_timer_t *t);

static void timer_set(struct loop *l, uint64_t tick)
{
	uint64_t now_ms = uv_now(&l->uv);
	uint64_t at_ms = tick * LOOP_WHEEL_TICK_US / 1000;

	l->timer_tick = tick;
	(void)uv_timer_start(
		&l->wheel_timer, on_wheel_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* Sets the timer for the next slot in use. */
static void timer_plan(struct loop *l)
{
	l->timer_tick = NO_TICK;
	if (!l->armed) {
		(void)uv_timer_stop(&l->wheel_timer);
		return;
	}
	for (uint64_t i = 0; i < LOOP_WHEEL_SLOTS; i++) {
		if (!list_is_empty(&l->wheel[(l->wheel_tick + i) % LOOP_WHEEL_SLOTS])) {
			timer_set(l, l->wheel_tick + i);
			return;
		}
	}
}

static void fire_slot(struct loop *l, uint64_t tick)
{
	struct list *slot = &l->wheel[tick % LOOP_WHEEL_SLOTS];
	struct list due;

	if (list_is_empty(slot))
		return;
	/* Taken out first: a fired owner may set and stop deadlines of this very slot. */
	list_init(&due);
	list_insert_after(slot, &due);
	list_remove(slot);
	while (!list_is_empty(&due)) {
		struct deadline *d = list_entry(due.next, struct deadline, node);

		list_remove(&d->node);
		if (d->at_tick > tick) {
			list_push_back(slot, &d->node);
			continue;
		}
		d->at_tick = 0;
		l->armed--;
		d->fired(d);
	}
}

static void on_wheel_timer(uv_timer_t *t)
{
	struct loop *l = container_of(t, struct loop, wheel_timer);
	uint64_t now = tick_now(l);
	uint64_t first = l->wheel_tick;

	/* After a long stall every slot is looked at once, no more. */
	if (now - first >= LOOP_WHEEL_SLOTS)
		first = now - LOOP_WHEEL_SLOTS + 1;
	l->wheel_tick = now + 1;
	for (uint64_t tick = first; tick <= now; tick++)
		fire_slot(l, tick);
	timer_plan(l);
}

static void run_deferred(struct loop *l)
{
	while (!list_is_empty(&l->deferred)) {
		struct deferred *d = list_entry(l->deferred.next, struct deferred, node);

		list_remove(&d->node);
		d->run(d);
	}
	uv_unref((uv_handle_t *)&l->prepare);
}

static void on_prepare(uv_prepare_t *p)
{
	struct loop *l = container_of(p, struct loop, prepare);

	run_deferred(l);
	l->looking = true;
	l->n_events = 0;
	if (++l->look == 0)
		l->look = 1;
}

static void on_check(uv_check_t *c)
{
	container_of(c, struct loop, check)->looking = false;
}

static char *scratch_new(void)
{
	void *p = mmap(NULL, LOOP_SCRATCH_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void scratch_free(char *p)
{
	if (p)
		(void)munmap(p, LOOP_SCRATCH_BYTES);
}

char *loop_swap_scratch(struct loop *l, char *fresh)
{
	char *old = l->scratch_in;

	l->scratch_in = fresh;
	return old;
}

int loop_init(struct loop *l, void *owner)
{
	int err;

	memset(l, 0, sizeof(*l));
	l->owner = owner;
	for (size_t i = 0; i < LOOP_WHEEL_SLOTS; i++)
		list_init(&l->wheel[i]);
	list_init(&l->deferred);
	l->scratch_in = scratch_new();
	l->scratch_out = malloc(LOOP_SCRATCH_BYTES);
	err = l->scratch_in && l->scratch_out ? uv_loop_init(&l->uv) : -ENOMEM;
	if (err) {
		scratch_free(l->scratch_in);
		free(l->scratch_out);
		return err;
	}
	(void)uv_timer_init(&l->uv, &l->wheel_timer);
	(void)uv_prepare_init(&l->uv, &l->prepare);
	(void)uv_prepare_start(&l->prepare, on_prepare);
	uv_unref((uv_handle_t *)&l->prepare);
	(void)uv_check_init(&l->uv, &l->check);
	(void)uv_check_start(&l->check, on_check);
	uv_unref((uv_handle_t *)&l->check);
	l->wheel_tick = tick_now(l);
	l->timer_tick = NO_TICK;
	return 0;
}

void loop_fini(struct loop *l)
{
	uv_close((uv_handle_t *)&l->wheel_timer, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	do
		run_deferred(l);
	while (uv_run(&l->uv, UV_RUN_DEFAULT) != 0 || !list_is_empty(&l->deferred));
	ASSERT(uv_loop_close(&l->uv) == 0);
	scratch_free(l->scratch_in);
	free(l->scratch_out);
	free(l->scratch_tls_in);
	free(l->scratch_tls_out);
}

int loop_run(struct loop *l)
{
	return uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

usec loop_now_anew(struct loop *l)
{
	l->event_now = clock_mono_us();
	return l->event_now;
}

void deadline_init(struct deadline *d, void (*fired)(struct deadline *))
{
	list_init(&d->node);
	d->at_tick = 0;
	d->fired = fired;
}

void deadline_set(struct loop *l, struct deadline *d, usec after_us)
{
	uint64_t after = (uint64_t)(after_us + LOOP_WHEEL_TICK_US - 1) / LOOP_WHEEL_TICK_US;
	uint64_t tick = tick_now(l) + after + 1;

	if (d->at_tick == tick)
		return;
	if (d->at_tick)
		list_remove(&d->node);
	else
		l->armed++;
	if (tick < l->wheel_tick)
		tick = l->wheel_tick;
	d->at_tick = tick;
	list_push_back(&l->wheel[tick % LOOP_WHEEL_SLOTS], &d->node);
	if (tick < l->timer_tick) {
		/* The wheel did not turn while the timer was off: nothing is due before now. */
		if (l->timer_tick == NO_TICK && l->wheel_tick < tick_now(l))
			l->wheel_tick = tick_now(l);
		timer_set(l, tick);
	}
}

void deadline_stop(struct loop *l, struct deadline *d)
{
	if (!d->at_tick)
		return;
	list_remove(&d->node);
	d->at_tick = 0;
	/* A timer without deadlines would keep a loop alive that has nothing left to do. */
	if (--l->armed == 0)
		timer_plan(l);
}

bool deadline_is_armed(const struct deadline *d)
{
	return d->at_tick != 0;
}

void deferred_init(struct deferred *d, void (*run)(struct deferred *))
{
	list_init(&d->node);
	d->run = run;
}

void deferred_queue(struct loop *l, struct deferred *d)
{
	if (!list_is_empty(&d->node))
		return;
	list_push_back(&l->deferred, &d->node);
	uv_ref((uv_handle_t *)&l->prepare); /* a loop that has nothing else runs it as well */
}

void deferred_cancel(struct deferred *d)
{
	list_remove(&d->node);
}
