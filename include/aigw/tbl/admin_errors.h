/* Codes of errors on admin.sock (the controller's API) and control.sock (the agent's): the member `code` of an error, for programs.
 * ADMIN_ERROR(name, status, socket, retry, text)
 *     socket: admin, control or both         retry: NO, or LATER: the same request may do later         text: what it means and what to do
 * Rows are sorted by status. tests/lint/admin_errors says which test produces each. */
ADMIN_ERROR(usage,              400, both,    NO,    "The request is wrong; the message says how.")
ADMIN_ERROR(too_many_groups,    400, admin,   NO,    "The sums would have too many groups: group by less, or ask for a shorter time.")
ADMIN_ERROR(not_permitted,      403, both,    NO,    "Only root, the daemon's own user and members of aigw-admin may.")
ADMIN_ERROR(not_found,          404, both,    NO,    "There is no such path or object.")
ADMIN_ERROR(method_not_allowed, 405, both,    NO,    "The path has no such method.")
ADMIN_ERROR(conflict,           409, both,    NO,    "It exists already, or things have moved on since you looked: look, and say it again.")
ADMIN_ERROR(policy_invalid,     422, admin,   NO,    "The policy has findings; each names file, line and column. The running one is untouched.")
ADMIN_ERROR(internal,           500, both,    NO,    "Something failed that should not have; the log says more.")
ADMIN_ERROR(store_unavailable,  503, admin,   LATER, "The store can't be written or read; nothing was changed. The controller's log says why.")
ADMIN_ERROR(too_many_followers, 503, control, LATER, "As many tails and events are being followed as may: end one of them.")
