#include "filter.h"

/* --- decimals ------------------------------------------------------------------------- */

struct decimal {
	bool negative;
	struct slice whole, part; /* without zeros at the begin, without zeros at the end */
};

static bool digits(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

/* "-12.50", ".5", "7"; no exponent, nothing else. */
static bool decimal_read(struct slice s, struct decimal *ret)
{
	const char *dot;

	ret->negative = s.n && s.p[0] == '-';
	if (ret->negative)
		s = slice_skip(s, 1);
	dot = s.n ? memchr(s.p, '.', s.n) : NULL;
	ret->whole = slice_of(s.p, dot ? (size_t)(dot - s.p) : s.n);
	ret->part = dot ? slice_skip(s, ret->whole.n + 1) : SLICE_EMPTY;
	if (ret->whole.n + ret->part.n == 0 || !digits(ret->whole) || !digits(ret->part))
		return false;
	while (ret->whole.n && ret->whole.p[0] == '0')
		ret->whole = slice_skip(ret->whole, 1);
	while (ret->part.n && ret->part.p[ret->part.n - 1] == '0')
		ret->part.n--;
	if (ret->whole.n + ret->part.n == 0)
		ret->negative = false; /* -0 */
	return true;
}

static int text_compare(struct slice a, struct slice b)
{
	size_t n = MIN(a.n, b.n);
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

static int magnitude_compare(const struct decimal *a, const struct decimal *b)
{
	int r = (a->whole.n > b->whole.n) - (a->whole.n < b->whole.n);

	if (!r)
		r = text_compare(a->whole, b->whole);
	return r ? r : text_compare(a->part, b->part);
}

int filter_compare(struct slice a, struct slice b)
{
	struct decimal x, y;
	bool is_x = decimal_read(a, &x), is_y = decimal_read(b, &y);

	if (!is_x || !is_y)
		return is_x == is_y ? text_compare(a, b) : is_y - is_x;
	if (x.negative != y.negative)
		return y.negative - x.negative;
	return x.negative ? magnitude_compare(&y, &x) : magnitude_compare(&x, &y);
}

/* --- conditions ----------------------------------------------------------------------- */

static bool is_number(struct slice s)
{
	struct decimal d;

	return decimal_read(s, &d);
}

bool filter_holds(const struct filter *f, struct slice cell)
{
	int r = filter_compare(cell, f->value);

	switch (f->op) {
	case FILTER_EQUAL: return r == 0;
	case FILTER_DIFFERENT: return r != 0;
	case FILTER_CONTAINS:
		return f->value.n == 0 ||
		       (cell.n && memmem(cell.p, cell.n, f->value.p, f->value.n) != NULL);
	case FILTER_LESS:
	case FILTER_AT_MOST:
	case FILTER_MORE:
	case FILTER_AT_LEAST: break;
	}
	/* What is absent is neither more nor less than a number. */
	if (is_number(f->value) != is_number(cell))
		return false;
	return f->op == FILTER_LESS      ? r < 0
	       : f->op == FILTER_AT_MOST ? r <= 0
	       : f->op == FILTER_MORE    ? r > 0
					 : r >= 0;
}

static size_t op_at(const char *p, enum filter_op *ret)
{
	static const struct {
		const char *text;
		enum filter_op op;
	} ops[] = {
		{ "!=", FILTER_DIFFERENT },
		{ "<=", FILTER_AT_MOST },
		{ ">=", FILTER_AT_LEAST },
		{ "==", FILTER_EQUAL },
		{ "=", FILTER_EQUAL },
		{ "~", FILTER_CONTAINS },
		{ "<", FILTER_LESS },
		{ ">", FILTER_MORE },
	};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (strncmp(p, ops[i].text, strlen(ops[i].text)) == 0) {
			*ret = ops[i].op;
			return strlen(ops[i].text);
		}
	}
	return 0;
}

int filter_parse(const char *text, struct filter *ret, struct errbuf *e)
{
	size_t at = strcspn(text, "!<>=~"), n = op_at(text + at, &ret->op);

	ret->column = slice_trim(slice_of(text, at));
	if (!n || !ret->column.n)
		return err_set(e, -EINVAL,
			"--filter %.100s: must be COLUMN OP VALUE with OP one of = != ~ < <= > >=, "
			"such as 'state = up'",
			text);
	ret->value = slice_trim(slice_str(text + at + n));
	if (ret->value.n > 1 && (ret->value.p[0] == '\'' || ret->value.p[0] == '"') &&
		ret->value.p[ret->value.n - 1] == ret->value.p[0])
		ret->value = slice_of(ret->value.p + 1, ret->value.n - 2);
	return 0;
}
