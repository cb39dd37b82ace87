/* Messages between agent and controller (msgpack-rpc: notification [2, method, params], request [0, id, method, params],
 * response [1, id, error, result]; params and result are maps by member name). Unknown members are skipped, missing ones are 0 or
 * empty. No include guard: define the macros before including.
 *   WIRE_MESSAGE(name, method, form)   form: NOTE, CALL (has an answer) or RESULT (the answer of the CALL before it)
 *   WIRE_FIELD(message, type, name)    type: u64, str, bin, bins (list of bin), strs (list of str)
 *   WIRE_END(message) */
WIRE_MESSAGE(hello, "hello", CALL)             /* agent: first frame */
WIRE_FIELD(hello, u64, wire_version)           /* 1 */
WIRE_FIELD(hello, str, version)                /* of the program */
WIRE_FIELD(hello, str, agent_id)
WIRE_FIELD(hello, bin, store_id)               /* 16 bytes */
WIRE_FIELD(hello, str, host)
WIRE_FIELD(hello, u64, pid)
WIRE_FIELD(hello, strs, features)
WIRE_FIELD(hello, u64, revision)               /* policy in force; 0: none */
WIRE_FIELD(hello, bin, digest)
WIRE_FIELD(hello, bin, keys_realm)             /* 16 bytes: which controller store the cached keys come from */
WIRE_FIELD(hello, u64, keys_seq)               /* of its key cache */
WIRE_END(hello)
WIRE_MESSAGE(welcome, "hello", RESULT)         /* controller's answer to hello */
WIRE_FIELD(welcome, u64, wire_version)
WIRE_FIELD(welcome, str, version)
WIRE_FIELD(welcome, u64, high_water)           /* last sequence booked for this store */
WIRE_FIELD(welcome, bin, chain)                /* chain hash at high_water */
WIRE_FIELD(welcome, u64, wall_us)
WIRE_FIELD(welcome, u64, traces)               /* names the memory of traces that it has; another one knows none of those told before; 0: it takes none */
WIRE_END(welcome)
WIRE_MESSAGE(policy_part, "policy.part", NOTE) /* controller */
WIRE_FIELD(policy_part, u64, revision)
WIRE_FIELD(policy_part, bin, digest)           /* of the whole */
WIRE_FIELD(policy_part, u64, total)            /* bytes */
WIRE_FIELD(policy_part, u64, offset)
WIRE_FIELD(policy_part, bin, bytes)
WIRE_END(policy_part)
WIRE_MESSAGE(policy_result, "policy.result", NOTE) /* agent: in force on every worker, or refused */
WIRE_FIELD(policy_result, u64, revision)
WIRE_FIELD(policy_result, u64, ok)
WIRE_FIELD(policy_result, str, reason)
WIRE_END(policy_result)
WIRE_MESSAGE(keys_part, "keys.snapshot", NOTE) /* controller: replaces the whole key set when complete */
WIRE_FIELD(keys_part, bin, realm)
WIRE_FIELD(keys_part, u64, seq)
WIRE_FIELD(keys_part, u64, total)              /* keys in all parts */
WIRE_FIELD(keys_part, u64, offset)             /* keys before this part */
WIRE_FIELD(keys_part, bins, records)           /* key_record_pack */
WIRE_FIELD(keys_part, bin, digest)             /* SHA-256 over all records of the snapshot, in order */
WIRE_END(keys_part)
WIRE_MESSAGE(keys_change, "keys.change", NOTE) /* controller: seq follows the agent's by one */
WIRE_FIELD(keys_change, u64, seq)
WIRE_FIELD(keys_change, bins, records)
WIRE_END(keys_change)
WIRE_MESSAGE(keys_ack, "keys.ack", NOTE)       /* agent: committed and seen by every worker */
WIRE_FIELD(keys_ack, u64, seq)
WIRE_END(keys_ack)
WIRE_MESSAGE(keys_resync, "keys.resync", NOTE) /* agent: a gap; asks for a snapshot */
WIRE_FIELD(keys_resync, u64, seq)
WIRE_END(keys_resync)
WIRE_MESSAGE(secrets_put, "secrets.put", NOTE) /* controller */
WIRE_FIELD(secrets_put, str, name)
WIRE_FIELD(secrets_put, u64, version)
WIRE_FIELD(secrets_put, bin, bytes)
WIRE_END(secrets_put)
WIRE_MESSAGE(secrets_ack, "secrets.ack", NOTE) /* agent */
WIRE_FIELD(secrets_ack, str, name)
WIRE_FIELD(secrets_ack, u64, version)
WIRE_FIELD(secrets_ack, str, source)           /* in force: credentials_directory, secrets_dir, cache, none */
WIRE_END(secrets_ack)
WIRE_MESSAGE(drains_put, "drains.put", NOTE)   /* controller: in place of all that it has sent before */
WIRE_FIELD(drains_put, u64, version)
WIRE_FIELD(drains_put, strs, lines)            /* drain.h */
WIRE_END(drains_put)
WIRE_MESSAGE(drains_ack, "drains.ack", NOTE)   /* agent: they act */
WIRE_FIELD(drains_ack, u64, version)
WIRE_END(drains_ack)
WIRE_MESSAGE(usage_batch, "usage.batch", CALL) /* agent: records first_seq .. first_seq + n - 1 */
WIRE_FIELD(usage_batch, bin, store_id)
WIRE_FIELD(usage_batch, u64, first_seq)
WIRE_FIELD(usage_batch, bin, prev_hash)        /* chain before the first */
WIRE_FIELD(usage_batch, bin, hash)             /* chain after the last */
WIRE_FIELD(usage_batch, bins, records)
WIRE_END(usage_batch)
WIRE_MESSAGE(usage_done, "usage.batch", RESULT) /* controller: committed up to high_water */
WIRE_FIELD(usage_done, u64, high_water)
WIRE_FIELD(usage_done, bin, chain)
WIRE_END(usage_done)
WIRE_MESSAGE(traces, "call.traces", NOTE)      /* agent: calls that failed or fell back; nothing waits for them, some may be lost */
WIRE_FIELD(traces, bins, ids)                  /* 16 bytes each: the calls' */
WIRE_FIELD(traces, strs, texts)                /* of each a JSON object, as control.sock tells it */
WIRE_FIELD(traces, u64, lost)                  /* overwritten before they could be sent, since the last message */
WIRE_END(traces)
WIRE_MESSAGE(agent_status, "agent.status", NOTE) /* agent: every 2 s and on change */
WIRE_FIELD(agent_status, u64, uptime_s)
WIRE_FIELD(agent_status, u64, requests)
WIRE_FIELD(agent_status, u64, inflight)
WIRE_FIELD(agent_status, u64, spool_records)
WIRE_FIELD(agent_status, u64, spool_oldest_us)
WIRE_FIELD(agent_status, u64, wall_us)
WIRE_FIELD(agent_status, str, durability)
WIRE_FIELD(agent_status, strs, secrets)        /* "name source version" */
WIRE_FIELD(agent_status, strs, warnings)
WIRE_END(agent_status)
