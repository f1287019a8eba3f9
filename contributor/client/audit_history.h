#pragma once

#include "common/base/status.h"
#include "contributor/cache/home.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/identity.h"

namespace tributary::contributor {

// Keeps the coordinator's newest signed audit checkpoint and holds its history
// to everything that this site has in hand: the checkpoint kept before, and the
// heads in its receipts. Each is asked for again by its size; the signed answer
// has to name the same hash. DATA_LOSS when it does not, or when the log has
// become shorter: the history was rewritten, and both signed statements are
// evidence.
Status CheckAuditHistory(const Home& home, const Identity& identity,
                         CoordinatorClient& client);

}  // namespace tributary::contributor
