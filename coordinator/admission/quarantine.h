#pragma once

// What passes every gate and waits for the operator all the same.

#include <optional>
#include <string>

#include "coordinator/storage/decision.h"

namespace tributary::coordinator {

// Names the numbers that are above `fraction` of their highest value; empty
// when there is none, or `fraction` is 0. Widths are what the owner chose, not
// what was found out about the expert: the gate "policy" does not count.
std::string CloseCalls(const Decision& decision, double fraction);

// Why the operator wants to look at a contribution that is still on its way,
// from what is stored as its decision; nothing when the operator does not.
std::optional<std::string> HeldBecause(const std::string& decision_json);

}  // namespace tributary::coordinator
