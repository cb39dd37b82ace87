/* Multipart bodies: read for the field `model` while they come, and handed on with the provider's
 * name in its place. Chunked towards the provider if the client sends chunked; a body that was
 * whole before the call began goes with its length, like any other. */
#include "request/upload.h"

#include <aigw/text.h>

enum { SEEN_MODEL = 1, SEEN_STREAM = 2 };

enum fail upload_begin(struct request *r, struct slice content_type, uint64_t length)
{
	struct upload *u = malloc(sizeof(*u));

	if (!u)
		return FAIL_gateway_overloaded;
	memset(u, 0, offsetof(struct upload, mp));
	memset((char *)u + sizeof(u->mp), 0, sizeof(*u) - sizeof(u->mp));
	list_init(&u->node);
	u->request = r;
	r->upload = u;
	u->length = length;
	return multipart_begin(&u->mp, content_type) ? FAIL_none : FAIL_bad_request;
}

static void stop_waiting(struct request *r)
{
	if (list_is_empty(&r->upload->node))
		return;
	list_remove(&r->upload->node);
	r->env->n_upload_waiters--;
}

void upload_free(struct request *r)
{
	if (!r->upload)
		return;
	stop_waiting(r);
	body_unreserve(r);
	free(r->upload);
	r->upload = NULL;
}

/* --- what is wrong with it ------------------------------------------------------------ */

/* The call may run already: then the provider gets a body without its end, and serves nothing. */
static void refuse(struct request *r, enum fail f, const char *text)
{
	stop_waiting(r);
	if (r->upload->phase != UPLOAD_RUNS) {
		body_refuse(r, f, text);
		return;
	}
	r->discard_body = r->want_close = true;
	r->expect_more = false;
	request_fail(r, f, "%s", text);
}

static void refuse_body(struct request *r, const char *why)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "The multipart body is malformed: %s.", why);
	refuse(r, FAIL_bad_request, text);
}

/* --- fields --------------------------------------------------------------------------- */

static bool once(struct request *r, unsigned bit, const char *name)
{
	char text[96];

	if (!(r->upload->seen & bit)) {
		r->upload->seen |= bit;
		return true;
	}
	(void)snprintf(text, sizeof(text),
		"The field \"%s\" stands twice in the body. Send it once.", name);
	refuse(r, FAIL_duplicate_member, text);
	return false;
}

/* At a part's head. Names that a server might take for a deciding one are that one. */
static bool check_name(struct request *r)
{
	static const struct {
		struct slice name;
		unsigned bit;
	} deciding[] = { { SLICE_INIT("model"), SEEN_MODEL },
		{ SLICE_INIT("stream"), SEEN_STREAM } };
	struct slice name = multipart_name(&r->upload->mp);

	for (size_t i = 0; i < ARRAY_LEN(deciding); i++) {
		if (!slice_eq_nocase(name, deciding[i].name))
			continue;
		if (!slice_eq(name, deciding[i].name)) {
			refuse_body(r,
				"write the names of the fields model and stream in small letters");
			return false;
		}
		return once(r, deciding[i].bit, deciding[i].name.p);
	}
	return true;
}

static bool is_model_name(struct slice s)
{
	if (s.n == 0 || s.n > POLICY_MODEL_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
			return false;
	return true;
}

static bool take_model(struct request *r)
{
	struct upload *u = r->upload;
	struct slice name = multipart_value(&u->mp);

	if (u->mp.is_file || !u->mp.type_is_text) {
		refuse_body(r, "the field model has to be plain text");
		return false;
	}
	if (!is_model_name(name)) {
		refuse(r, name.n ? FAIL_model_not_found : FAIL_missing_model,
			name.n ? "The model does not exist here. List them with GET /v1/models."
			       : "The body needs a field \"model\".");
		return false;
	}
	u->model_from = u->mp.from;
	u->model_to = u->mp.to;
	(void)snprintf(u->model_json, sizeof(u->model_json), "\"" SLICE_FMT "\"", SLICE_ARG(name));
	u->phase = UPLOAD_KNOWS;
	return true;
}

static bool take_part(struct request *r)
{
	struct upload *u = r->upload;
	struct slice name = multipart_name(&u->mp);

	if (slice_eq(name, SLICE("model")))
		return take_model(r);
	if (slice_eq(name, SLICE("stream")))
		r->facts.stream = slice_eq(multipart_value(&u->mp), SLICE("true"));
	if (u->mp.is_file)
		u->file_bytes += u->mp.to - u->mp.from;
	return true;
}

/* False: it has been refused. */
static bool read_parts(struct request *r, const char *p, size_t n)
{
	struct upload *u = r->upload;
	size_t used;

	while (n) {
		switch (multipart_next(&u->mp, p, n, &used)) {
		case MULTIPART_MORE:
		case MULTIPART_END: break;
		case MULTIPART_PART:
			if (!check_name(r))
				return false;
			break;
		case MULTIPART_PART_END:
			if (!take_part(r))
				return false;
			break;
		case MULTIPART_ERROR: refuse_body(r, u->mp.why); return false;
		}
		p += used;
		n -= used;
	}
	return true;
}

/* --- on its way in -------------------------------------------------------------------- */

static void pass_on(struct request *r, const char *p, size_t n)
{
	char size[24];
	struct slice v[3] = { SLICE_EMPTY, slice_of(p, n), SLICE("\r\n") };
	bool chunked = r->upload->chunked;

	v[0] = slice_of(size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", n));
	r->upload->must_wait =
		attempt_send(r->attempt, chunked ? v : v + 1, chunked ? 3 : 1, false) != 0;
}

void upload_bytes(struct request *r, const char *p, size_t n)
{
	struct upload *u = r->upload;

	if (r->outcome)
		return; /* the answer is on its way: what still comes is thrown away */
	if (u->phase == UPLOAD_RUNS) {
		if (read_parts(r, p, n) && !attempt_is_over(r->attempt))
			pass_on(r, p, n);
		return;
	}
	if (r->body.n + n > r->body.cap && !body_room(r, r->body.n + n)) {
		body_refuse(r, FAIL_gateway_overloaded, fail_row(FAIL_gateway_overloaded)->text);
		return;
	}
	memcpy(r->body.bytes + r->body.n, p, n);
	r->body.n += n;
	(void)read_parts(r, p, n);
}

static size_t size_at_most(const struct request *r)
{
	uint64_t most = r->upload->length;

	if (!most)
		most = atomic_load_explicit(&r->env->gw->max_body, memory_order_relaxed);
	return body_block_size((size_t)MAX(most, (uint64_t)r->body.cap));
}

static void wait_for_room(struct request *r)
{
	struct request_env *env = r->env;

	if (size_at_most(r) >
		atomic_load_explicit(&env->gw->body_memory, memory_order_relaxed) / 2) {
		body_refuse(r, FAIL_gateway_overloaded,
			"This upload may need more than the half of body_memory that uploads have. "
			"Send "
			"the field \"model\" before the file: then nothing has to be held.");
		return;
	}
	if (env->n_upload_waiters == UPLOAD_WAITERS) {
		body_refuse(r, FAIL_gateway_overloaded, fail_row(FAIL_gateway_overloaded)->text);
		return;
	}
	r->upload->waits_since_us = loop_now(env->loop);
	list_push_back(&env->upload_waiters, &r->upload->node);
	env->n_upload_waiters++;
	if (!deadline_is_armed(&env->upload_look))
		deadline_set(env->loop, &env->upload_look, UPLOAD_LOOK_US);
}

static void give_up(struct request *r)
{
	stop_waiting(r);
	body_refuse(r, FAIL_gateway_overloaded,
		"Other uploads take all memory for bodies. Try again shortly, or send the field "
		"\"model\" before the file: then nothing has to be held.");
	request_body_end(r);
}

/* First come, first served, but for those whose project has its share. */
void upload_look(struct deadline *d)
{
	struct request_env *env = container_of(d, struct request_env, upload_look);
	struct list *it, *tmp;
	usec now = loop_now(env->loop);

	list_each(it, tmp, &env->upload_waiters)
	{
		struct upload *u = list_entry(it, struct upload, node);
		struct request *r = u->request;

		if (body_reserve(r, size_at_most(r))) {
			stop_waiting(r);
			r->resume(r);
		} else if (now - u->waits_since_us > UPLOAD_PATIENCE_US) {
			give_up(r);
		}
	}
	if (env->n_upload_waiters)
		deadline_set(env->loop, d, UPLOAD_LOOK_US);
}

bool upload_goes_on(struct request *r)
{
	struct upload *u = r->upload;

	switch (u->phase) {
	case UPLOAD_RUNS: return !u->must_wait;
	case UPLOAD_KNOWS:
		/* The rest can be handed through. */
		u->phase = UPLOAD_RUNS;
		u->chunked = u->length == 0;
		u->must_wait = true;
		request_run(r);
		return false;
	default: break;
	}
	if (u->has_room || r->body.cap - r->body.n >= LOOP_SCRATCH_BYTES ||
		body_reserve(r, size_at_most(r)))
		return true;
	wait_for_room(r);
	return list_is_empty(&u->node); /* refused, and no more of it is wanted */
}

bool upload_ends(struct request *r)
{
	struct upload *u = r->upload;

	if (r->outcome)
		return false;
	u->whole = true;
	if (!multipart_is_whole(&u->mp)) {
		refuse_body(r, "it ends before its last boundary");
		return u->phase != UPLOAD_RUNS;
	}
	if (u->phase == UPLOAD_RUNS) {
		const struct slice end = SLICE("0\r\n\r\n");

		(void)attempt_send(r->attempt, &end, u->chunked ? 1 : 0, true);
		return false;
	}
	if (u->phase == UPLOAD_SEEKS)
		body_refuse(r, FAIL_missing_model, "The body needs a field \"model\".");
	return true;
}

/* --- on its way out ------------------------------------------------------------------- */

/* What is held, with the provider's name of the model. At most 3. */
unsigned upload_pieces(struct request *r, struct slice model, struct slice *out)
{
	const struct upload *u = r->upload;
	const char *p = r->body.bytes;

	out[0] = slice_of(p, (size_t)u->model_from);
	out[1] = model.n ? slice_of(model.p + 1, model.n - 2)
			 : slice_of(p + u->model_from, (size_t)(u->model_to - u->model_from));
	out[2] = slice_of(p + u->model_to, r->body.n - (size_t)u->model_to);
	return 3;
}

/* The provider has all that came so far: nothing is held any more. */
void upload_sent(struct attempt *a)
{
	struct request *r = a->owner;

	body_free(r);
	r->upload->must_wait = false;
	if (r->resume && !r->outcome)
		r->resume(r);
}
