/* multipart/form-data: what is read of it, however it is cut, and what is refused. */
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <aigw/buf.h>
#include <aigw/multipart.h>

#define TYPE                  "multipart/form-data; boundary=B"
#define PART(fields, content) "--B\r\n" fields "\r\n\r\n" content "\r\n"
#define FIELD(name, content)  PART("Content-Disposition: form-data; name=\"" name "\"", content)
#define FILE_OF(content)                                                                           \
	PART("Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: " \
	     "audio/wav",                                                                          \
		content)

/* What came of it: "model=whisper file(3)@..;" and "END" or "ERROR why". */
static void read_all(struct slice text, size_t piece, struct buf *b)
{
	struct multipart m;
	size_t at = 0;

	assert_true(multipart_begin(&m, SLICE(TYPE)));
	while (at < text.n) {
		size_t n = MIN(piece, text.n - at), used;
		enum multipart_event e = multipart_next(&m, text.p + at, n, &used);

		assert_true(used <= n);
		at += used;
		if (e == MULTIPART_ERROR) {
			(void)buf_printf(b, "ERROR %s", m.why);
			return;
		}
		if (e == MULTIPART_PART_END) {
			struct slice name = multipart_name(&m), value = multipart_value(&m);

			(void)buf_printf(b, "%s" SLICE_FMT "%s=" SLICE_FMT " ",
				m.is_file ? "[" : "", SLICE_ARG(name), m.is_file ? "]" : "",
				SLICE_ARG(value));
			assert_true(m.to - m.from >= value.n && m.to <= at);
			assert_memory_equal(text.p + m.from, value.p, value.n);
			assert_memory_equal(text.p + m.to, "\r\n--B", 5);
		}
		if (e == MULTIPART_END)
			(void)buf_str(b, "END");
	}
	if (!multipart_is_whole(&m))
		(void)buf_str(b, "OPEN");
}

static const struct {
	const char *text, *want;
} cases[] = {
	{ FIELD("model", "whisper-1") "--B--", "model=whisper-1 END" },
	{ FIELD("model", "whisper-1") "--B--\r\n", "model=whisper-1 END" },
	{ FILE_OF("x\r\n--\r\r\n--C") FIELD("model", "m") "--B--\r\n",
		"[file]=x\r\n--\r\r\n--C model=m END" },
	{ FIELD("prompt", "") "--B--", "prompt= END" },
	{ PART("content-disposition:form-data;name=model", "m") "--B--", "model=m END" },
	{ PART("CONTENT-DISPOSITION: Form-Data; Name=\"model\"\r\ncontent-type: text/plain; "
	       "charset=UTF-8",
		  "m") "--B--",
		"model=m END" },
	{ PART("content-disposition: form-data; name=\"f\"; filename=\"a \\\"b\\\" c.wav\"",
		  "m") "--B--",
		"[f]=m END" },
	{ PART("content-disposition: form-data; name=\"f\"; filename*=UTF-8''a.wav", "m") "--B--",
		"[f]=m END" },
	{ FIELD("model", "m"), "OPEN" },
	{ FIELD("model", "m") "--B", "model=m OPEN" },
	{ FIELD("model", "m") "--B-", "model=m OPEN" },
	{ FIELD("model", "m") "--B--\r", "model=m ENDOPEN" },
	/* refused */
	{ "preamble\r\n" FIELD("model", "m") "--B--",
		"ERROR the body does not begin with its boundary" },
	{ "\r\n" FIELD("model", "m") "--B--", "ERROR the body does not begin with its boundary" },
	{ "--A\r\n", "ERROR the body does not begin with its boundary" },
	{ "--B \r\n", "ERROR a boundary is not followed by a line end" },
	{ "--B\n", "ERROR a boundary is not followed by a line end" },
	{ "--B--", "ERROR there is no part" },
	{ FIELD("model", "m") "--Bx\r\n",
		"model=m ERROR a boundary is not followed by a line end" },
	{ FIELD("model", "m") "--B--\r\nmore",
		"model=m ENDERROR something follows the last boundary" },
	{ FIELD("model", "m") "--B--x", "model=m ENDERROR something follows the last boundary" },
	{ "--B\r\n\r\nx\r\n--B--", "ERROR a part has no content-disposition" },
	{ PART("content-type: text/plain", "m") "--B--",
		"ERROR a part has no content-disposition" },
	{ PART("content-disposition: attachment; name=model", "m") "--B--",
		"ERROR a part is not content-disposition: form-data" },
	{ PART("content-disposition: form-data; filename=model", "m") "--B--",
		"ERROR a part has no name" },
	{ PART("content-disposition: form-data; name=a; name=model", "m") "--B--",
		"ERROR a part has two names" },
	{ PART("content-disposition: form-data; name=a\r\ncontent-disposition: form-data; "
	       "name=model",
		  "m") "--B--",
		"ERROR a part has two dispositions" },
	{ PART("content-disposition: form-data; name*=UTF-8''model", "m") "--B--",
		"ERROR name*= is not allowed" },
	{ PART("content-disposition: form-data; name=\"mod%65l\"", "m") "--B--",
		"ERROR the name of a part has to be 1 to 64 letters, digits, _ - . [ ]" },
	{ PART("content-disposition: form-data; name=\"mod\\el\"", "m") "--B--",
		"ERROR the name of a part has to be 1 to 64 letters, digits, _ - . [ ]" },
	{ PART("content-disposition: form-data; name=\"\"", "m") "--B--",
		"ERROR the name of a part has to be 1 to 64 letters, digits, _ - . [ ]" },
	{ PART("content-disposition: form-data; name=\"model", "m") "--B--",
		"ERROR a content-disposition is malformed" },
	{ PART("content-disposition: form-data, name=model", "m") "--B--",
		"ERROR a part is not content-disposition: form-data" },
	{ PART("content-disposition: form-data;\r\n name=model", "m") "--B--",
		"ERROR a part has no name" },
	{ PART("content-disposition: form-data; name=model\nx: y", "m") "--B--",
		"ERROR a line of a part's fields is malformed" },
	{ PART("content-disposition : form-data; name=model", "m") "--B--",
		"ERROR a field of a part is malformed" },
	{ PART("no colon", "m") "--B--", "ERROR a field of a part is malformed" },
	{ PART("content-disposition: form-data; name=model\r\ncontent-transfer-encoding: base64",
		  "bQ==") "--B--",
		"ERROR only binary parts are understood" },
	{ PART("content-disposition: form-data; name=a\r\ncontent-type: a/b\r\ncontent-type: c/d",
		  "m") "--B--",
		"ERROR a part has two content types" },
};

static void however_it_is_cut(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice text = slice_str(cases[i].text);

		for (size_t piece = 1; piece <= text.n; piece++) {
			buf_reset(&b);
			read_all(text, piece, &b);
			if (strcmp(buf_cstr(&b), cases[i].want) != 0)
				fail_msg("case %zu in pieces of %zu: %s\n%s\n", i, piece,
					buf_cstr(&b), cases[i].text);
		}
	}
	buf_fini(&b);
}

static void boundaries(void **state)
{
	static const struct {
		const char *type;
		bool good;
	} types[] = {
		{ TYPE, true },
		{ "Multipart/Form-Data;boundary=\"a b\"", false },
		{ "multipart/form-data; boundary=\"'()+_,-./:=?09azAZ\"", true },
		{ "multipart/form-data; charset=utf-8; boundary=----x", true },
		{ "multipart/form-data; boundary=", false },
		{ "multipart/form-data; boundary=\"\"", false },
		{ "multipart/form-data", false },
		{ "multipart/form-data; boundary=a; boundary=b", false },
		{ "multipart/form-data; boundary=a; BOUNDARY=a", false },
		{ "multipart/form-data boundary=a", false },
		{ "multipart/mixed; boundary=a", false },
		{ "multipart/form-data; boundary=\"a", false },
		{ "", false },
		{ "multipart/form-data; boundary="
		  "0123456789012345678901234567890123456789012345678901234567890123456789",
			true },
		{ "multipart/form-data; boundary="
		  "01234567890123456789012345678901234567890123456789012345678901234567890",
			false },
	};
	struct multipart m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		assert_int_equal(multipart_begin(&m, slice_str(types[i].type)), types[i].good);
}

static void bounds(void **state)
{
	struct buf b, got;

	(void)state;
	buf_init(&b, 1 << 20);
	buf_init(&got, 1 << 20);
	for (int i = 0; i <= MULTIPART_PARTS_MAX; i++)
		(void)buf_str(&b, FIELD("a", ""));
	read_all(buf_view(&b), 1000, &got);
	assert_non_null(strstr(buf_cstr(&got), "ERROR there are more than 256 parts"));
	buf_reset(&b);
	buf_reset(&got);
	(void)buf_str(&b, "--B\r\ncontent-disposition: form-data; name=a; filename=\"");
	for (int i = 0; i < MULTIPART_HEAD_MAX; i++)
		(void)buf_char(&b, 'x');
	read_all(buf_view(&b), 1000, &got);
	assert_string_equal(
		buf_cstr(&got), "ERROR the fields of a part are larger than 2048 bytes");
	/* Of a long value only the beginning is kept, and it shows that it was longer. */
	buf_reset(&b);
	buf_reset(&got);
	(void)buf_str(&b, "--B\r\ncontent-disposition: form-data; name=model\r\n\r\n");
	for (int i = 0; i < 1000; i++)
		(void)buf_char(&b, 'x');
	(void)buf_str(&b, "\r\n--B--");
	read_all(buf_view(&b), 7, &got);
	assert_int_equal(strspn(buf_cstr(&got) + strlen("model="), "x"), MULTIPART_VALUE_MAX + 1);
	buf_fini(&b);
	buf_fini(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(however_it_is_cut),
		cmocka_unit_test(boundaries),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
