#pragma once

#include <cstdint>
#include <span>

namespace tributary::coordinator {

// Marks a file as this program's ("TriC").
inline constexpr int64_t kApplicationId = 0x54726943;

// SQL that takes the schema from version i to version i + 1, one transaction
// each. Entries are never changed once released, only added.
std::span<const char* const> Migrations();

}  // namespace tributary::coordinator
