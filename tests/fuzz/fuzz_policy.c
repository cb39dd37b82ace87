/* A policy file: a valid one can be packed for the wire, and is the same document when unpacked. */
#include "fuzz.h"

#include <aigw/json_scan.h>
#include <aigw/policy_doc.h>

static void check_wire(const struct policy_doc *d)
{
	struct policy_doc *again = NULL;
	struct errbuf why;

	ASSERT(policy_doc_unpack(buf_view(&d->packed), &again, &why) == 0);
	ASSERT(memcmp(again->digest, d->digest, sizeof(d->digest)) == 0);
	ASSERT(again->n_models == d->n_models && again->n_identities == d->n_identities);
	policy_doc_free(again);
}

static void check_tree(const struct tree *t, struct arena *a)
{
	struct tree *again;
	struct errbuf why;
	struct buf packed, json;

	buf_init(&packed, 16u << 20);
	buf_init(&json, 16u << 20);
	if (tree_pack(t, &packed) == 0)
		(void)tree_unpack(a, buf_view(&packed), &again, &why);
	if (t->kind == TREE_MAP && tree_to_json(t, &json) == 0)
		ASSERT(jscan_object(buf_view(&json), NULL, NULL, NULL) == 0);
	buf_fini(&packed);
	buf_fini(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *name = "policy.yaml";
	struct slice text = slice_of((const char *)data, size);
	struct errbuf why = { "" };
	struct policy_doc *doc = NULL;
	struct buf report;
	struct arena a;
	struct tree *t;

	arena_init(&a, 16384, 64u << 20);
	buf_init(&report, 1u << 20);
	if (tree_from_yaml(&a, text, name, 0, &t, &why)) {
		ASSERT(strncmp(why.text, "policy.yaml:", 12) == 0);
	} else {
		const struct tree *root = t;

		check_tree(t, &a);
		if (policy_doc_build(&root, &name, 1, &doc, &report) == 0)
			check_wire(doc);
		else
			ASSERT(report.n);
	}
	(void)tree_unpack(&a, text, &t, &why); /* the same bytes as they might come over the wire */
	policy_doc_free(doc);
	buf_fini(&report);
	arena_fini(&a);
	return 0;
}
