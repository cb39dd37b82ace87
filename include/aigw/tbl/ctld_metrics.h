/* The controller's metrics, in the order of the text. No include guard: define CTLD_METRIC before including.
 * CTLD_METRIC(id, name, type, labels, doc)
 *   id      of the function that writes the samples, metric_<id>() of admin/metrics.c
 *   labels  for the manual */
CTLD_METRIC(build_info, "aigw_ctld_build_info",            "gauge",     "version", "Always 1; which program this is.")
CTLD_METRIC(agents,     "aigw_ctld_agents",                "gauge",     "state",   "Agents by state, as aigwctl agent list has it: up, down, behind, refused, quarantined.")
CTLD_METRIC(revision,   "aigw_ctld_policy_revision",       "gauge",     "",        "Policy in force; 0: none yet.")
CTLD_METRIC(applies,    "aigw_ctld_applies_total",         "counter",   "result",  "Policies that somebody wanted to apply, or to go back to. result: applied, unchanged, refused.")
CTLD_METRIC(keys,       "aigw_ctld_keys",                  "gauge",     "state",   "Virtual keys. state: active, revoked. Missing while the store can't be read.")
CTLD_METRIC(records,    "aigw_ctld_usage_records_total",   "counter",   "",        "Usage records booked since the start.")
CTLD_METRIC(batches,    "aigw_ctld_usage_batches_total",   "counter",   "result",  "Batches of records that agents sent. result: booked, refused, gap, fork, quarantined, unavailable.")
CTLD_METRIC(ingest,     "aigw_ctld_ingest_seconds",        "histogram", "",        "Time of a commit that books batches.")
CTLD_METRIC(lag,        "aigw_ctld_ledger_lag_seconds",    "gauge",     "",        "Age of the oldest record that a connected agent has and the ledger has not.")
CTLD_METRIC(traces,     "aigw_ctld_traces_total",          "counter",   "result",  "Calls that failed or fell back, of which agents told since the start. result: kept, lost (more than an agent sends or the controller takes).")
CTLD_METRIC(store_up,   "aigw_ctld_store_up",              "gauge",     "",        "0: the store can't be read.")
CTLD_METRIC(store_used, "aigw_ctld_store_bytes",           "gauge",     "",        "Size of the store, in use.")
CTLD_METRIC(disk,       "aigw_ctld_disk_used_ratio",       "gauge",     "",        "How full the store's file system is, from 0 to 1.")
CTLD_METRIC(query,      "aigw_ctld_store_query_seconds",   "histogram", "",        "Time of a question for sums of usage.")
CTLD_METRIC(process,    "process_*",                       "",          "",        "CPU, memory, descriptors and start of the process, as client libraries name them.")
