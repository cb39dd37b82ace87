/* The look at a head that does not use llhttp. Private to h1; pure. */
#ifndef AIGW_CODEC_H1_HEAD_H
#define AIGW_CODEC_H1_HEAD_H

#include <aigw/h1.h>

/* Form of all lines, and the first one's parts into *head. *ret_plain: no line holds anything but
 * printable ASCII and tabs. */
enum h1_error h1_head_lines(
	enum h1_role role, const char *p, size_t n, struct h1_head *head, bool *ret_plain);

/* The fields, one by one and together: framing, keep-alive, Host. They are in *head already; plain
 * ones need no look at their values' bytes. */
enum h1_error h1_head_fields(
	enum h1_role role, bool head_request, bool plain, struct h1_head *head);

/* Some servers read '_' as '-': to them this is a second Content-Length or Transfer-Encoding. */
bool h1_is_framing_twin(struct slice name);

#endif
