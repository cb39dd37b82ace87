/* Settings of aigw-ctld (ctld.yaml). No include guard: define CONFIG before including.
 * CONFIG(type, member, preset, min, max, choices, reload, doc) */
CONFIG(STR,  admin_socket,  "/run/aigw-ctl/admin.sock", 0, 0, "", false, "Admin API, HTTP and JSON on a unix socket, mode 0660.")
CONFIG(STR,  agents_socket, "/run/aigw-ctl/agents.sock", 0, 0, "", false, "Agents of this host, msgpack on a unix socket, mode 0660.")
CONFIG(STR,  state_dir,     "/var/lib/aigw-ctl", 0, 0, "", false, "The store: revisions, keys, secrets, agents, ledger.")
CONFIG(ENUM, log,           "info", 0, 0, "error|warning|info|debug", true, "Log level.")
