/* How many calls at once, and whether a call may wait for its turn. */
#include "policy_read.h"

#define POLICY_CONCURRENCY_MAX 1000000
#define POLICY_QUEUE_MAX       100000
#define POLICY_QUEUE_US        (5 * USEC_PER_S)

void policy_read_concurrency(
	struct policy_reader *r, const struct policy_at *up, uint32_t *ret_concurrency)
{
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("limits")) };

	*ret_concurrency = 0;
	if (!at.node)
		return;
	r->uses_routing_2 = true;
	if (!policy_check_map(r, &at, POLICY_limits))
		return;
	if (!at.node->n)
		policy_missing(r, &at, "limits need 'concurrency'; add it, or remove 'limits'");
	policy_count(r, &at, "concurrency", 1, POLICY_CONCURRENCY_MAX, 0, ret_concurrency);
}

void policy_read_queue(
	struct policy_reader *r, const struct policy_at *up, struct policy_model *model)
{
	struct policy_at at = { .up = up, .node = tree_get(up->node, SLICE("queue")) };

	if (!at.node)
		return;
	r->uses_routing_2 = true;
	if (!policy_check_map(r, &at, POLICY_queue))
		return;
	policy_count(r, &at, "max", 1, POLICY_QUEUE_MAX, 100, &model->queue_max);
	policy_duration(r, &at, "wait", POLICY_QUEUE_US, &model->queue_wait_us);
}
