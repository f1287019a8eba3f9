#pragma once

#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "contributor/cache/home.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/identity.h"

namespace tributary::contributor {

// The CAs of a bundle, PEM.
std::vector<std::string> CasOf(const v1::TrustBundle& bundle);

// Asks whom to trust, over a connection that was verified with what is trusted
// now, and stores what changed: a CA that takes over, one that has ended, a new
// signer. True when it did: load the identity again. UNAUTHENTICATED when
// nothing of the answer is trusted yet.
StatusOr<bool> FollowTrust(const Home& home, const Identity& identity,
                           CoordinatorClient& client, const Clock& clock);

// Asks for a fresh certificate for the same key when two thirds of the present
// one's life are over or another CA has taken over, and stores it. True when it
// did: load the identity again.
StatusOr<bool> RenewIfDue(const Home& home, const Identity& identity,
                          CoordinatorClient& client, const Clock& clock);

}  // namespace tributary::contributor
