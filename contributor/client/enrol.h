#pragma once

#include <functional>
#include <string>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/manifest/invitation.h"
#include "contributor/cache/home.h"
#include "contributor/client/retry_call.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::contributor {

// Sends the request to the invitation's address over TLS with the invitation's
// CA as the only root; tests answer themselves.
using EnrolCall =
    std::function<StatusOr<v1::EnrolResponse>(const v1::EnrolRequest&)>;
EnrolCall EnrolOverNetwork(const manifest::Invitation& invitation,
                           const RetryOptions& retry);

// Makes a key in this home, asks for its certificate and stores the identity. A
// home that has one, of the invited contributor, keeps its key and gets another
// certificate: when the old one has ended or its CA is gone.
// Killed after the coordinator answered, it asks again with the same request
// and gets the same answer, although the invitation counts as used.
// FAILED_PRECONDITION: the home has the identity of somebody else, which is
// never overwritten, or was enrolled with this invitation.
// UNAUTHENTICATED: the invitation has expired (found out before any contact),
// is unknown or was used, or the answer is not of the invited federation.
Status Enrol(const Home& home, const manifest::Invitation& invitation,
             const EnrolCall& call, const Clock& clock);

}  // namespace tributary::contributor
