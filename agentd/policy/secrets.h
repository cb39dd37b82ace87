/* Provider credentials of this host, looked up in this order: $CREDENTIALS_DIRECTORY/provider_NAME
 * (or /NAME), secrets_dir/NAME, then our own cache STATE_DIR/secrets/NAME (0600, 0700), which the
 * controller's secrets.put fills. An immutable snapshot, counted, is handed to the workers. */
#ifndef AGENTD_POLICY_SECRETS_H
#define AGENTD_POLICY_SECRETS_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <aigw/secret.h>

enum secret_source { SECRET_NONE, SECRET_CREDENTIALS_DIRECTORY, SECRET_SECRETS_DIR, SECRET_CACHE };
const char *secret_source_name(
	enum secret_source s); /* "none", "credentials_directory", "secrets_dir", "cache" */

struct secret_set; /* immutable */

/* Reads all three places. Blocks on the disk: at start, and on the committer thread for reload and
 * after secrets.put. Unreadable files are warnings (lines in report). */
int secret_set_load(const char *credentials_dir, const char *secrets_dir, const char *state_dir,
	struct secret_set **ret, struct buf *report);
struct secret_set *secret_set_ref(struct secret_set *s);
void secret_set_unref(struct secret_set *s); /* any thread; wiped at 0 */
/* Borrowed while the set is held; SLICE_EMPTY: none. */
struct slice secret_set_get(const struct secret_set *s, struct slice name,
	enum secret_source *ret_source, uint64_t *ret_version);
unsigned secret_set_count(const struct secret_set *s);
struct slice secret_set_name(const struct secret_set *s, unsigned i, enum secret_source *ret_source,
	uint64_t *ret_version);

/* Committer thread: stores what secrets.put brought (name is [A-Za-z0-9._-]{1,64}; checked). */
int secret_cache_put(const char *state_dir, struct slice name, uint64_t version, struct slice bytes,
	struct errbuf *e);

#endif
