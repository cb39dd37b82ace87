/* A record for people and scripts: ids and times as text, money as decimal text, enums by name. */
#include <aigw/clock.h>
#include <aigw/text.h>

#include "usage_rows.h"

const char *usage_outcome_name(int64_t outcome)
{
	static const char *const names[] = {
		[USAGE_OK] = "ok",
		[USAGE_CLIENT_GONE] = "client_gone",
		[USAGE_CUT] = "cut",
		[USAGE_EMPTY] = "empty",
		[USAGE_UNKNOWN] = "unknown",
		[USAGE_REFUSED] = "refused",
		[USAGE_FAILED] = "failed",
	};

	return outcome >= USAGE_OK && outcome <= USAGE_FAILED ? names[outcome] : "other";
}

const char *usage_endpoint_name(int64_t endpoint)
{
	static const char *const names[] = {
		[ENDPOINT_none] = "none",
		[ENDPOINT_chat] = "chat",
		[ENDPOINT_completions] = "completions",
		[ENDPOINT_embeddings] = "embeddings",
		[ENDPOINT_responses] = "responses",
		[ENDPOINT_moderations] = "moderations",
		[ENDPOINT_transcriptions] = "transcriptions",
		[ENDPOINT_translations] = "translations",
		[ENDPOINT_speech] = "speech",
		[ENDPOINT_images] = "images",
		[ENDPOINT_image_edits] = "image_edits",
		[ENDPOINT_image_variations] = "image_variations",
	};

	return endpoint >= ENDPOINT_none && endpoint <= ENDPOINT_image_variations ? names[endpoint]
										  : "other";
}

/* 128 bits, most significant first: the first character carries three, the 25 others five each. */
static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";
#define REQUEST_ID_PREFIX "req_"
#define REQUEST_ID_DIGITS 26

static uint64_t load_be64(const uint8_t p[8])
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* From the end: twelve characters out of the low word, one of both words, thirteen of the high one.
 */
void request_id_format(const uint8_t op_id[16], char out[static REQUEST_ID_LEN + 1])
{
	uint64_t high = load_be64(op_id), low = load_be64(op_id + 8);
	char *digits = out + 4;

	memcpy(out, REQUEST_ID_PREFIX, 4);
	for (unsigned i = REQUEST_ID_DIGITS - 1; i > 13; i--, low >>= 5)
		digits[i] = crockford[low & 31];
	digits[13] = crockford[(low | high << 4) & 31];
	high >>= 1;
	for (unsigned i = 13; i-- > 0; high >>= 5)
		digits[i] = crockford[high & 31];
	digits[REQUEST_ID_DIGITS] = '\0';
}

static int crockford_value(char c)
{
	const char *at;

	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	if (c == 'o')
		c = '0';
	if (c == 'i' || c == 'l')
		c = '1';
	at = c ? strchr(crockford, c) : NULL;
	return at ? (int)(at - crockford) : -1;
}

/* As people type it: upper case, and o, i, l for the digits that they look like. */
int request_id_parse(struct slice text, uint8_t op_id[16])
{
	unsigned pending = 0, n_bits = 0, n = 0;
	uint8_t id[16];

	if (text.n != REQUEST_ID_LEN || !slice_starts(text, SLICE(REQUEST_ID_PREFIX)))
		return -EINVAL;
	for (unsigned i = 0; i < REQUEST_ID_DIGITS; i++) {
		int v = crockford_value(text.p[4 + i]);

		if (v < 0 || (i == 0 && v > 7))
			return -EINVAL;
		pending = (pending << 5 | (unsigned)v) & 0xffff;
		n_bits += i == 0 ? 3 : 5;
		if (n_bits >= 8) {
			n_bits -= 8;
			id[n++] = (uint8_t)(pending >> n_bits);
		}
	}
	memcpy(op_id, id, sizeof(id));
	return 0;
}

static void json_text(struct buf *b, const char *text)
{
	(void)text_json_quote(b, slice_str(text));
}

static void json_money(struct buf *b, int64_t nano)
{
	char text[32];

	text_format_nano(nano, 9, text);
	json_text(b, text);
}

static void usage_json_enum(const char *name, int64_t v, struct buf *b)
{
	if (strcmp(name, "outcome") == 0)
		json_text(b, usage_outcome_name(v));
	else if (strcmp(name, "endpoint") == 0)
		json_text(b, usage_endpoint_name(v));
	else if (strcmp(name, "kind") == 0)
		json_text(b, v == 0 ? "call" : "other");
	else
		json_text(b, v == 0 ? "none" : v == 1 ? "openai" : "other"); /* dialect */
}

static void usage_json_key(struct buf *b, const char *name, size_t n)
{
	(void)buf_char(b, '"');
	(void)buf_append(b, name, n);
	(void)buf_str(b, "\":");
}

/* Cost and charge of a call without a price are none, never 0. */
static bool usage_is_unpriced(const struct usage_record *r, const struct usage_row *row)
{
	return !r->priced && *usage_int(r, row) == 0 &&
	       row->offset != offsetof(struct usage_record, reserved_nano);
}

static void usage_json_int(const struct usage_record *r, const struct usage_row *row, struct buf *b)
{
	int64_t v = *usage_int(r, row);
	size_t n = strlen(row->name);
	char text[32];

	if (row->offset == offsetof(struct usage_record, start_us)) {
		usage_json_key(b, "start_time", strlen("start_time"));
		clock_format_utc(v, true, text);
		json_text(b, text);
		return;
	}
	if (strcmp(row->unit, "10^-9") == 0) {
		usage_json_key(b, row->name, n - strlen("_nano"));
		if (usage_is_unpriced(r, row))
			(void)buf_str(b, "null");
		else
			json_money(b, v);
		return;
	}
	usage_json_key(b, row->name, n);
	if (strcmp(row->unit, "enum") == 0)
		usage_json_enum(row->name, v, b);
	else if (strcmp(row->unit, "bool") == 0)
		(void)buf_str(b, v ? "true" : "false");
	else if (strcmp(row->unit, "uid+1") == 0 && v == 0)
		(void)buf_str(b, "null");
	else
		(void)buf_i64(b, strcmp(row->unit, "uid+1") == 0 ? v - 1 : v);
}

static void usage_json_str(const struct usage_record *r, const struct usage_row *row, struct buf *b)
{
	const struct slice *s = usage_str(r, row);
	char id[REQUEST_ID_LEN + 1];

	if (row->offset != offsetof(struct usage_record, op_id)) {
		usage_json_key(b, row->name, strlen(row->name));
		(void)text_json_quote(b, *s);
		return;
	}
	usage_json_key(b, "request_id", strlen("request_id"));
	if (s->n == 16) {
		request_id_format((const uint8_t *)s->p, id);
		json_text(b, id);
	} else {
		(void)buf_str(b, "null");
	}
}

int usage_to_json(const struct usage_record *r, struct buf *b)
{
	for (size_t i = 0; i < USAGE_ROWS; i++) {
		(void)buf_char(b, i ? ',' : '{');
		if (usage_rows[i].unit)
			usage_json_int(r, &usage_rows[i], b);
		else
			usage_json_str(r, &usage_rows[i], b);
	}
	return buf_char(b, '}');
}
