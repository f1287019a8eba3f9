#pragma once

#include "common/base/clock.h"
#include "common/base/status.h"
#include "contributor/cache/home.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/identity.h"

namespace tributary::contributor {

// Asks for a fresh certificate for the same key when two thirds of the present
// one's life are over, and stores it. True when it did: make a new client with
// the identity loaded again.
StatusOr<bool> RenewIfDue(const Home& home, const Identity& identity,
                          CoordinatorClient& client, const Clock& clock);

}  // namespace tributary::contributor
